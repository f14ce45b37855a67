import type { IncomingMessage, ServerResponse } from "node:http";
import { ToolyardError, type Caller } from "@toolyard/service-kit";
import type { Take } from "@toolyard/service-kit/http/read-body.ts";

/** Bodies up to here are not counted with the large ones: where the caller is known, other limits hold before they could fill memory. */
const SMALL_BYTES = 256 * 1024;
/** Of the small bodies of all who have no credential, as far as they have come. */
const MAX_ANONYMOUS_BYTES = 32 * 1_048_576;
const LARGEST_BODIES = 12;
/** One caller's share of the total, so that nobody takes the others' room. */
const CALLER_PART = 0.5;
const RETRY_AFTER_SECONDS = 1;

/** Bounds the memory of bodies: each is held whole, and again in parsed form, until it is answered. */
export interface BodyBudget {
  /**
   * Makes room for a request's body until its answer has ended.
   * @param maxBytes The longest that it may be, in bytes: the size that a body without Content-Length counts as.
   * @returns What is asked for room for the body's bytes as they come.
   * @throws ToolyardError CAPACITY_EXHAUSTED
   */
  take(request: IncomingMessage, response: ServerResponse, caller: Caller | null, maxBytes: number): Take;
}

/** @param maxBodyBytes For one body; the total is a multiple of it. */
export function createBodyBudget(maxBodyBytes: number): BodyBudget {
  const maxBytesOfAll = LARGEST_BODIES * maxBodyBytes;
  const maxBytesOfCaller = CALLER_PART * maxBytesOfAll;
  const taken = new Map<string, number>();
  let sum = 0;
  let anonymousSum = 0;

  return {
    take(request, response, caller, maxBytes) {
      // It would never be given back. Reading it says that it ended early.
      if (response.destroyed) return nothing;
      const declared = request.headers["content-length"];
      const bytes = Math.min(declared === undefined ? maxBytes : Number(declared), maxBytes);
      if (bytes <= SMALL_BYTES) return isAnonymous(caller) ? takeAsItComes(response) : nothing;
      const key = caller?.subject ?? "";
      const own = taken.get(key) ?? 0;
      if (own + bytes > maxBytesOfCaller || sum + bytes > maxBytesOfAll) throw noRoom("large requests");
      taken.set(key, own + bytes);
      sum += bytes;
      response.once("close", () => {
        sum -= bytes;
        const left = (taken.get(key) ?? 0) - bytes;
        if (left > 0) taken.set(key, left);
        else taken.delete(key);
      });
      return nothing;
    },
  };

  function takeAsItComes(response: ServerResponse): Take {
    let own = 0;
    response.once("close", () => (anonymousSum -= own));
    return (bytes) => {
      if (anonymousSum + bytes > MAX_ANONYMOUS_BYTES) throw noRoom("requests without a credential");
      own += bytes;
      anonymousSum += bytes;
    };
  }
}

/** Nothing was found out about the caller, or they have no credential. */
export function isAnonymous(caller: Caller | null): boolean {
  return caller === null || caller.kind === "anonymous";
}

function nothing(): void {
  // All of it was taken, or nothing of it is counted.
}

function noRoom(what: string): ToolyardError {
  return new ToolyardError(
    "CAPACITY_EXHAUSTED",
    `Too many ${what} are under way. Send this again when others have been answered.`,
    { retryAfterSeconds: RETRY_AFTER_SECONDS },
  );
}
