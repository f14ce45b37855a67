import { WireProblem } from "@toolyard/service-kit/http/wire/response-reader.ts";

const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;
// oxlint-disable-next-line no-control-regex -- these are what it looks for
const CONTROL = /[\0-\x08\n-\x1f\x7f]/;

/**
 * Adds a field to the headers of an answer, in undici's form: names in lower case, and all values of one that is given twice.
 * @throws WireProblem for what Node would not pass on
 */
export function addHeader(
  headers: Record<string, string | string[]>,
  text: string,
  start: number,
  colon: number,
  end: number,
): void {
  const name = text.slice(start, colon).toLowerCase();
  const value = withoutBlanks(text, colon + 1, end);
  if (!TOKEN.test(name)) throw new WireProblem("answered a header field whose name is none");
  if (CONTROL.test(value)) throw new WireProblem("answered a header field with a control character in it");
  const before = Object.hasOwn(headers, name) ? headers[name] : undefined;
  if (Array.isArray(before)) before.push(value);
  else if (name === "__proto__") Object.defineProperty(headers, name, { value, enumerable: true });
  else headers[name] = before === undefined ? value : [before, value];
}

/** `trim` would also take bytes that are spaces elsewhere. */
function withoutBlanks(text: string, from: number, to: number): string {
  let [start, end] = [from, to];
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
