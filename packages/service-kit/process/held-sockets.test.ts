import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, expect, test } from "vitest";
import { holdSockets, refuseConnections } from "./held-sockets.ts";
import { inheritSocket, inheritsSocket, whereToListen } from "./listening-socket.ts";

const HOST = "127.0.0.1";
const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill("SIGKILL");
});

function start(name: string, socket: number | "ignore"): ChildProcess {
  const child = spawn(process.execPath, [join(import.meta.dirname, "fixtures", "listens-on-its-socket.mjs"), name], {
    env: inheritsSocket,
    stdio: ["ignore", "ignore", "pipe", ...(socket === "ignore" ? [] : [socket])],
  });
  started.push(child);
  return child;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

const answerAt = (port: number) => text(connect(port, HOST));

test("a connection made while nobody serves waits for the next process, and nobody else has the port", async () => {
  const ports = [await freePort(), await freePort()];
  const sockets = await holdSockets(ports.map((port) => ({ host: HOST, port })));
  const [port = 0] = ports;
  const [socket = 0] = sockets;
  const first = start("first", socket);
  expect(await answerAt(port)).toBe("first");
  first.kill("SIGKILL");
  await once(first, "exit");
  const waiting = connect(port, HOST);
  await once(waiting, "connect");
  const [refusal] = await once(
    createServer()
      .on("listening", () => expect.fail())
      .listen(port, HOST),
    "error",
  );
  expect(refusal).toMatchObject({ code: "EADDRINUSE" });
  start("second", socket);
  expect(await text(waiting)).toBe("second");
  expect(await answerAt(port)).toBe("second");
});

test("a port that somebody has is refused", async () => {
  const other = createServer().listen(0, HOST);
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  await expect(holdSockets([{ host: HOST, port }])).rejects.toMatchObject({
    code: "CONFLICT",
    message: expect.stringContaining(String(port)),
  });
  other.close();
});

test("connections are refused as long as that is wanted, and taken by the next process", async () => {
  const port = await freePort();
  const [socket = 0] = await holdSockets([{ host: HOST, port }]);
  const accept = refuseConnections(socket);
  for (const connection of [connect(port, HOST), connect(port, HOST)])
    await expect(text(connection)).rejects.toMatchObject({ code: "ECONNRESET" });
  accept();
  start("served", socket);
  await expect.poll(() => answerAt(port).catch(() => "")).toBe("served");
});

test("a socket of systemd's is for the process that it names, and there is one", async () => {
  const address = { host: HOST, port: 4001 };
  const whereBy = (env: Record<string, string>) => {
    inheritSocket(env);
    return whereToListen(address);
  };
  const child = start("", "ignore");
  const ended = once(child, "exit");
  expect(await text(child.stderr ?? expect.fail())).toContain("LISTEN_FDS: descriptor 3 is no socket.");
  await ended;
  expect(whereBy({ LISTEN_FDS: "1", LISTEN_PID: "1" })).toEqual(address);
  expect(whereBy({ LISTEN_FDS: "0" })).toEqual(address);
  expect(() => whereBy({ LISTEN_FDS: "2" })).toThrow(/^LISTEN_FDS: /);
  expect(whereBy({})).toEqual(address);
});
