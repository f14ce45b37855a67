import { expect, test } from "vitest";
import { createEgressList, problemOfEgress } from "./egress-list.ts";

test.each([
  [
    "api.example.com",
    ["api.example.com:443", "API.example.com.:80"],
    ["api.example.com:8080", "example.com:443", "x.api.example.com:443"],
  ],
  ["api.example.com:8443", ["api.example.com:8443"], ["api.example.com:443"]],
  [
    "*.example.com",
    ["a.example.com:443", "a.b.example.com:80"],
    ["example.com:443", "notexample.com:443", "a.example.com.evil.test:443"],
  ],
  ["10.1.2.3:5432", ["10.1.2.3:5432"], ["10.1.2.4:5432", "10.1.2.3:80", "db.internal:5432"]],
  ["10.0.0.0/8", ["10.200.1.1:443"], ["11.0.0.1:443", "::ffff:10.1.1.1:443"]],
  ["[2001:db8::1]:443", ["2001:db8:0::1:443"], ["2001:db8::2:443"]],
  ["[fd00::/16]", ["fd00:1::2:80"], ["fd01::1:80"]],
])("%s allows what it names and no more", (entry, allowed, refused) => {
  expect(problemOfEgress(entry)).toBeNull();
  const { allows } = createEgressList([entry]);
  const asked = (text: string) =>
    allows(text.slice(0, text.lastIndexOf(":")), Number(text.slice(text.lastIndexOf(":") + 1)));
  expect(allowed.filter((each) => !asked(each))).toEqual([]);
  expect(refused.filter(asked)).toEqual([]);
});

test.each([
  "",
  "*",
  "*.",
  "https://example.com",
  "example.com/path",
  "exam ple.com",
  "a.*.example.com",
  "example.com:0",
  "example.com:70000",
  "example.com.",
  "127.1",
  "0x7f.0.0.1",
  "2130706433",
  "localhost",
  "a.localhost:80",
  "127.0.0.1",
  "0.0.0.0/8",
  "0.0.0.0/0",
  "10.0.0.0/33",
  "[::1]",
  "[::]/0",
  "[::ffff:10.0.0.1]",
  "[::/16]",
  "2001:db8::1",
])("%j is no entry", (entry) => {
  expect(problemOfEgress(entry)).not.toBeNull();
});

test("an address is in the list by its own entry or its network, never by a name", () => {
  const { hasAddress } = createEgressList(["db.internal:5432", "192.168.0.0/16:5432"]);
  expect(hasAddress("192.168.3.4", 5_432)).toBe(true);
  expect(hasAddress("192.168.3.4", 80)).toBe(false);
  expect(hasAddress("10.0.0.1", 5_432)).toBe(false);
});

test("an empty list has nothing", () => {
  const { allows, hasAddress } = createEgressList([]);
  expect([allows("api.example.com", 443), allows("10.0.0.1", 80), hasAddress("10.0.0.1", 80)]).toEqual([
    false,
    false,
    false,
  ]);
});
