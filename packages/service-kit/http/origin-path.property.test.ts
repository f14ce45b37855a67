import fc from "fast-check";
import { expect, test } from "vitest";
import { staysAtOrigin, urlAt } from "./origin-path.ts";

const segment = fc.oneof(
  fc.constantFrom(
    "/",
    "//",
    "\\",
    "/\\",
    "@",
    ":",
    "\t",
    "\n",
    "\r",
    "..",
    ".",
    "%2f",
    "%5c",
    "?",
    "#",
    " ",
    "\u0000",
    "http:",
    "user:pass@",
  ),
  fc.constantFrom("evil.example", "127.0.0.1:9", "[::1]", "mcp", "health"),
  fc.string({ maxLength: 6, unit: "binary" }),
);
const path = fc.array(segment, { maxLength: 8 }).map((parts) => `/${parts.join("")}`);
const origin = fc.constantFrom("http://127.0.0.1:3001", "https://api.example.com", "http://[::1]:8080");

test("a path never leads away from its origin", () => {
  fc.assert(
    fc.property(origin, path, (at, below) => {
      const url = urlAt(at, below);
      expect(url.origin).toBe(at);
      expect(url.username + url.password).toBe("");
      // Written and read again, as HTTP clients do.
      expect(new URL(url.href).origin).toBe(at);
    }),
    { numRuns: 2_000 },
  );
});

test("a path that may be given leads where it says, resolved or appended", () => {
  fc.assert(
    fc.property(origin, path, (at, below) => {
      if (!staysAtOrigin(below)) return;
      expect(new URL(below, at).origin).toBe(at);
      expect(new URL(below, at).pathname).toBe(urlAt(at, below).pathname);
    }),
    { numRuns: 2_000 },
  );
});

test.each(["/\\evil:1/x", "//evil/x", "/\t/evil/x", "/\n/evil", "/.//evil", "/..//evil"])(
  "%j may not be a path",
  (below) => {
    expect(staysAtOrigin(below)).toBe(false);
  },
);
test.each(["/", "/@host", "/health?x=//y", "/a//b", "/a/../b"])("%j may be a path", (below) => {
  expect(staysAtOrigin(below)).toBe(true);
});
