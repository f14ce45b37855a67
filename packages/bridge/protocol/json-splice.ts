import { isObject } from "@toolyard/service-kit/json.ts";

/**
 * Finds and replaces single values in JSON text and leaves every other character as it was: numbers keep their digits,
 * objects the order and spelling of their keys. Works on any text, also on one whose bytes were read as latin1; text that
 * is not JSON yields the values found before the error. Kept beside jsonc-parser, which makes a tree of all of it: 4 µs to find a value in a
 * message of 2.4 kB, where that takes 29.
 */

/** The place of a value in a text. */
export interface Span {
  readonly start: number;
  /** The index after its last character. */
  readonly end: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;
const OPENING_BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (isSpace(text.charCodeAt(at))) at += 1;
  return at;
}

/** The index after a string that begins at `start`, or -1. */
function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end !== -1) {
    let before = end - 1;
    while (text.charCodeAt(before) === BACKSLASH) before -= 1;
    if ((end - before) % 2 === 1) return end + 1;
    end = text.indexOf('"', end + 1);
  }
  return -1;
}

function endsScalar(code: number): boolean {
  return code === COMMA || code === CLOSING_BRACE || code === CLOSING_BRACKET || isSpace(code);
}

/** The index after the value that begins at `start`, or -1. */
function endOfValue(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === QUOTE) return endOfString(text, start);
  if (first !== OPENING_BRACE && first !== OPENING_BRACKET) {
    let at = start;
    while (at < text.length && !endsScalar(text.charCodeAt(at))) at += 1;
    return at === start ? -1 : at;
  }
  let depth = 0;
  let at = start;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOfString(text, at);
      if (at === -1) return -1;
      continue;
    }
    at += 1;
    if (code === OPENING_BRACE || code === OPENING_BRACKET) depth += 1;
    else if (code === CLOSING_BRACE || code === CLOSING_BRACKET) {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return -1;
}

function keyOf(text: string, start: number, end: number): string | null {
  const raw = text.slice(start + 1, end - 1);
  if (!raw.includes("\\")) return raw;
  try {
    const key: unknown = JSON.parse(text.slice(start, end));
    return typeof key === "string" ? key : null;
  } catch {
    return null;
  }
}

/** Iterates over the members of the object that begins at `start`, as far as they can be read. */
function eachMember(
  text: string,
  start: number,
  see: (key: string | null, start: number, end: number, keyStart: number) => void,
): void {
  if (text.charCodeAt(start) !== OPENING_BRACE) return;
  let at = skipSpace(text, start + 1);
  while (text.charCodeAt(at) === QUOTE) {
    const keyStart = at;
    const keyEnd = endOfString(text, at);
    if (keyEnd === -1) return;
    const key = keyOf(text, at, keyEnd);
    at = skipSpace(text, keyEnd);
    if (text.charCodeAt(at) !== COLON) return;
    at = skipSpace(text, at + 1);
    const end = endOfValue(text, at);
    if (end === -1) return;
    see(key, at, end, keyStart);
    at = skipSpace(text, end);
    if (text.charCodeAt(at) !== COMMA) return;
    at = skipSpace(text, at + 1);
  }
}

function collect(text: string, start: number, path: readonly string[], depth: number, found: Span[]): void {
  eachMember(text, skipSpace(text, start), (key, valueStart, end) => {
    if (key !== path[depth]) return;
    if (depth === path.length - 1) found.push({ start: valueStart, end });
    else collect(text, valueStart, path, depth + 1, found);
  });
}

/** The values at a path of keys, in order. More than one when a key stands twice: JSON readers take the last one. */
export function findValues(text: string, path: readonly string[]): Span[] {
  const found: Span[] = [];
  collect(text, 0, path, 0, found);
  return found;
}

/** The values of an object's members as they are written, by key; of a key that stands twice the last one. */
export function membersOf(text: string): Map<string, string> {
  const members = new Map<string, string>();
  eachMember(text, skipSpace(text, 0), (key, start, end) => {
    if (key !== null) members.set(key, text.slice(start, end));
  });
  return members;
}

/** The items of an array as they are written, at most so many; none when it is not an array. */
export function itemsOf(text: string, most = Infinity): string[] {
  const items: string[] = [];
  let at = skipSpace(text, 0);
  if (text[at] !== "[") return items;
  at = skipSpace(text, at + 1);
  while (at < text.length && items.length < most) {
    const end = endOfValue(text, at);
    if (end === -1) return items;
    items.push(text.slice(at, end));
    at = skipSpace(text, end);
    if (text[at] !== ",") return items;
    at = skipSpace(text, at + 1);
  }
  return items;
}

/** JSON of a value that was made from `before`, whose text is `text`: unchanged parts are written as in `text`. */
export function printFrom(value: unknown, before: unknown, text: string): string {
  if (value === before) return text;
  if (Array.isArray(value) && Array.isArray(before)) {
    const items = itemsOf(text);
    const places = new Map(before.map((item: unknown, index) => [item, index]));
    const printed = value.map((item: unknown, index) => {
      const place = places.get(item) ?? (value.length === before.length ? index : -1);
      return printFrom(item, before[place], items[place] ?? "");
    });
    return `[${printed.join(",")}]`;
  }
  return isObject(value) && isObject(before) ? printObject(value, before, text) : (JSON.stringify(value) ?? "null");
}

function printObject(value: Record<string, unknown>, before: Record<string, unknown>, text: string): string {
  const printed: string[] = [];
  let count = 0;
  /** Runs of unchanged members are copied at once: there may be very many. */
  let run: Span | null = null;
  const copy = (): void => {
    if (run !== null) printed.push(text.slice(run.start, run.end));
    run = null;
  };
  eachMember(text, skipSpace(text, 0), (key, start, end, keyStart) => {
    count += 1;
    const isKept = key !== null && Object.hasOwn(value, key) && value[key] !== undefined;
    if (isKept && value[key] === before[key]) {
      run = { start: run?.start ?? keyStart, end };
      return;
    }
    copy();
    if (isKept) printed.push(text.slice(keyStart, start) + printFrom(value[key], before[key], text.slice(start, end)));
  });
  copy();
  // Of a key that stands twice only the last one counts.
  if (count !== Object.keys(before).length) return JSON.stringify(value);
  for (const key of Object.keys(value)) {
    if (value[key] !== undefined && !Object.hasOwn(before, key))
      printed.push(`${JSON.stringify(key)}:${JSON.stringify(value[key])}`);
  }
  return `{${printed.join(",")}}`;
}

/** The last of the values at a path of keys, which JSON readers take; "null" when there is none. */
export function lastText(text: string, path: readonly string[]): string {
  const span = findValues(text, path).at(-1);
  return span === undefined ? "null" : text.slice(span.start, span.end);
}

/** `text` with each of these values replaced. */
export function replaceValues(text: string, edits: readonly { spans: readonly Span[]; text: string }[]): string {
  const ordered = edits
    .flatMap(({ spans, text: replacement }) => spans.map((span) => ({ ...span, replacement })))
    .sort((a, b) => a.start - b.start);
  let replaced = "";
  let at = 0;
  for (const { start, end, replacement } of ordered) {
    replaced += text.slice(at, start) + replacement;
    at = end;
  }
  return replaced + text.slice(at);
}
