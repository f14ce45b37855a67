import type { IncomingMessage, ServerResponse } from "node:http";
import { ToolyardError, type Caller } from "@toolyard/service-kit";

/** Bodies up to here are not counted: other limits hold before they could fill memory. */
const UNCOUNTED_BYTES = 256 * 1024;
const LARGEST_BODIES = 12;
/** One caller's share of the total, so that nobody takes the others' room. */
const CALLER_PART = 0.5;
const RETRY_AFTER_SECONDS = 1;

/** Bounds the memory of large bodies: each is held whole, and again in parsed form, until it is answered. */
export interface BodyBudget {
  /**
   * Makes room for a request's body until its answer has ended.
   * @param maxBytes The longest that it may be, in bytes: the size that a body without Content-Length counts as.
   * @throws ToolyardError CAPACITY_EXHAUSTED
   */
  take(request: IncomingMessage, response: ServerResponse, caller: Caller | null, maxBytes: number): void;
}

/** @param maxBodyBytes For one body; the total is a multiple of it. */
export function createBodyBudget(maxBodyBytes: number): BodyBudget {
  const maxBytesOfAll = LARGEST_BODIES * maxBodyBytes;
  const maxBytesOfCaller = CALLER_PART * maxBytesOfAll;
  const taken = new Map<string, number>();
  let sum = 0;

  return {
    take(request, response, caller, maxBytes) {
      const declared = request.headers["content-length"];
      const bytes = Math.min(declared === undefined ? maxBytes : Number(declared), maxBytes);
      if (bytes <= UNCOUNTED_BYTES) return;
      const key = caller?.subject ?? "";
      const own = taken.get(key) ?? 0;
      if (own + bytes > maxBytesOfCaller || sum + bytes > maxBytesOfAll)
        throw new ToolyardError(
          "CAPACITY_EXHAUSTED",
          "Too many large requests are under way. Send this again when others have been answered.",
          { retryAfterSeconds: RETRY_AFTER_SECONDS },
        );
      taken.set(key, own + bytes);
      sum += bytes;
      response.once("close", () => {
        sum -= bytes;
        const left = (taken.get(key) ?? 0) - bytes;
        if (left > 0) taken.set(key, left);
        else taken.delete(key);
      });
    },
  };
}
