import fc from "fast-check";
import { expect, test } from "vitest";
import { isMcpPath, isOpen, parseCallPath } from "./call-path.ts";

test.each([
  ["/mcp/weather/v1/mcp", { slug: "weather", ref: "", path: "/mcp", query: "" }],
  ["/mcp/weather/v1", { slug: "weather", ref: "", path: "/", query: "" }],
  ["/mcp/weather/v1?a=/../b", { slug: "weather", ref: "", path: "/", query: "?a=/../b" }],
  ["/mcp/weather@staging/v1/a/b%20c?x=1", { slug: "weather", ref: "staging", path: "/a/b%20c", query: "?x=1" }],
  [
    "/mcp/weather@weather-k3f9/v1/.well-known/x",
    { slug: "weather", ref: "weather-k3f9", path: "/.well-known/x", query: "" },
  ],
])("%s is a call", (url, expected) => {
  expect(parseCallPath(url)).toEqual(expected);
});

test.each([
  "/mcp/Weather/v1/mcp",
  "/mcp/weather/v2/mcp",
  "/mcp/weather/v1x",
  "/mcp/weather@/v1/mcp",
  "/mcp/../weather/v1/mcp",
  "/mcp/weather/v1/..",
  "/mcp/weather/v1/../x",
  "/mcp/weather/v1/a/%2e%2E/b",
  "/mcp/weather/v1/a/.%2e",
  "/mcp/weather/v1/./x",
  "http://evil.example.com/mcp/weather/v1/mcp",
  "*",
])("%s is none", (url) => {
  expect(parseCallPath(url)).toBeNull();
});

test("of a server that opens some paths, nothing else is reached, however it is written", () => {
  const piece = fc.constantFrom(
    "/",
    "//",
    "..",
    ".",
    "%2e",
    "%2E",
    "%2f",
    "%5c",
    "\\",
    ";",
    "files",
    "filesystem",
    "admin",
    "mcp",
    "a",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const call = parseCallPath(`/mcp/weather/v1/${pieces.join("")}`);
      if (!call || !isOpen(call.path, ["/files"])) return;
      // As servers may read it: decoded, once or twice, with both slashes, without parameters.
      for (let read = call.path, times = 0; times < 3; read = decodeURIComponent(read), times += 1) {
        const { pathname } = new URL(`http://host.example${read.replaceAll("\\", "/").replace(/;[^/]*/g, "")}`);
        expect(pathname).toMatch(/^\/files(\/|$)/);
      }
    }),
    { numRuns: 3_000 },
  );
  expect(isOpen("/files/a.txt", ["/files"])).toBe(true);
  expect(isOpen("/anything", ["/"])).toBe(true);
});

test("the MCP endpoint has its path with and without a slash at the end, and no other", () => {
  const same = (path: string, mcpPath: string) => isMcpPath(path, mcpPath);
  expect([same("/mcp", "/mcp"), same("/mcp/", "/mcp"), same("/mcp", "/mcp/"), same("/", "/")]).toEqual([
    true,
    true,
    true,
    true,
  ]);
  expect([same("/mcp//", "/mcp"), same("/mcpx", "/mcp"), same("/mcp/x", "/mcp"), same("/mc", "/mcp")]).toEqual([
    false,
    false,
    false,
    false,
  ]);
});
