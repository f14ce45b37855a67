import fc from "fast-check";
import { expect, test } from "vitest";
import { createPathFilter } from "./path-filter.ts";

test.each([
  ["README.md", "README.md", true],
  ["README.md", "docs/README.md", false],
  ["docs/*.md", "docs/a.md", true],
  ["docs/*.md", "docs/a/b.md", false],
  ["docs/**", "docs/a/b.md", true],
  ["docs", "docs/a.md", false],
  ["**/*.md", "a.md", true],
  ["**/*.md", "x/y/a.md", true],
  ["a/**/z/*.md", "a/b/c/z/q.md", true],
  ["?.md", "ab.md", false],
  ["*a*b", "xxaxxb", true],
  ["*.md", "md", false],
])("%s and %s: %s", (pattern, path, fits) => {
  expect(createPathFilter([pattern]).matches(path)).toBe(fits);
});

const segment = fc.constantFrom("a", "b", "ab", "abc");
const pattern = fc.array(fc.oneof(segment, fc.constantFrom("*", "**", "a*", "?b")), { minLength: 1, maxLength: 5 });

test("every folder of a file that a pattern means may hold it", () => {
  fc.assert(
    fc.property(pattern, fc.array(segment, { minLength: 1, maxLength: 6 }), (parts, path) => {
      const filter = createPathFilter([parts.join("/")]);
      fc.pre(filter.matches(path.join("/")));
      for (let length = 0; length < path.length; length++)
        expect(filter.mayHold(path.slice(0, length).join("/"))).toBe(true);
    }),
  );
});

test("patterns mean what the regular expressions of the same words do", () => {
  fc.assert(
    fc.property(pattern, fc.array(segment, { minLength: 1, maxLength: 6 }), (parts, path) => {
      const source = parts.map((part) =>
        part === "**" ? "(?:[^/]+/)*" : `${part.replaceAll("*", "[^/]*").replaceAll("?", "[^/]")}/`,
      );
      expect(createPathFilter([parts.join("/")]).matches(path.join("/"))).toBe(
        new RegExp(`^${source.join("")}$`).test(`${path.join("/")}/`),
      );
    }),
  );
});
