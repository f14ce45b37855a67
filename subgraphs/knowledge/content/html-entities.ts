import names from "./html-entity-names.json" with { type: "json" };

/** Name, with its semicolon where it needs one, to text: https://html.spec.whatwg.org/entities.json */
const NAMES: ReadonlyMap<string, string> = new Map(Object.entries(names));
/** The longest name that is known without a semicolon. */
const MAX_LEGACY_LENGTH = 6;

/** What numbers from 128 to 159 mean in HTML: Windows-1252. "" where it is nothing. */
const WINDOWS_1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";

/** Replaces named and numbered character references; what is none stays as it is. */
export function decodeEntities(text: string): string {
  if (!text.includes("&")) return text;
  return text.replaceAll(
    /&(?:#(?:[xX]([0-9a-fA-F]{1,8})|([0-9]{1,10}));?|([A-Za-z][A-Za-z0-9]{1,31};?))/g,
    (whole, hex, decimal, name) => {
      if (typeof hex === "string") return characterOf(Number.parseInt(hex, 16));
      if (typeof decimal === "string") return characterOf(Number.parseInt(decimal, 10));
      return typeof name === "string" ? (named(name) ?? whole) : whole;
    },
  );
}

function named(name: string): string | null {
  const exact = NAMES.get(name);
  if (exact !== undefined) return exact;
  for (let length = Math.min(MAX_LEGACY_LENGTH, name.length); length > 1; length--) {
    const legacy = NAMES.get(name.slice(0, length));
    if (legacy !== undefined) return legacy + name.slice(length);
  }
  return null;
}

function characterOf(code: number): string {
  if (code >= 0x80 && code <= 0x9f) return WINDOWS_1252[code - 0x80] ?? "";
  const isCharacter = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
  return isCharacter ? String.fromCodePoint(code) : "\ufffd";
}
