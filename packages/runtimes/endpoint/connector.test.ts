import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo, ListenOptions } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { proofOf, PROOF_PATH } from "@toolyard/bridge/proof.ts";
import { Pool } from "undici";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createProcessTable } from "../process/process-table.ts";
import { connectorTo, ImpostorError, originOf, type Callee } from "./connector.ts";
import { processOwner } from "./listener.ts";
import { withShortPath } from "@toolyard/service-kit/process/presence.mjs";
import { socketPathOf, unixUrl } from "./socket-path.ts";

const servers: Server[] = [];
const children: ChildProcess[] = [];
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "toolyard-endpoint-"));
});
afterEach(async () => {
  for (const { pid } of children.splice(0)) if (pid !== undefined) process.kill(-pid, "SIGKILL");
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  rmSync(folder, { recursive: true, force: true });
});

/** A server of this process, with what it was asked, which says that it holds `token`. */
async function serve(token: string, where: ListenOptions): Promise<{ server: Server; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? "");
    const url = new URL(request.url ?? "", "http://localhost");
    const body = url.pathname === PROOF_PATH ? proofOf(token, url.searchParams.get("nonce") ?? "") : "hello";
    response.setHeader("content-length", body.length).end(body);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(where, resolve));
  return { server, asked };
}
const portOf = (server: Server): number => (server.address() as AddressInfo).port; // it listens on a port

async function get(callee: Callee): Promise<string> {
  const pool = new Pool(originOf(callee), { connect: connectorTo(callee, { timeoutMs: 2_000 }) });
  try {
    return await (await pool.request({ path: "/call", method: "GET" })).body.text();
  } finally {
    await pool.destroy();
  }
}

describe("a bridge on a socket", () => {
  test("is called once it has proved that it knows the token, once for each connection", async () => {
    const path = join(folder, "bridge.sock");
    const { asked } = await serve("right", { path });
    const callee = { url: unixUrl(path), token: "right", owner: null };
    const pool = new Pool(originOf(callee), { connect: connectorTo(callee), connections: 1 });
    for (let calls = 0; calls < 3; calls += 1)
      expect(await (await pool.request({ path: "/call", method: "GET" })).body.text()).toBe("hello");
    await pool.destroy();
    expect(asked.map((url) => url.split("?")[0])).toEqual([PROOF_PATH, "/call", "/call", "/call"]);
  });

  test.each([
    ["holds another token", "wrong"],
    ["holds none", ""],
  ])("that %s is sent nothing but the challenge", async (_what, token) => {
    const path = join(folder, "bridge.sock");
    const { asked } = await serve(token, { path });
    await expect(get({ url: unixUrl(path), token: "right", owner: null })).rejects.toThrow(ImpostorError);
    expect(asked.map((url) => url.split("?")[0])).toEqual([PROOF_PATH]);
  });

  test.each([
    ["says nothing", ""],
    ["says no HTTP", "220 smtp\r\n".repeat(1_000)],
    ["says that the proof is endless", "HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"],
    ["sends more than the proof", `HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n${"A".repeat(60)}`],
    ["hides it in chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
  ])("that %s is not waited for without end", async (_what, answer) => {
    const path = join(folder, "bridge.sock");
    const { server } = await serve("", { path });
    server.removeAllListeners("connection").on("connection", (socket) => {
      socket
        .on("error", () => undefined)
        .on("end", () => socket.destroy())
        .resume();
      socket.write(answer);
    });
    await expect(get({ url: unixUrl(path), token: "right", owner: null })).rejects.toThrow(
      /does not prove|not prove in time/,
    );
  });

  test("answers in a folder as deep as it likes, by a name of any letters", async () => {
    const deep = join(folder, "höhle %41?#".repeat(20), "b".repeat(100));
    mkdirSync(deep, { recursive: true });
    const path = join(deep, "bridge.sock");
    const server = createServer((_request, response) => response.end("hello"));
    servers.push(server);
    await new Promise<void>((resolve) => withShortPath(path, (short) => void server.listen({ path: short }, resolve)));
    expect(socketPathOf(unixUrl(path))).toBe(path);
    expect(await get({ url: unixUrl(path), token: "", owner: null })).toBe("hello");
  });

  test("takes a burst of connections that its queue is too short for", async () => {
    const path = join(folder, "bridge.sock");
    await serve("right", { path, backlog: 4 });
    const callee = { url: unixUrl(path), token: "right", owner: null };
    const pool = new Pool(originOf(callee), { connect: connectorTo(callee, { timeoutMs: 20_000 }) });
    const answers = await Promise.all(
      Array.from({ length: 200 }, async () => (await pool.request({ path: "/call", method: "GET" })).statusCode),
    );
    await pool.destroy();
    expect(new Set(answers)).toEqual(new Set([200]));
  });

  test("that is gone is refused at once", async () => {
    await expect(get({ url: unixUrl(join(folder, "none.sock")), token: "right", owner: null })).rejects.toMatchObject({
      code: "ENOENT",
    });
  });
});

const table = createProcessTable();
/** The process as a replica's main one. */
function ownerOf(pid: number | undefined): string {
  const entry = table.find([pid ?? 0]).get(pid ?? 0);
  if (!entry) throw new Error("It has ended.");
  return processOwner(entry);
}

/** A process, in a session of its own as replicas are, that does this and prints a line. */
async function run(script: string): Promise<{ child: ChildProcess; line: string }> {
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"], detached: true });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout ?? process.stdin })) return { child, line };
  throw new Error("It printed nothing.");
}
const LISTENS = `require("node:http").createServer((_, response) => response.end("mine")).listen`;
const SAYS_PORT = `function () { console.log(this.address().port); }`;

describe.skipIf(process.platform !== "linux")("a server that binds its port by itself", () => {
  test("is called, be it bound by its main process or by one further down", async () => {
    const main = await run(`${LISTENS}(0, "127.0.0.1", ${SAYS_PORT})`);
    const child = await run(
      `require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(`${LISTENS}(0, ${SAYS_PORT})`)}], { stdio: "inherit" })`,
    );
    for (const { child: replica, line } of [main, child])
      expect(await get({ url: `http://127.0.0.1:${line}`, token: "", owner: ownerOf(replica.pid) })).toBe("mine");
  });

  test("whose port somebody else has is sent no byte", async () => {
    const { asked, server } = await serve("", { port: 0, host: "127.0.0.1" });
    let bytes = 0;
    server.on("connection", (socket) => socket.on("data", (chunk) => (bytes += chunk.length)));
    const { child } = await run(`console.log("started"); setInterval(() => undefined, 1000)`);
    const callee = { url: `http://127.0.0.1:${portOf(server)}`, token: "", owner: ownerOf(child.pid) };
    await expect(get(callee)).rejects.toThrow("Another process of this host listens at the replica's address.");
    expect([bytes, asked]).toEqual([0, []]);
  });

  test("that shares its port is called only while all who share it are its own", async () => {
    const { child, line } = await run(`${LISTENS}({ port: 0, host: "127.0.0.1", reusePort: true }, ${SAYS_PORT})`);
    const callee = { url: `http://127.0.0.1:${line}`, token: "", owner: ownerOf(child.pid) };
    expect(await get(callee)).toBe("mine");
    const { server, asked } = await serve("", { port: Number(line), host: "127.0.0.1", reusePort: true });
    for (let calls = 0; calls < 5; calls += 1) await expect(get(callee)).rejects.toThrow(ImpostorError);
    expect(asked).toEqual([]);
    await new Promise((resolve) => server.close(resolve));
    servers.pop();
    expect(await get(callee)).toBe("mine");
  });

  test("that has ended is not taken for another process of its pid", async () => {
    const { child, line } = await run(`${LISTENS}(0, "127.0.0.1", ${SAYS_PORT})`);
    const owner = `${ownerOf(child.pid)}1`;
    await expect(get({ url: `http://127.0.0.1:${line}`, token: "", owner })).rejects.toThrow(ImpostorError);
  });

  test("on another host, or in another network, cannot be judged and is called", async () => {
    const { server } = await serve("", { port: 0, host: "127.0.0.1" });
    const callee = {
      url: `http://127.0.0.1:${portOf(server)}`,
      token: "",
      owner: "pid:[1] net:[2] other-boot/1/other-boot:5",
    };
    expect(await get(callee)).toBe("hello");
  });
});
