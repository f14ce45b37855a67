import { endOfString } from "./errors/json-text.ts";

/** Levels of objects and lists in JSON that others wrote. What prints or walks a value calls itself for each, as deep as the stack is. */
export const MAX_NESTING = 256;

/** Whether a JSON text has more levels than MAX_NESTING. In linear time. */
export function isTooNested(text: string): boolean {
  // Each level is opened and closed.
  if (text.length < 2 * MAX_NESTING) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at);
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > MAX_NESTING) return true;
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
    }
  }
  return false;
}

/** Whether a value is a JSON object: neither null nor a list. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value of a JSON text, read by `parse`; undefined when the text is not JSON. */
export function parseJson(text: string, parse: (text: string) => unknown = JSON.parse): unknown {
  try {
    return parse(text);
  } catch {
    // Callers validate the result, and undefined is no valid answer, message or file.
    return undefined;
  }
}
