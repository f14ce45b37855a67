import { expect, test } from "vitest";
import { readTarget } from "./request-target.ts";

test.each([
  ["/a?b", "", { host: null, url: "/a?b" }],
  ["/yard/a?b", "/yard", { host: null, url: "/a?b" }],
  ["http://example.com:80/yard/a?b", "/yard", { host: "example.com:80", url: "/a?b" }],
  ["HTTPS://user@Example.com", "", { host: "user@Example.com", url: "/" }],
  ["http://example.com?b=http://c/", "", { host: "example.com", url: "/?b=http://c/" }],
  // As it was written: whoever is asked next resolves it or refuses it.
  ["http://example.com/mcp/../a%2f", "", { host: "example.com", url: "/mcp/../a%2f" }],
  ["http://example.com:99999/a", "", { host: null, url: "http://example.com:99999/a" }],
  ["http:///a", "", { host: null, url: "http:///a" }],
  ["ftp://example.com/", "", { host: null, url: "ftp://example.com/" }],
  ["*", "", { host: null, url: "*" }],
])("%s with the prefix %j", (target, prefix, expected) => {
  expect(readTarget(target, prefix)).toEqual(expected);
});
