import { isObject } from "@toolyard/service-kit/json.ts";
import { itemsOf, membersOf } from "./json-splice.ts";

/** A message is judged by its own members, those of its params, and those of their `_meta`. */
const JUDGED_DEPTH = 3;

/**
 * JSON.parse that keeps the keys by which messages are judged as they are written. V8 (Node 24.21) takes a key that is spelled
 * with an escape for `\`, where an object with the same keys before it had one that begins with a backslash: a request judged
 * by that result, and passed on as text, would differ for a correct reader.
 * @throws SyntaxError as JSON.parse does.
 */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  if (!/\\[u/]/.test(text)) return value;
  if (!Array.isArray(value)) return withTrueKeys(value, text, JUDGED_DEPTH);
  const items = itemsOf(text);
  return value.map((item: unknown, index) => withTrueKeys(item, items[index] ?? "", JUDGED_DEPTH));
}

function withTrueKeys(value: unknown, text: string, depth: number): unknown {
  // No message is judged by what is in a list, and a list in a list would be read once for each level.
  if (!isObject(value) || depth === 0) return value;
  const members = [...membersOf(text)];
  const isTrue = members.length === Object.keys(value).length && members.every(([key]) => Object.hasOwn(value, key));
  const read = members.map(([key, part]): [string, unknown] => [
    key,
    withTrueKeys(isTrue ? value[key] : JSON.parse(part), part, depth - 1),
  ]);
  return Object.fromEntries(read);
}
