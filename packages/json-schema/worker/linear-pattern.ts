import { RE2JS } from "re2js";
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";

/** A regular expression that answers in time that grows with the text, whatever it says. */
export interface LinearPattern {
  test(text: string): boolean;
  toString(): string;
}

/** The pattern cannot be used; the message says why, after "is". */
export class PatternError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PatternError";
  }
}

const MAX_CHARACTERS = 1_000;

/**
 * A pattern of JSON Schema: ECMA-262 with the flag `u`, in RE2's hands. Has no look-around and no back-references, which take
 * more than linear time. Such a function is what ajv's `code.regExp` takes; `code` is for its standalone output, which is not used.
 * @throws PatternError
 */
export const createLinearPattern = Object.assign(
  (pattern: string, flags = "u"): LinearPattern => {
    if (pattern.length > MAX_CHARACTERS) throw new PatternError(`too long: at most ${MAX_CHARACTERS} characters`);
    try {
      new RegExp(pattern, "u");
    } catch (error) {
      throw new PatternError(`not a regular expression (ECMA-262, with the flag u): ${messageOf(error)}`);
    }
    const translated = (flags.includes("i") ? "(?i)" : "") + toRe2(pattern);
    let compiled: RE2JS;
    try {
      compiled = RE2JS.compile(translated);
    } catch (error) {
      throw new PatternError(`not a pattern that can be matched in linear time (RE2): ${messageOf(error)}`);
    }
    return { test: (text) => compiled.test(text), toString: () => `/${pattern}/${flags}` };
  },
  { code: "createLinearPattern" },
);

/** ECMA-262's white space and its complement, as the inside of a class. RE2's `\s` has five characters. */
const SPACE = String.raw`\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`;
const NO_SPACE = String.raw`\x{0}-\x{8}\x{e}-\x{1f}!-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}`;
const ANY = String.raw`\x{0}-\x{10ffff}`;

const ESCAPE = String.raw`\\u\{(?<point>[0-9a-fA-F]+)\}|(?<units>(?:\\u[0-9a-fA-F]{4})+)|\\x(?<byte>[0-9a-fA-F]{2})|\\c(?<control>[A-Za-z])|\\(?<negation>[pP])\{(?:(?:General_Category|gc|Script|sc)=)?(?<property>[^}]*)\}|\\(?<escaped>[^])`;
const IN_CLASS = new RegExp(`${ESCAPE}|[^]`, "uy");
const OUTSIDE = new RegExp(`${ESCAPE}|${String.raw`(?<open>\((?:\?(?::|<?[=!]|<[^>]*>|[^:]*:))?)|\[\^?\]?|[^]`}`, "uy");

/** The pattern, which is one of ECMA-262 with the flag `u`, in RE2's syntax with the same meaning. */
function toRe2(pattern: string): string {
  let inClass = false;
  let result = "";
  for (let position = 0; position < pattern.length;) {
    const expression: RegExp = inClass ? IN_CLASS : OUTSIDE;
    expression.lastIndex = position;
    const found = expression.exec(pattern);
    if (!found) throw new Error("Each pattern accepts any character in the end.");
    const { 0: token, groups = {} } = found;
    position += token.length;
    const { point, units, byte, control, negation, property, escaped, open } = groups;
    if (point !== undefined) result += codePoint(Number.parseInt(point, 16));
    else if (units !== undefined) result += unitsOf(units);
    else if (byte !== undefined) result += codePoint(Number.parseInt(byte, 16));
    else if (control !== undefined) result += codePoint(control.charCodeAt(0) % 32);
    else if (property !== undefined) result += `\\${negation}{${property}}`;
    else if (escaped !== undefined) result += escapeOf(escaped, inClass);
    else if (inClass) {
      inClass = token !== "]";
      // RE2 has classes by name within classes: [[:alpha:]].
      result += token === "[" ? String.raw`\[` : token;
    } else if (open !== undefined) result += groupOf(open);
    else if (token === "[" || token === "[^") {
      inClass = true;
      result += token;
    } else result += PLAIN[token] ?? token;
  }
  return result;
}

/** What RE2 writes otherwise, outside of classes. */
const PLAIN: Record<string, string> = {
  "[]": `[^${ANY}]`,
  "[^]": `[${ANY}]`,
  ".": String.raw`[^\n\r\x{2028}\x{2029}]`,
  "^": String.raw`\A`,
  $: String.raw`\z`,
};

function escapeOf(escaped: string, inClass: boolean): string {
  if (/[1-9k]/.test(escaped))
    throw new PatternError("not a pattern that can be matched in linear time: it has a back-reference");
  if (escaped === "0") return codePoint(0);
  if (escaped === "b" && inClass) return codePoint(8);
  if (escaped === "s") return inClass ? SPACE : `[${SPACE}]`;
  if (escaped === "S") return inClass ? NO_SPACE : `[${NO_SPACE}]`;
  return `\\${escaped}`;
}

/** Nothing refers to groups: none is captured. */
function groupOf(open: string): string {
  if (open === "(" || open === "(?:" || /^\(\?<[^=!]/.test(open)) return "(?:";
  if (/[=!]$/.test(open))
    throw new PatternError("not a pattern that can be matched in linear time: it looks ahead or behind");
  throw new PatternError("not a pattern that is understood: it sets flags within itself");
}

/** Code units, where two may be one character. */
function unitsOf(text: string): string {
  const units = text
    .split(String.raw`\u`)
    .slice(1)
    .map((unit) => Number.parseInt(unit, 16));
  return Array.from(String.fromCharCode(...units), (character) => codePoint(character.codePointAt(0) ?? 0)).join("");
}

function codePoint(value: number): string {
  return `\\x{${value.toString(16)}}`;
}
