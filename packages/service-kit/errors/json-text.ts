import { messageOf } from "./errors.ts";

const WORD = /true|false|null|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

/** Why and where a JSON parser refused a text, as the end of a sentence. Shows at most one character of the text. */
export function jsonProblem(text: string, error: unknown): string {
  const told = /^(.*?)(?: in JSON)? at position (\d+)/s.exec(messageOf(error));
  const at = told ? Number(told[2]) : unexpectedAt(text);
  if (text.trim() === "") return "it is empty";
  if (at >= text.length) return `${placeOf(text, text.length)} it ends too early`;
  const said = told?.[1] ?? "";
  const what =
    said === "" ? `unexpected ${JSON.stringify(text.charAt(at))}` : said.charAt(0).toLowerCase() + said.slice(1);
  return `${placeOf(text, at)} ${what}`;
}

/** In linear time. */
function placeOf(text: string, at: number): string {
  const start = text.lastIndexOf("\n", at - 1) + 1;
  let line = 1;
  for (let end = text.indexOf("\n"); end >= 0 && end < at; end = text.indexOf("\n", end + 1)) line += 1;
  return `at line ${line}, column ${at - start + 1}`;
}

/** The place of a missing value: the one mistake whose place JSON.parse does not tell. */
function unexpectedAt(text: string): number {
  const isList: boolean[] = [];
  let [wantsValue, before] = [true, ""];
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (/\s/.test(character)) continue;
    if (character === '"') {
      at = endOfString(text, at);
      wantsValue = false;
    } else if (character === "[" || character === "{") {
      isList.push(character === "[");
      wantsValue = character === "[";
    } else if (character === "]" || character === "}") {
      if (wantsValue && !(character === "]" && before === "[")) return at;
      isList.pop();
      wantsValue = false;
    } else if (character === ",") {
      if (wantsValue) return at;
      wantsValue = isList.at(-1) ?? false;
    } else if (character === ":") wantsValue = true;
    else {
      WORD.lastIndex = at;
      const [word] = WORD.exec(text) ?? [];
      if (word === undefined) return at;
      at += word.length - 1;
      wantsValue = false;
    }
    before = character;
  }
  return text.length;
}

/** Where a string that begins here ends; the text's end when it does not. */
export function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote >= 0; quote = text.indexOf('"', quote + 1)) {
    let escapes = 0;
    while (text.charCodeAt(quote - 1 - escapes) === 0x5c) escapes++;
    if (escapes % 2 === 0) return quote;
  }
  return text.length;
}
