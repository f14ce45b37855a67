import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { ToolyardError } from "../errors/errors.ts";
import { ByteCollector } from "./byte-collector.ts";

/** Makes room for bytes of a body as they come. @throws ToolyardError where there is none: nothing more is then read */
export type Take = (bytes: number) => void;

/** Reads a body of text whole. @throws ToolyardError PAYLOAD_TOO_LARGE, BAD_USER_INPUT, or the connection's own error */
export async function readBody(request: IncomingMessage, maxBytes: number, take?: Take): Promise<string> {
  return textOf(await readBytes(request, maxBytes, take));
}

/** The text of a whole body. @throws ToolyardError BAD_USER_INPUT */
export function textOf(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  // Invalid UTF-8 becomes this character; a text that differs from the one sent must not run.
  if (text.includes("\uFFFD") && !isUtf8(bytes)) throw new ToolyardError("BAD_USER_INPUT", "The body is not in UTF-8.");
  return text;
}

/** Reads a body whole, as it was sent. @throws ToolyardError PAYLOAD_TOO_LARGE, BAD_USER_INPUT, that of `take`, or the connection's own error */
export function readBytes(request: IncomingMessage, maxBytes: number, take?: Take): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const body = new ByteCollector();
    const tooLarge = () => new ToolyardError("PAYLOAD_TOO_LARGE", `The body is larger than ${inWords(maxBytes)}.`);
    const endedEarly = () => reject(new ToolyardError("BAD_USER_INPUT", "The body ended early."));
    // The client may have left before anyone looked at what it sends.
    if (request.destroyed && !request.complete) {
      endedEarly();
      return;
    }
    if (Number(request.headers["content-length"] ?? 0) > maxBytes) {
      reject(tooLarge());
      return;
    }
    const onData = (chunk: Buffer) => {
      try {
        if (body.length + chunk.length > maxBytes) throw tooLarge();
        take?.(chunk.length);
        body.add(chunk);
      } catch (error) {
        // Nothing of it is kept from here on.
        request.off("data", onData);
        body.take();
        reject(error as Error);
      }
    };
    request.on("data", onData);
    request.once("end", () => resolve(body.take()));
    request.once("error", reject);
    request.once("aborted", endedEarly);
  });
}

function inWords(bytes: number): string {
  return bytes % 1_048_576 === 0 ? `${bytes / 1_048_576} MiB` : `${bytes} bytes`;
}
