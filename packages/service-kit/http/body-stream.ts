import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { ByteCollector } from "./byte-collector.ts";

const WAITING_BYTES = 64 * 1024;

/**
 * A request's body as it comes, as fast as it is taken: what waits for its reader is joined, at most some 64 KiB, and then the request
 * pauses. Destroyed, the rest is read and dropped, for the next request of the connection.
 * @param see Sees each part first.
 */
export function bodyStream(request: IncomingMessage, see?: (part: Buffer) => void): Readable {
  const waiting = new ByteCollector();
  let isWanted = false;
  let hasEnded = false;
  const give = () => {
    if (!isWanted || (waiting.length === 0 && !hasEnded)) return;
    isWanted = false;
    body.push(waiting.length > 0 ? waiting.take() : null);
  };
  const body = new Readable({
    // What waits is here, since a stream would keep each part by itself.
    highWaterMark: 1,
    read() {
      isWanted = true;
      request.resume();
      give();
    },
    destroy(error, done) {
      request.off("data", onData).off("end", onEnd).resume();
      done(error);
    },
  });
  function onData(part: Buffer): void {
    see?.(part);
    if (body.destroyed) return;
    waiting.add(part);
    give();
    if (waiting.length >= WAITING_BYTES) request.pause();
  }
  function onEnd(): void {
    hasEnded = true;
    give();
  }
  request.on("data", onData).on("end", onEnd).pause();
  // Whoever destroys it knows why.
  body.on("error", () => undefined);
  return body;
}
