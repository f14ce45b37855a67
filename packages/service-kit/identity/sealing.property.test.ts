import fc from "fast-check";
import { expect, test } from "vitest";
import { createSealer } from "./sealing.ts";

const OLD = "an earlier key of more than thirty-two characters";
const secretKey = "a key of more than thirty-two characters, for tests";
const sealer = createSealer({ secretKey });
const text = fc.string({ unit: "binary" });

const partsOf = (sealed: string) => {
  const [sealing, version, kid, body = ""] = sealed.split(":");
  return { head: `${sealing}:${version}:${kid}`, bytes: Buffer.from(body, "base64url") };
};
const refused = expect.objectContaining({
  code: "INTERNAL_SERVER_ERROR",
  message: expect.stringMatching(/^A sealed value /),
});

test("any text opens as it was sealed, in its own context only", () => {
  fc.assert(
    fc.property(text, text, text, (plain, context, other) => {
      const sealed = sealer.seal(plain, context);
      expect(sealer.open(sealed, context)).toBe(plain.toWellFormed());
      fc.pre(Buffer.compare(Buffer.from(context), Buffer.from(other)) !== 0);
      expect(() => sealer.open(sealed, other)).toThrow(refused);
    }),
  );
});

test("the same text is never sealed the same", () => {
  expect(sealer.seal("a", "b")).not.toBe(sealer.seal("a", "b"));
});

test("a value that was changed, wherever, does not open", () => {
  fc.assert(
    fc.property(text, fc.nat(), fc.integer({ min: 1, max: 255 }), (plain, at, change) => {
      const { head, bytes } = partsOf(sealer.seal(plain, "c"));
      bytes[at % bytes.length]! ^= change;
      expect(() => sealer.open(`${head}:${bytes.toString("base64url")}`, "c")).toThrow(refused);
    }),
  );
});

test("a value that was cut does not open, nor with as little of its tag as GCM would take", () => {
  const { head, bytes } = partsOf(sealer.seal("", "c"));
  for (let length = 0; length < bytes.length; length += 1)
    expect(() => sealer.open(`${head}:${bytes.subarray(0, length).toString("base64url")}`, "c")).toThrow(refused);
});

test("what is not sealed, or with another key, is told with the variable to set", () => {
  for (const sealed of ["", "plain", createSealer({ secretKey: OLD }).seal("a", "c")])
    expect(() => sealer.open(sealed, "c")).toThrow(/SECRET_KEY_PREVIOUS/);
});

test("after a rotation earlier values open, and new ones do so without the earlier key", () => {
  const rotated = createSealer({ secretKey, previousSecretKeys: [OLD] });
  expect(rotated.open(createSealer({ secretKey: OLD }).seal("a", "c"), "c")).toBe("a");
  expect(sealer.open(rotated.seal("a", "c"), "c")).toBe("a");
});
