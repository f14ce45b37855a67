/** Hides known secrets in text that others read: log lines, reasons, errors. Imports nothing: the bridge loads it, too. */
export interface SecretMask {
  /** The text with every known secret in it replaced, in whichever of the usual encodings it stands there. */
  text(text: string): string;
  /** The same for every string of a JSON value, keys too. */
  json<Value>(value: Value): Value;
}

const REPLACEMENT = "***";
/** Shorter values would hide half of every line, and can be guessed anyway. */
const SHORTEST = 4;
/** Of what stands within a value: a line of it, a password in a URL. */
const SHORTEST_PART = 6;
/** Longer values are found by their beginning and hidden as far as they go: this bounds the work at each character. */
const HEAD = 256;

/** @param secrets Plain values. Many times the same is as once; those of fewer than four characters are not looked for. */
export function createSecretMask(secrets: Iterable<string>): SecretMask {
  /** Longest first, by their first characters. */
  const byStart = new Map<string, string[]>();
  const starts = new Uint8Array(0x10000);
  for (const pattern of patternsOf(secrets)) {
    const start = pattern.slice(0, SHORTEST);
    const known = byStart.get(start);
    if (known) known.push(pattern);
    else byStart.set(start, [pattern]);
    starts[pairAt(pattern, 0)] = 1;
  }
  for (const known of byStart.values()) known.sort((a, b) => b.length - a.length);

  function text(given: string): string {
    if (byStart.size === 0) return given;
    let masked = "";
    /** Up to where the text is written, and where what is being hidden begins and ends. */
    let written = 0;
    let from = -1;
    let to = -1;
    let extendedTo = 0;
    for (let at = 0; at <= given.length - SHORTEST; at += 1) {
      if (starts[pairAt(given, at)] === 0) continue;
      for (const pattern of byStart.get(given.slice(at, at + SHORTEST)) ?? []) {
        let end = at + Math.min(pattern.length, HEAD);
        if (end <= to) break; // the others are shorter still
        if (!given.startsWith(pattern.length > HEAD ? pattern.slice(0, HEAD) : pattern, at)) continue;
        if (pattern.length > HEAD && at >= extendedTo) {
          while (end < given.length && end - at < pattern.length && given[end] === pattern[end - at]) end += 1;
          extendedTo = end;
        }
        if (at > to) {
          if (from >= 0) {
            masked += given.slice(written, from) + REPLACEMENT;
            written = to;
          }
          from = at;
        }
        to = Math.max(to, end);
      }
    }
    return from < 0 ? given : masked + given.slice(written, from) + REPLACEMENT + given.slice(to);
  }

  function json(value: unknown): unknown {
    if (typeof value === "string") return text(value);
    if (typeof value === "number") return text(String(value)) === String(value) ? value : REPLACEMENT;
    if (Array.isArray(value)) return value.map(json);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [text(key), json(item)]));
  }

  // Strings stay strings, objects objects; a number that is a secret does not stay one.
  return { text, json: <Value>(value: Value) => json(value) as Value };
}

function pairAt(text: string, at: number): number {
  return (text.charCodeAt(at) * 257 + text.charCodeAt(at + 1)) & 0xffff;
}

function patternsOf(secrets: Iterable<string>): Set<string> {
  const patterns = new Set<string>();
  for (const secret of new Set(secrets)) {
    const parts = new Set(secret.length < SHORTEST ? [] : [secret, ...partsOf(secret)]);
    for (const part of parts)
      for (const form of formsOf(part)) if (form.length >= SHORTEST && form.trim() !== "") patterns.add(form);
  }
  return patterns;
}

/** What a program may print of a value by itself. */
function partsOf(secret: string): string[] {
  const parts = [secret.trim()];
  const lines = secret.split(/\r\n|\r|\n/);
  if (lines.length > 1) parts.push(...lines.flatMap((line) => [line, line.trim()]));
  // `Bearer abc`: the scheme of an Authorization header is none.
  const [, credentials] = /^[A-Za-z]+ +(\S.*)$/s.exec(secret) ?? [];
  if (credentials !== undefined) parts.push(credentials);
  const url = /^[a-z][a-z0-9+.-]*:\/\/\S+$/i.test(secret) ? URL.parse(secret) : null;
  if (url) {
    const values = [url.password, ...url.searchParams.values()];
    parts.push(...values, ...values.map(decoded), `${url.username}:${url.password}`, url.search.slice(1));
  }
  if (/^\s*[[{"]/.test(secret)) parts.push(...jsonStrings(secret));
  return parts.filter((part) => part.length >= SHORTEST_PART);
}

function decoded(text: string): string {
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

/** The characters of base64 that the value alone decides, at each of the three places where it may begin in what is encoded. */
function base64Forms(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
    const own = text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
    return [own, own.replaceAll("+", "-").replaceAll("/", "_")];
  });
}
