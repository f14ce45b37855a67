import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { ToolyardError } from "../errors/errors.ts";

/** Reads a body of text whole. @throws ToolyardError PAYLOAD_TOO_LARGE, BAD_USER_INPUT, or the connection's own error */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  return textOf(await readBytes(request, maxBytes));
}

/** The text of a whole body. @throws ToolyardError BAD_USER_INPUT */
export function textOf(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  // Invalid UTF-8 becomes this character; a text that differs from the one sent must not run.
  if (text.includes("\uFFFD") && !isUtf8(bytes)) throw new ToolyardError("BAD_USER_INPUT", "The body is not in UTF-8.");
  return text;
}

/** Reads a body whole, as it was sent. @throws ToolyardError PAYLOAD_TOO_LARGE, BAD_USER_INPUT, or the connection's own error */
export function readBytes(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const tooLarge = () =>
      reject(new ToolyardError("PAYLOAD_TOO_LARGE", `The body is larger than ${inWords(maxBytes)}.`));
    const endedEarly = () => reject(new ToolyardError("BAD_USER_INPUT", "The body ended early."));
    // The client may have left before anyone looked at what it sends.
    if (request.destroyed && !request.complete) {
      endedEarly();
      return;
    }
    if (Number(request.headers["content-length"] ?? 0) > maxBytes) {
      tooLarge();
      return;
    }
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxBytes) chunks.push(chunk);
      else tooLarge();
    });
    request.once("end", () => {
      const [only] = chunks;
      resolve(chunks.length === 1 && only ? only : Buffer.concat(chunks));
    });
    request.once("error", reject);
    request.once("aborted", endedEarly);
  });
}

function inWords(bytes: number): string {
  return bytes % 1_048_576 === 0 ? `${bytes / 1_048_576} MiB` : `${bytes} bytes`;
}
