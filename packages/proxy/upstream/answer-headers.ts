import { isBlankAt, WireProblem } from "@toolyard/service-kit/http/wire/response-reader.ts";

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
  const all = before === undefined ? value : [before, value].flat();
  if (name === "__proto__") Object.defineProperty(headers, name, { value: all, enumerable: true, configurable: true });
  else headers[name] = all;
}

/** `trim` would also take bytes that are spaces elsewhere. */
function withoutBlanks(text: string, from: number, to: number): string {
  let [start, end] = [from, to];
  while (start < end && isBlankAt(text, start)) start += 1;
  while (end > start && isBlankAt(text, end - 1)) end -= 1;
  return text.slice(start, end);
}
