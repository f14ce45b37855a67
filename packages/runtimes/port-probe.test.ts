import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { isPortFree } from "./port-probe.ts";

test("a port is free when nobody listens on it, taken while somebody does, on all addresses too, and free again after", async () => {
  for (const host of ["127.0.0.1", "0.0.0.0"]) {
    const server = createServer().listen(0, host);
    await once(server, "listening");
    // A listening TCP server's address is never a string.
    const { port } = server.address() as AddressInfo;
    expect(await isPortFree("127.0.0.1", port)).toBe(false);
    server.close();
    await once(server, "close");
    expect(await isPortFree("127.0.0.1", port)).toBe(true);
    expect(await isPortFree("127.0.0.1", port)).toBe(true);
  }
});

test("an address that is not this host's is an error, not a taken port", async () => {
  await expect(isPortFree("192.0.2.1", 8100)).rejects.toMatchObject({ code: "EADDRNOTAVAIL" });
});
