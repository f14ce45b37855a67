import { describe, expect, test } from "vitest";
import { createHostPolicy } from "./hosts.ts";

const policy = createHostPolicy({
  listenHost: "127.0.0.1",
  origins: ["https://app.example.com"],
  hosts: ["toolyard.internal"],
});

describe("the host policy", () => {
  test.each([
    undefined,
    "localhost:4000",
    "127.0.0.1",
    "[::1]:4000",
    "app.localhost",
    "app.example.com",
    "toolyard.internal:80",
  ])("serves %s", (host) => {
    expect(policy.allowsHost(host)).toBe(true);
  });
  test.each(["", "evil.example.com", "localhost.evil.com", "127.0.0.1.evil.com", "10.0.0.1"])(
    "does not serve %s",
    (host) => {
      expect(policy.allowsHost(host)).toBe(false);
    },
  );
  test.each([undefined, "http://localhost:5173", "https://app.example.com", "http://127.0.0.1"])(
    "answers pages of %s",
    (origin) => {
      expect(policy.allowsOrigin(origin)).toBe(true);
    },
  );
  test.each([
    "null",
    "https://evil.example.com",
    "https://app.example.com.evil.com",
    "http://app.example.com",
    "file://localhost",
  ])("refuses pages of %s", (origin) => {
    expect(policy.allowsOrigin(origin)).toBe(false);
  });
  test("listening everywhere, addresses are served and unknown names are not", () => {
    const everywhere = createHostPolicy({ listenHost: "0.0.0.0", origins: [], hosts: [] });
    expect(everywhere.allowsHost("10.1.2.3:4000")).toBe(true);
    expect(everywhere.allowsHost("rebound.example.com")).toBe(false);
  });
});
