import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { addressBlock, createHostPolicy } from "./hosts.ts";

const policy = createHostPolicy({
  listenHost: "127.0.0.1",
  origins: ["https://app.example.com"],
  hosts: ["toolyard.internal"],
});

test("an IPv6 address in a public URL is served by it", () => {
  const { allowsHost } = createHostPolicy({
    listenHost: "127.0.0.1",
    origins: ["https://[2001:db8::1]"],
    hosts: ["[2001:DB8::2]"],
  });
  for (const host of ["[2001:db8::1]", "[2001:db8::2]:8443"]) expect(allowsHost(host)).toBe(true);
  expect(allowsHost("[2001:db8::3]")).toBe(false);
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

test("what is counted for a client is counted for its network: an IPv4 address, a /64 of IPv6, however it is written", () => {
  const same = ["2001:db8:0:1::1", "2001:0DB8:0000:0001:ffff:0:0:1", "2001:db8::1:2:3:4:5", "2001:db8:0:1::1%eth0"];
  expect(new Set(same.map(addressBlock))).toEqual(new Set(["2001:db8:0:1::/64"]));
  expect(addressBlock("::1")).toBe("0:0:0:0::/64");
  expect(addressBlock("2001:db8::")).toBe("2001:db8:0:0::/64");
  expect(addressBlock("::ffff:192.0.2.1")).toBe("192.0.2.1");
  expect(addressBlock("192.0.2.1")).toBe("192.0.2.1");
  fc.assert(
    fc.property(fc.ipV6(), (address) => {
      expect(addressBlock(address)).toMatch(/^([\da-f]{1,4}:){4}:\/64$|^\d+\.\d+\.\d+\.\d+$/);
    }),
  );
  // What is no address, such as what a proxy says of an unknown client, is bounded.
  expect(addressBlock("unknown".repeat(1_000)).length).toBeLessThan(100);
});
