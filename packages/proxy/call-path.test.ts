import { expect, test } from "vitest";
import { parseCallPath } from "./call-path.ts";

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
