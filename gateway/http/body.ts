import { isUtf8 } from "node:buffer";
import type { IncomingMessage } from "node:http";
import { finished } from "node:stream/promises";
import { ToolyardError } from "@toolyard/service-kit";

/** Reads a body of text whole. @throws ToolyardError PAYLOAD_TOO_LARGE, BAD_USER_INPUT, or the connection's own error */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const tooLarge = () =>
      reject(new ToolyardError("PAYLOAD_TOO_LARGE", `The body is larger than ${inWords(maxBytes)}.`));
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
      const bytes = chunks.length === 1 && only ? only : Buffer.concat(chunks);
      const text = bytes.toString("utf8");
      // What is no UTF-8 becomes this character; another text than was sent must not run.
      if (text.includes("\uFFFD") && !isUtf8(bytes))
        reject(new ToolyardError("BAD_USER_INPUT", "The body is not in UTF-8."));
      else resolve(text);
    });
    request.once("error", reject);
    request.once("aborted", () => reject(new ToolyardError("BAD_USER_INPUT", "The body ended early.")));
  });
}

function inWords(bytes: number): string {
  return bytes % 1_048_576 === 0 ? `${bytes / 1_048_576} MiB` : `${bytes} bytes`;
}

/**
 * Reads on for a bounded while: answered while it still sends, a client's connection is reset before the client has read why.
 */
export async function discardBody(request: IncomingMessage, maxBytes: number): Promise<void> {
  let left = 8 * maxBytes;
  request.on("data", (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
  request.resume();
  // Ended, broken off or too slow: the answer is sent, or cannot be.
  await finished(request, { writable: false, signal: AbortSignal.timeout(10_000) }).catch(() => undefined);
}
