import type { IncomingMessage } from "node:http";
import { finished } from "node:stream/promises";
import { ToolyardError } from "../errors/errors.ts";
import { endOfString, jsonProblem } from "../errors/json-text.ts";
import { isTooNested, MAX_NESTING } from "../json.ts";

/** JSON values allowed in one body: real requests have far fewer, and a million empty objects hold the event loop for a second. */
export const MAX_JSON_VALUES = 200_000;
/** Bodies up to this length are parsed without a count: they cannot hold too many values. */
const UNCOUNTED_BYTES = 256 * 1024;

/**
 * Parses JSON that a client sent, unless it has so many values that parsing would hold up everybody else, or so many levels that it could not be
 * printed again.
 * @param what Begins the sentence that says what is wrong.
 * @param parse As JSON.parse.
 * @throws ToolyardError BAD_USER_INPUT, PAYLOAD_TOO_LARGE
 */
export function parseClientJson(text: string, what: string, parse: (text: string) => unknown = JSON.parse): unknown {
  if (hasTooManyValues(text)) {
    throw new ToolyardError("PAYLOAD_TOO_LARGE", `${what} has more than ${MAX_JSON_VALUES} values.`, {
      extensions: { limit: "jsonValues", max: MAX_JSON_VALUES },
    });
  }
  if (isTooNested(text)) throw new ToolyardError("BAD_USER_INPUT", `${what} has more than ${MAX_NESTING} levels.`);
  try {
    return parse(text);
  } catch (cause) {
    throw new ToolyardError("BAD_USER_INPUT", `${what} is not JSON: ${jsonProblem(text, cause)}.`, { cause });
  }
}

/** Whether JSON has more values than anybody needs. Counts the characters outside strings that begin a value or a further one. */
export function hasTooManyValues(text: string): boolean {
  if (text.length <= UNCOUNTED_BYTES) return false;
  let count = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at);
        break;
      case 0x2c: // ,
      case 0x5b: // [
      case 0x7b: // {
        if (++count > MAX_JSON_VALUES) return true;
    }
  }
  return false;
}

/**
 * Reads on for a bounded time: the connection of a client that is answered while it still sends is reset before it has read the answer.
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

/** Whether a request's body is JSON in UTF-8, which no form can send, and no page without permission by CORS. */
export function isJson(contentType: string | undefined): boolean {
  if (contentType === "application/json") return true;
  const [name = "", ...parameters] = (contentType ?? "").split(";").map((text) => text.trim().toLowerCase());
  if (!/^application\/(?:graphql\+)?json$/.test(name)) return false;
  return parameters.every((parameter) => !parameter.startsWith("charset=") || /^charset="?utf-?8"?$/.test(parameter));
}

/** Whether a body is compressed or otherwise encoded, which nothing here accepts. */
export function isEncoded({ headers }: IncomingMessage): boolean {
  const encoding = headers["content-encoding"];
  return encoding !== undefined && encoding.toLowerCase() !== "identity";
}
