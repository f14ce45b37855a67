import fc from "fast-check";
import { expect, test } from "vitest";
import { POSITION_LENGTH, TOPICS, decodePosition, encodePosition, type EventPosition } from "./event-position.ts";

const positions: fc.Arbitrary<EventPosition> = fc.record(
  Object.fromEntries(TOPICS.map((topic) => [topic, fc.maxSafeNat()])),
  { requiredKeys: [] },
);

test("a position comes back from its text, which always has the same length and needs no escaping", () => {
  fc.assert(
    fc.property(positions, (position) => {
      const id = encodePosition(position);
      expect(id).toMatch(/^[\w-]+$/);
      expect(id).toHaveLength(POSITION_LENGTH);
      expect(decodePosition(id)).toEqual(position);
    }),
  );
});

test("a text with another character at one place, or of another length, is refused", () => {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  fc.assert(
    fc.property(positions, fc.nat(POSITION_LENGTH - 1), fc.constantFrom(...digits.split("")), (position, at, digit) => {
      const id = encodePosition(position);
      fc.pre(id[at] !== digit);
      for (const text of [id.slice(0, at) + digit + id.slice(at + 1), id.slice(0, at), id + digit])
        expect(() => decodePosition(text)).toThrow("is no position");
    }),
  );
});

test("any text is refused or is the one text of its position", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.base64String({ minLength: 40, maxLength: 60 })), (text) => {
      try {
        expect(encodePosition(decodePosition(text))).toBe(text);
      } catch (error) {
        expect(error).toMatchObject({ code: "BAD_USER_INPUT", extensions: { problems: [{ path: "after" }] } });
      }
    }),
  );
});
