import { expect, test } from "vitest";
import { parseProxyConfig } from "./config.ts";

const credential = { PROXY_CREDENTIAL: "a.b.c" };

test("by its public URL's name the proxy may be addressed, without saying so again", () => {
  const config = parseProxyConfig({
    ...credential,
    PROXY_URL: "https://tools.example.com/",
    ALLOWED_HOSTS: "other.example.com",
  });
  expect(config.allowedHosts).toEqual(["other.example.com", "tools.example.com"]);
  expect(parseProxyConfig(credential).allowedHosts).toEqual([]);
});

test("PUBLIC_URL says it for the proxy, too, and PROXY_URL goes before it", () => {
  const config = parseProxyConfig({ ...credential, PUBLIC_URL: "https://example.com/toolyard/" });
  expect(config).toMatchObject({
    publicUrl: "https://example.com/toolyard",
    allowedHosts: ["example.com"],
    corsOrigins: ["https://example.com"],
  });
  const apart = { PUBLIC_URL: "https://example.com/toolyard", PROXY_URL: "https://tools.example.com" };
  expect(parseProxyConfig({ ...credential, ...apart })).toMatchObject({
    publicUrl: "https://tools.example.com",
    allowedHosts: ["tools.example.com"],
    corsOrigins: ["https://example.com"],
  });
});

test("RATE_LIMIT_ENABLED=false turns the limits of calls off", () => {
  const config = parseProxyConfig({ ...credential, RATE_LIMIT_ENABLED: "false" });
  expect(config).toMatchObject({ callerCallsPerMinute: 0, toolCallsPerMinute: 0 });
  expect(parseProxyConfig(credential).callerCallsPerMinute).toBeGreaterThan(0);
});
