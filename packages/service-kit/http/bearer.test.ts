import { expect, test } from "vitest";
import { bearerOf } from "./bearer.ts";

test.each([
  ["Bearer abc", "abc"],
  ["bearer abc", "abc"],
  ["BEARER   abc  ", "abc"],
  [" Bearer a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="],
])("%j carries %j", (header, credential) => expect(bearerOf(header)).toBe(credential));

test.each([undefined, "", " \t"])("%j carries none", (header) => expect(bearerOf(header)).toBeNull());

test.each(["Bearer", "Bearer ", "Bearer a b", "Basic abc", "abc", "Bearerabc", "x Bearer abc"])(
  "%j is refused",
  (header) => expect(() => bearerOf(header)).toThrow(expect.objectContaining({ code: "UNAUTHENTICATED" })),
);
