import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { bodyStream } from "@toolyard/service-kit/http/body-stream.ts";
import { ByteCollector } from "@toolyard/service-kit/http/byte-collector.ts";
import { PEEK_BYTES } from "../mcp/json-rpc-peek.ts";

/** A body on its way to the replica. */
export interface RequestBody {
  /** The body for undici: all of it, or a stream of it. */
  content: Buffer | Readable | null;
  /** The beginning of what has come so far, at most `PEEK_BYTES`. */
  beginning(): string;
  /** Stops reading the request. */
  stop(): void;
}

/** A class, since each call has one. */
class WholeBody implements RequestBody {
  readonly content: Buffer | null;

  constructor(content: Buffer | null) {
    this.content = content;
  }

  beginning(): string {
    return this.content?.toString("utf8", 0, PEEK_BYTES) ?? "";
  }

  stop(): void {
    // There is nothing more to read.
  }
}

const NO_BODY: RequestBody = new WholeBody(null);

/** Bodies up to this length are read whole before the call goes on: one write, and free to go to another replica. */
export const SMALL_BODY_BYTES = PEEK_BYTES;

export function noBody(): RequestBody {
  return NO_BODY;
}

/**
 * Reads a body whole, then calls back. Returns what stops the reading, and lets go of what has come.
 * @param onTooLarge Called when more than `maxBytes` have come; nothing more is then read.
 * @param take Asked for room for each part as it comes; where it answers false, nothing more is read, and `onTooMuch` called.
 */
export function readWholeBody(
  request: IncomingMessage,
  whenRead: (body: RequestBody) => void,
  {
    maxBytes,
    onTooLarge,
    take = () => true,
    onTooMuch = onTooLarge,
  }: { maxBytes: number; onTooLarge: () => void; take?: (bytes: number) => boolean; onTooMuch?: () => void },
): () => void {
  const body = new ByteCollector();
  const onData = (chunk: Buffer) => {
    if (body.length + chunk.length > maxBytes) {
      stop();
      return onTooLarge();
    }
    if (!take(chunk.length)) {
      stop();
      return onTooMuch();
    }
    body.add(chunk);
  };
  const stop = () => {
    body.take();
    request.off("data", onData).off("end", onEnd);
  };
  const onEnd = () => whenRead(wholeBody(body.length > 0 ? body.take() : null));
  request.on("data", onData).on("end", onEnd);
  return stop;
}

export function wholeBody(content: Buffer | null): RequestBody {
  return new WholeBody(content);
}

/** A body of which nothing is known yet. */
export function unreadBody(stop: () => void): RequestBody {
  return { content: null, beginning: () => "", stop };
}

/** A body that is here whole, as all of a small one is a tick after its head: read without listeners, which cost CPU. Null for any other. */
export function readAtOnce(request: IncomingMessage, length: number | undefined): RequestBody | null {
  // Without an encoding a request reads Buffers.
  return request.readableLength === length ? wholeBody(request.read() as Buffer | null) : null;
}

/**
 * Streams a body as it comes, as fast as the replica takes it.
 * @param onTooLarge Called when more than `maxBytes` have come; the stream has failed by then.
 */
export function streamBody(request: IncomingMessage, maxBytes: number, onTooLarge: () => void): RequestBody {
  let received = 0;
  const beginning = new ByteCollector();
  const content = bodyStream(request, (part) => {
    received += part.length;
    if (received > maxBytes) {
      stop();
      return onTooLarge();
    }
    // Copied: a part of a kept one would keep all of it.
    const end = Math.min(part.length, PEEK_BYTES - beginning.length);
    if (end > 0) beginning.copy(part, 0, end);
  });
  const stop = () => void content.destroy(new Error("The request's body is not read on."));
  return { content, beginning: () => beginning.peek().toString("utf8"), stop };
}
