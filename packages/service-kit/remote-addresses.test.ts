import { expect, test } from "vitest";
import { isPrivateAddress, namesPrivateAddress } from "./remote-addresses.ts";

test.each([
  "127.0.0.1",
  "10.1.2.3",
  "172.16.0.1",
  "192.168.1.1",
  "169.254.169.254",
  "100.64.0.1",
  "0.0.0.0",
  "::1",
  "::",
  "fe80::1",
  "fd00::1",
  "::ffff:127.0.0.1",
  "::ffff:a00:1",
  "64:ff9b::7f00:1",
  "2002:7f00:1::",
])("%s is private", (address) => {
  expect(isPrivateAddress(address)).toBe(true);
});

test.each(["1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])("%s is public", (address) => {
  expect(isPrivateAddress(address)).toBe(false);
});

test.each(["http://localhost/x", "http://[::1]:80/", "http://2130706433/", "http://0x7f.1/", "http://a.localhost/"])(
  "%s names a private address",
  (url) => {
    expect(namesPrivateAddress(new URL(url))).toBe(true);
  },
);
