import type { lookup } from "node:dns";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Agent, request } from "undici";
import { describe, expect, test } from "vitest";
import { isPrivateAddress } from "./private-addresses.ts";
import { namesPrivateAddress, publicConnector } from "./remote-addresses.ts";

test.each([
  [
    "0.0.0.1",
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
  ],
  [
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
  ],
  ["168.63.129.16", "100.100.100.200", "192.0.0.192"],
  ["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"],
  [
    "::1",
    "::",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:a00:1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
  ],
  [
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
  ],
  [
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "4000::1",
    "8000::1",
  ],
  ["", "localhost", "1.1.1.1 ", "1.1.1.1/8", "2130706433"],
])("%s and its kin are private", (...addresses) => {
  expect(addresses.filter((address) => !isPrivateAddress(address))).toEqual([]);
});

test.each([
  "1.1.1.1",
  "100.128.0.1",
  "172.32.0.1",
  "192.0.1.1",
  "198.20.0.1",
  "223.255.255.255",
  "2606:4700:4700::1111",
  "2a00::1",
  "::ffff:1.1.1.1",
])("%s is public", (address) => {
  expect(isPrivateAddress(address)).toBe(false);
});

test.each([
  "http://localhost/x",
  "http://localhost./",
  "http://[::1]:80/",
  "http://2130706433/",
  "http://0x7f.1/",
  "http://a.localhost/",
])("%s names a private address", (url) => {
  expect(namesPrivateAddress(new URL(url))).toBe(true);
});

describe("a connection to public addresses only", () => {
  async function connectTo(url: string, addresses: { address: string; family: number }[]): Promise<string> {
    let asked = 0;
    const server = createServer((_request, response) => {
      asked += 1;
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // What a name server that the attacker runs answers.
    const resolve = ((_name: string, _options: unknown, done: (error: null, found: unknown) => void) =>
      done(null, addresses)) as unknown as typeof lookup;
    const agent = new Agent({ connect: publicConnector({ resolve }) });
    try {
      // It listens on a host and port.
      await request(url.replace("PORT", String((server.address() as AddressInfo).port)), { dispatcher: agent });
      return "connected";
    } catch (error) {
      expect(asked).toBe(0);
      return String(error);
    } finally {
      await agent.destroy();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }
  const loopback = { address: "127.0.0.1", family: 4 };

  test("is not made to a name that leads to a private one", async () => {
    const answer = await connectTo("http://rebound.example:PORT/", [loopback]);
    expect(answer).toContain("rebound.example leads to the private address 127.0.0.1");
  });

  test("is not made when one of several addresses is private", async () => {
    const answer = await connectTo("http://rebound.example:PORT/", [{ address: "1.1.1.1", family: 4 }, loopback]);
    expect(answer).toContain("leads to the private address 127.0.0.1");
  });

  test.each(["http://127.0.0.1:PORT/", "http://[::ffff:127.0.0.1]:PORT/", "http://0x7f000001:PORT/"])(
    "is not made to %s, for which no name is resolved",
    async (url) => {
      expect(await connectTo(url, [])).toContain("is a private address");
    },
  );
});
