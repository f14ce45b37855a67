import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createSecretMask } from "./secret-mask.ts";

/** What nothing else in a text looks like, of all kinds of characters. */
const secret = fc
  .tuple(
    fc.string({ minLength: 6, maxLength: 40, unit: fc.constantFrom(...Array.from("abcXYZ0189+/=&?%\"'\\<> {}é€😀")) }),
    fc.string({ minLength: 8, maxLength: 8, unit: fc.constantFrom(...Array.from("0123456789abcdef")) }),
  )
  .map(([text, unique]) => `q${text}${unique}z`);
const around = fc.string({ maxLength: 20, unit: fc.constantFrom(...Array.from(" .,:-()\n")) });

const forms: Record<string, (secret: string) => string> = {
  "as it is": (text) => text,
  "in JSON": (text) => JSON.stringify({ key: text }),
  "in JSON of ASCII": (text) =>
    JSON.stringify(text).replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`),
  "in JSON in JSON": (text) => JSON.stringify({ body: JSON.stringify({ key: text }) }),
  "in a URL": (text) => `https://example.com/?key=${encodeURIComponent(text)}`,
  "in a form": (text) => new URLSearchParams({ a: "b", key: text }).toString(),
  "in a URL with small letters": (text) =>
    encodeURIComponent(text).replace(/%[0-9A-F]{2}/g, (escape) => escape.toLowerCase()),
  "as base64": (text) => Buffer.from(text).toString("base64"),
  "as base64 of a user and it": (text) => Buffer.from(`u:${text}`).toString("base64"),
  "as base64 in the middle": (text) => Buffer.from(`me:${text}, and more`).toString("base64"),
  "as base64url": (text) => Buffer.from(text).toString("base64url"),
  "as hexadecimal": (text) => Buffer.from(text).toString("hex"),
};
/** Where a form's own characters are: what surrounds it may stay. */
const core = (text: string): string => Buffer.from(text).toString("base64").slice(4, 12);

describe("a secret", () => {
  test.each(Object.entries(forms))("%s is hidden, whatever surrounds it", (_name, write) => {
    fc.assert(
      fc.property(secret, around, around, (value, before, after) => {
        const masked = createSecretMask([value]).text(`${before}${write(value)}${after}`);
        for (const form of [value, value.slice(1, -1), JSON.stringify(value).slice(1, -1), encodeURIComponent(value)])
          expect(masked).not.toContain(form);
        expect(masked).not.toContain(core(value));
        expect(masked).not.toContain(Buffer.from(value).toString("hex"));
        expect(masked).toContain("***");
      }),
      { numRuns: 300 },
    );
  });

  test("of several lines is hidden line by line", () => {
    const key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n";
    const mask = createSecretMask([key]);
    for (const line of key.trim().split("\n")) expect(mask.text(`at 1: ${line}!`)).toBe("at 1: ***!");
  });

  test.each([
    ["Bearer sk-abcdef123", "sk-abcdef123"],
    ["postgres://me:hunter2pass@db.example/x", "hunter2pass"],
    ["postgres://me:p%40ssword@db.example/x", "p@ssword"],
    ["https://mcp.example/mcp?apiKey=k-987654", "k-987654"],
    ["https://ghp%5Fabc123@git.example/repo", "ghp_abc123"],
    ['{"private_key":"one-two-three","n":1}', "one-two-three"],
  ])("in %s is hidden by itself", (whole, part) => {
    expect(createSecretMask([whole]).text(`denied for ${part}.`)).toBe("denied for ***.");
  });

  test("that begins within another is hidden with it", () => {
    expect(createSecretMask(["abcdefgh", "efghijkl"]).text("-abcdefghijkl-")).toBe("-***-");
    expect(createSecretMask(["abcdef", "abcdefghij"]).text("abcdefghij abcdef abcdefg")).toBe("*** *** ***g");
  });

  test("is hidden in every string of a JSON value", () => {
    const mask = createSecretMask(["s3cret-value", "123456"]);
    expect(mask.json({ a: ["x s3cret-value", 123456, 5, null, true], "s3cret-value": {} })).toEqual({
      a: ["x ***", "***", 5, null, true],
      "***": {},
    });
  });
});

test("text without secrets stays as it is", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.array(secret), (text, secrets) => {
      expect(createSecretMask(secrets).text(text)).toBe(text);
      expect(createSecretMask(["", " ", "abc"]).text(text)).toBe(text);
    }),
  );
});

test("the work is linear in the text, even for a secret that is like the text everywhere", () => {
  const mask = createSecretMask([
    "a".repeat(30_000) + "b",
    ...Array.from({ length: 20 }, (_, n) => `${"a".repeat(n + 4)}c`),
  ]);
  // Each of ten million characters compared with all of 30,000 would take longer than a test may.
  expect(mask.text(`${"a".repeat(10_000_000)}`).length).toBeLessThan(40_000);
});

test("all places of all secrets are hidden, however they overlap, and nothing else", () => {
  const letters = (minLength: number, maxLength: number) =>
    fc.string({ minLength, maxLength, unit: fc.constantFrom("a", "b") });
  fc.assert(
    fc.property(fc.array(letters(4, 8), { maxLength: 6 }), letters(0, 60), (secrets, text) => {
      const hidden = Array.from(text, (_, at) =>
        secrets.some((one) => {
          for (let from = Math.max(0, at - one.length + 1); from <= at; from += 1)
            if (text.startsWith(one, from)) return true;
          return false;
        }),
      );
      const expected = Array.from(text, (letter, at) => (hidden[at] ? "*" : letter))
        .join("")
        .replaceAll(/\*+/g, "***");
      expect(createSecretMask(secrets).text(text)).toBe(expected);
    }),
    { numRuns: 2_000 },
  );
});

test("the work is linear in the text, however many secrets begin like it", () => {
  const mask = createSecretMask([Array.from({ length: 1_500 }, (_, n) => `aaaaaaaa_${n}`).join("\n")]);
  const text = "a".repeat(8_000_000);
  expect(mask.text(text)).toBe(text);
  expect(mask.text("a line: aaaaaaaa_7 aaaaaaaa_")).toBe("a line: *** aaaaaaaa_");
});

test("of whoever has too many secrets to look for nothing is shown", () => {
  const mask = createSecretMask([
    Array.from({ length: 20_000 }, (_, n) => `line ${n * 7_919} of a long secret`).join("\n"),
  ]);
  expect(mask.text("")).toBe("");
  expect(mask.text("anything")).toBe("***");
});
