/** Hides known secrets in text that others read: log lines, reasons, errors. Imports nothing: the bridge loads it, too. */
export interface SecretMask {
  /** The text with every known secret in it replaced, in any of the usual encodings. */
  text(text: string): string;
  /** The same for every string of a JSON value, keys too. */
  json<Value>(value: Value): Value;
}

const REPLACEMENT = "***";
/** Shorter values would hide half of every line, and can be guessed anyway. */
const SHORTEST = 4;
/** The same for parts of a value: a line of it, a password in a URL. */
const SHORTEST_PART = 6;
/** Longer values are found by their beginning and hidden as far as they go: this bounds the part kept of each. */
const HEAD = 256;
/** Longer values that may begin alike; if more do, everything that follows is hidden. */
const MAX_ALIKE = 8;
/** Characters of all patterns together. With more secrets than that, no text is shown at all, since building the table takes time, too. */
const MAX_CHARACTERS = 500_000;

/** @param secrets Plain values. Duplicates do not matter; very short values are not looked for. */
export function createSecretMask(secrets: Iterable<string>): SecretMask {
  const patterns = patternsOf(secrets);
  /** Those longer than HEAD by their first characters. */
  const alike = new Map<string, string[]>();
  for (const pattern of patterns ?? []) {
    if (pattern.length <= HEAD) continue;
    const head = pattern.slice(0, HEAD);
    alike.set(head, [...(alike.get(head) ?? []).slice(0, MAX_ALIKE), pattern]);
  }
  const finder = createFinder(Array.from(patterns ?? [], (pattern) => pattern.slice(0, HEAD)));

  /** The end of the text from `from` that agrees with a longer value, whose first characters stand there. */
  function endOf(given: string, from: number): number {
    const values = alike.get(given.slice(from, from + HEAD)) ?? [];
    if (values.length > MAX_ALIKE) return given.length;
    let last = from + HEAD;
    for (const value of values) {
      let end = from + HEAD;
      while (end < given.length && end - from < value.length && given[end] === value[end - from]) end += 1;
      last = Math.max(last, end);
    }
    return last;
  }

  function text(given: string): string {
    if (patterns === null) return given === "" ? given : REPLACEMENT;
    if (patterns.size === 0) return given;
    /** The hidden ranges, in order, without overlaps. */
    const spans: { from: number; to: number }[] = [];
    let extendedTo = 0;
    finder(given, (from, end) => {
      let to = end;
      if (end - from === HEAD && from >= extendedTo) {
        to = endOf(given, from);
        extendedTo = to;
      }
      let first = from;
      for (let last = spans.at(-1); last && last.to >= first; last = spans.at(-1)) {
        first = Math.min(first, last.from);
        to = Math.max(to, last.to);
        spans.pop();
      }
      spans.push({ from: first, to });
    });
    let masked = "";
    let written = 0;
    for (const { from, to } of spans) {
      masked += given.slice(written, from) + REPLACEMENT;
      written = to;
    }
    return masked + given.slice(written);
  }

  function json(value: unknown): unknown {
    if (typeof value === "string") return text(value);
    if (typeof value === "number") return text(String(value)) === String(value) ? value : REPLACEMENT;
    if (Array.isArray(value)) return value.map(json);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [text(key), json(item)]));
  }

  // Strings stay strings and objects objects; a number that is a secret becomes a string.
  return { text, json: <Value>(value: Value) => json(value) as Value };
}

/**
 * Finds patterns in a text, in time that grows with the text alone, whatever the patterns are (Aho and Corasick's automaton), since users
 * write both. Reports the longest pattern that ends at each place.
 */
function createFinder(patterns: readonly string[]): (text: string, tell: (from: number, to: number) => void) => void {
  const most = patterns.reduce((sum, pattern) => sum + pattern.length, 1);
  /** Of each state: its transitions in a hash table, where it goes on when there is none, and the longest pattern that ends in it. */
  const bits = Math.ceil(Math.log2(2 * most + 1));
  const slots = new Int32Array(2 ** bits);
  const parents = new Int32Array(most);
  const codes = new Uint16Array(most);
  const fallbacks = new Int32Array(most);
  const longest = new Uint16Array(most);
  let states = 1;

  /** The slot of a transition: that of its state, or a free one. */
  function slotOf(state: number, code: number): number {
    let slot = Math.imul(Math.imul(state, 0x9e3779b1) ^ code, 0x85ebca6b) >>> (32 - bits);
    for (;;) {
      const next = slots[slot] ?? 0;
      if (next === 0 || (parents[next] === state && codes[next] === code)) return slot;
      slot = (slot + 1) & (slots.length - 1);
    }
  }
  const stepOf = (state: number, code: number) => slots[slotOf(state, code)] ?? 0;

  for (const pattern of patterns) {
    let state = 0;
    for (let at = 0; at < pattern.length; at += 1) {
      const code = pattern.charCodeAt(at);
      const slot = slotOf(state, code);
      if (slots[slot] === 0) {
        slots[slot] = states;
        parents[states] = state;
        codes[states] = code;
        states += 1;
      }
      state = slots[slot] ?? 0;
    }
    longest[state] = pattern.length;
  }
  function next(from: number, code: number): number {
    let state = from;
    for (;;) {
      const step = stepOf(state, code);
      if (step !== 0 || state === 0) return step;
      state = fallbacks[state] ?? 0;
    }
  }
  // In order of depth: a state is deeper than its fallback.
  const depths = new Uint16Array(states);
  for (let state = 1; state < states; state += 1) depths[state] = (depths[parents[state] ?? 0] ?? 0) + 1;
  const order = Uint32Array.from(depths.keys()).sort((a, b) => (depths[a] ?? 0) - (depths[b] ?? 0));
  for (const state of order) {
    const parent = parents[state] ?? 0;
    if (state === 0 || parent === 0) continue;
    const fallback = next(fallbacks[parent] ?? 0, codes[state] ?? 0);
    fallbacks[state] = fallback;
    longest[state] = Math.max(longest[state] ?? 0, longest[fallback] ?? 0);
  }

  return (text, tell) => {
    let state = 0;
    for (let at = 0; at < text.length; at += 1) {
      state = next(state, text.charCodeAt(at));
      const length = longest[state] ?? 0;
      if (length > 0) tell(at + 1 - length, at + 1);
    }
  };
}

/** All patterns; null when there are too many. */
function patternsOf(secrets: Iterable<string>): Set<string> | null {
  const patterns = new Set<string>();
  let characters = 0;
  for (const secret of new Set(secrets)) {
    const parts = new Set(secret.length < SHORTEST ? [] : [secret, ...partsOf(secret)]);
    for (const part of parts)
      for (const form of formsOf(part)) {
        if (form.length < SHORTEST || form.trim() === "" || patterns.has(form)) continue;
        patterns.add(form);
        characters += Math.min(form.length, HEAD);
        if (characters > MAX_CHARACTERS) return null;
      }
  }
  return patterns;
}

/** The parts of a value that a program may print alone. */
function partsOf(secret: string): string[] {
  const parts = [secret.trim()];
  const lines = secret.split(/\r\n|\r|\n/);
  if (lines.length > 1) parts.push(...lines.flatMap((line) => [line, line.trim()]));
  // `Bearer abc`: the scheme of an Authorization header is none.
  const [, credentials] = /^[A-Za-z]+ +(\S.*)$/s.exec(secret) ?? [];
  if (credentials !== undefined) parts.push(credentials);
  const url = /^[a-z][a-z0-9+.-]*:\/\/\S+$/i.test(secret) ? URL.parse(secret) : null;
  if (url) {
    // `https://TOKEN@host`: without a password it is no user's name.
    const token = /^(?:git\+)?https?:$/.test(url.protocol) && url.password === "" ? url.username : "";
    const values = [token, url.password, ...url.searchParams.values()];
    parts.push(...values, ...values.map(decoded), `${url.username}:${url.password}`, url.search.slice(1));
  }
  if (/^\s*[[{"]/.test(secret)) parts.push(...jsonStrings(secret));
  return parts.filter((part) => part.length >= SHORTEST_PART);
}

/** Without percent-encoding. */
export function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // no percent-encoding: it stands as it is
  }
}

function jsonStrings(text: string): string[] {
  const strings: string[] = [];
  try {
    JSON.parse(text, (_key, value: unknown) => {
      if (typeof value === "string") strings.push(value, ...value.split(/\r?\n/));
      return value;
    });
  } catch {
    // No JSON: it has no parts of this kind.
  }
  return strings;
}

/** The encodings in which a value is printed: as it is, in JSON, in URLs, in HTML, as base64 and as hexadecimal. */
function formsOf(value: string): string[] {
  const bytes = Buffer.from(value);
  const json = JSON.stringify(value).slice(1, -1);
  const ascii = json.replace(
    /[\u007f-\uffff]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const url = value.isWellFormed() ? encodeURIComponent(value) : value;
  const strict = url.replace(/[!'()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
  const urls = [url, strict, url.replaceAll("%20", "+"), strict.replaceAll("%20", "+"), strict.replaceAll("%2F", "/")];
  const html = value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return [
    value,
    json,
    ascii,
    JSON.stringify(json).slice(1, -1),
    json.replaceAll('\\"', '"').replaceAll("'", "\\'"), // as Node and Python quote it
    ...urls,
    ...urls.map((form) => form.replace(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase())),
    html.replaceAll('"', "&quot;"),
    html.replaceAll('"', "&quot;").replaceAll("'", "&#39;"),
    ...base64Forms(bytes),
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
  ];
}

/** The characters of base64 that the value alone decides, at each of the three offsets at which it may begin in the encoded bytes. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
    const own = text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
    return [own, own.replaceAll("+", "-").replaceAll("/", "_")];
  });
}
