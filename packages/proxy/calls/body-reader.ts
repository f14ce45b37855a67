import type { Refusal } from "./answer.ts";
import type { SharedBudget } from "./budget.ts";
import type { Call } from "./call.ts";
import { tooLarge, tooMuchHeld } from "./refusals.ts";
import { readAtOnce, readWholeBody, SMALL_BODY_BYTES, streamBody, unreadBody } from "./request-body.ts";
import { mayAskForInput } from "../mcp/round-trips.ts";

const MAX_BODY_BYTES = 10 * 1024 * 1024;

/** Reads calls' bodies as far as they must be read, then calls `next`; refuses what is too large, or has no room. */
export function createBodyReader(options: {
  held: SharedBudget;
  refuse: (call: Call, refusal: Refusal) => void;
}): (call: Call, next: (call: Call) => void) => void {
  const { held, refuse } = options;

  function readSmall(call: Call, next: (call: Call) => void): void {
    if (call.gone) return;
    const body = readAtOnce(call.request, call.head.contentLength);
    if (body === null) return readWhole(call, next, false);
    call.body = body;
    next(call);
  }

  function readWhole(call: Call, next: (call: Call) => void, isLarge: boolean): void {
    const stop = readWholeBody(
      call.request,
      (body) => {
        call.body = body;
        next(call);
      },
      {
        maxBytes: MAX_BODY_BYTES,
        onTooLarge: () => refuse(call, tooLarge(MAX_BODY_BYTES)),
        ...(isLarge && { take: holderOf(call), onTooMuch: () => refuse(call, tooMuchHeld()) }),
      },
    );
    call.body = unreadBody(stop);
  }

  /** Takes room for bytes of a call's body as they come, until the call has ended. */
  function holderOf({ response, caller }: Call): (bytes: number) => boolean {
    const own = held.of(caller?.subject ?? "");
    let taken = 0;
    response.once("close", () => own.give(taken));
    return (bytes) => {
      const isTaken = own.take(bytes);
      if (isTaken) taken += bytes;
      return isTaken;
    };
  }

  return (call, next) => {
    const { request, head } = call;
    const isLarge = head.chunked || (head.contentLength ?? 0) > SMALL_BODY_BYTES;
    if (!isLarge) {
      if (head.contentLength) process.nextTick(readSmall, call, next);
      else next(call);
      return;
    }
    if ((head.contentLength ?? 0) > MAX_BODY_BYTES) return refuse(call, tooLarge(MAX_BODY_BYTES));
    // The state that a body brings back may stand at its end.
    if (mayAskForInput(call)) return readWhole(call, next, true);
    call.body = streamBody(request, MAX_BODY_BYTES, () => {
      // Refused first: the attempt's own report of its end is then too late.
      refuse(call, tooLarge(MAX_BODY_BYTES));
      call.controller?.abort(new Error("The body is too large."));
    });
    next(call);
  };
}
