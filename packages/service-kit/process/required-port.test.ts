import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server } from "node:net";
// oxlint-disable-next-line no-restricted-imports -- the program's own waits are watched
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, expect, test, vi } from "vitest";
import { systemCodeOf } from "../errors/errors.ts";
import { requirePort } from "./required-port.ts";

vi.mock("node:timers/promises", { spy: true });

const servers: Server[] = [];
afterEach(() => {
  vi.resetAllMocks();
  for (const server of servers.splice(0)) server.close();
});

async function taken(): Promise<{ server: Server; port: number }> {
  const server = createServer();
  servers.push(server);
  await once(server.listen(0, "127.0.0.1"), "listening");
  // A TCP server's address is never a pipe's string.
  return { server, port: (server.address() as AddressInfo).port };
}

test("a free port is left free", async () => {
  const { server, port } = await taken();
  await new Promise((resolve) => server.close(resolve));
  await requirePort("PORT", "127.0.0.1", port);
  await requirePort("PORT", "127.0.0.1", port);
  expect(delay).not.toHaveBeenCalled();
});

test("who connects while it is looked at is refused, and not reset", async () => {
  const { server, port } = await taken();
  await new Promise((resolve) => server.close(resolve));
  const outcomes = new Set<string>();
  let isOver = false;
  const clients = Array.from({ length: 4 }, async () => {
    while (!isOver) {
      const socket = connect(port, "127.0.0.1");
      outcomes.add(
        await once(socket, "connect")
          .then(() => "connected", systemCodeOf)
          .then(String),
      );
      socket.destroy();
    }
  });
  for (let n = 0; n < 100; n++) await requirePort("PORT", "127.0.0.1", port).catch(() => undefined);
  isOver = true;
  await Promise.all(clients);
  expect([...outcomes]).toEqual(["ECONNREFUSED"]);
});

test("a port in use is waited for, for a moment", async () => {
  const { server, port } = await taken();
  vi.mocked(delay).mockImplementationOnce(async (_ms, value) => {
    await new Promise((resolve) => server.close(resolve));
    return value as never;
  });
  await requirePort("PORT", "127.0.0.1", port);
  expect(delay).toHaveBeenCalledTimes(1);
});

test("a port that stays in use is refused with its variable, and another port to choose", async () => {
  const { port } = await taken();
  const first = await namedInstead(port, []);
  // One that is taken meanwhile, or is the installation's own, is not named.
  const other = createServer();
  servers.push(other);
  await new Promise((done) => other.once("listening", done).once("error", done).listen(first, "127.0.0.1"));
  const second = await namedInstead(port, []);
  expect([port, first]).not.toContain(second);
  expect([port, first, second]).not.toContain(await namedInstead(port, [second]));
  expect(vi.mocked(delay).mock.calls.length).toBeGreaterThan(1);
});

/** The port that the refusal names. */
async function namedInstead(port: number, others: number[]): Promise<number> {
  const refusal = await requirePort("PROXY_PORT", "127.0.0.1", port, others).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ code: "CONFLICT" });
  const [, named] =
    /^PROXY_PORT: port (?:\d+) is in use\. Stop what listens there, or choose another, as in PROXY_PORT=(\d+)\.$/.exec(
      (refusal as Error).message,
    ) ?? [];
  return Number(named);
}

test.each([
  [
    "an address of another machine",
    "192.0.2.1",
    "HOST: this machine has no address 192.0.2.1 to listen on. Choose another.",
  ],
])("%s is refused at once, with the variable HOST", async (_what, host, message) => {
  await expect(requirePort("PORT", host, 0)).rejects.toMatchObject({ code: "CONFLICT", message });
  expect(delay).not.toHaveBeenCalled();
});
