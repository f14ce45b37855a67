import { fork, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, freePort } from "@toolyard/testing";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startControlPlane, type FakeControlPlane } from "./fixtures/control-plane.ts";
import { routeTo } from "./fixtures/proxy.ts";
import { startUpstream, type Upstream } from "./fixtures/upstream.ts";

const entry = join(import.meta.dirname, "main.ts");
let controlPlane: FakeControlPlane;
let replica: Upstream;
let token: string;
let dataDir: string;
const open: (() => void)[] = [];
const children: ChildProcess[] = [];

beforeAll(async () => {
  controlPlane = await startControlPlane();
  replica = await startUpstream((request, response) => {
    if (request.headers.accept === "text/event-stream") {
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    } else if (request.url === "/slow") open.push(() => response.end("slow"));
    else response.end("ok");
  });
  controlPlane.setRoutes([routeTo("echo", [replica.url])]);
  token = await controlPlane.accessToken("ada");
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-proxy-main-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});
afterAll(async () => {
  await replica.kill();
  await controlPlane[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true, force: true });
});

const environment = (port: number) => ({
  PATH: process.env.PATH,
  PROXY_PORT: String(port),
  GATEWAY_URL: controlPlane.url,
  PROXY_CREDENTIAL: controlPlane.credential,
  DATA_DIR: dataDir,
});

async function start({ expected = '"listening"' } = {}): Promise<{
  url: string;
  child: ChildProcess;
  ended: Promise<number | null>;
  output: () => string;
}> {
  const port = await freePort();
  const child = fork(entry, { env: environment(port), stdio: ["ignore", "pipe", "pipe", "ipc"], execArgv: [] });
  children.push(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const ended = once(child, "exit").then(([code]) => (typeof code === "number" ? code : null));
  await eventually(expected, () => output.includes(expected));
  return { url: `http://127.0.0.1:${port}/mcp/echo/v1`, child, ended, output: () => output };
}
const headers = () => ({ authorization: `Bearer ${token}` });

test("SIGTERM: running calls finish, streams that stand open are ended, new connections are not taken, usage is delivered", async () => {
  const { url, child, ended, output } = await start();
  const stream = await fetch(`${url}/mcp`, { headers: { ...headers(), accept: "text/event-stream" } });
  const slow = fetch(`${url}/slow`, { headers: headers() });
  await eventually("the call", () => open.length === 1);
  child.kill("SIGTERM");
  await eventually("refusal", async () => {
    const refused = await fetch(url, { headers: { ...headers(), connection: "close" } }).then(
      () => false,
      () => true,
    );
    return refused;
  });
  open.pop()?.();
  const answer = await slow;
  expect(await answer.text()).toBe("slow");
  expect(await stream.text()).toBe("");
  expect(await ended).toBe(0);
  const paths = controlPlane.records().map(({ endpoint, statusCode }) => `${endpoint} ${statusCode}`);
  expect(paths).toEqual(expect.arrayContaining(["/mcp/{slug}/v1/{path} 200", "/mcp/{slug}/v1/mcp 200"]));
  expect(output().match(/"listening"/g)?.length).toBe(1);
  for (const line of output().trim().split("\n")) expect(() => JSON.parse(line)).not.toThrow();
  expect(output()).not.toContain(token);
  expect(output()).not.toContain(controlPlane.credential);
});

test("it ends when its parent is gone, also when the parent was killed", async () => {
  const port = await freePort();
  const parent = spawn(
    process.execPath,
    [
      "-e",
      `require("node:child_process").fork(${JSON.stringify(entry)}, { execArgv: [] }).on("spawn", function () { console.log(this.pid); });`,
    ],
    { env: environment(port), stdio: ["ignore", "pipe", "ignore"] },
  );
  children.push(parent);
  let output = "";
  parent.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  await eventually("listening", () => output.includes('"listening"'));
  const pid = Number(/^\d+$/m.exec(output)?.[0]);
  expect(() => process.kill(pid, 0)).not.toThrow();
  parent.kill("SIGKILL");
  await eventually("its end", () => {
    try {
      process.kill(pid, 0);
      return false;
    } catch {
      return true; // no such process
    }
  });
});

test("kill -9: calls that were answered are still counted after the next start", async () => {
  const before = controlPlane.records().length;
  controlPlane.refuseUsage("INTERNAL_SERVER_ERROR");
  const first = await start();
  for (let calls = 0; calls < 5; calls += 1)
    expect((await fetch(`${first.url}/x`, { headers: headers() })).status).toBe(200);
  await eventually("records on disk", async () => {
    const folder = join(dataDir, "proxy/usage");
    const files = await Promise.all(
      (await readdir(folder)).map((name) => readFile(join(folder, name), "utf8").catch(() => "")),
    ); // renamed meanwhile
    return files.join("").split("\n").length > 5;
  });
  first.child.kill("SIGKILL");
  await first.ended;
  controlPlane.refuseUsage(null);
  const second = await start();
  await eventually("the records", () => controlPlane.records().length === before + 5);
  second.child.kill("SIGTERM");
  expect(await second.ended).toBe(0);
});

test("a wrong configuration names the variable and ends with 78", async () => {
  const child = spawn(process.execPath, [entry], {
    env: { ...environment(1), PROXY_PORT: "70000", PROXY_CREDENTIAL: "secret-but-no-jwt" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  children.push(child);
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const [code] = await once(child, "exit");
  expect(code).toBe(78);
  expect(output).toContain("PROXY_PORT");
  expect(output).toContain("PROXY_CREDENTIAL");
  expect(output).not.toContain("secret-but-no-jwt");
});

test("a second proxy on the same DATA_DIR refuses to start, with a word on what to do, until the first was killed", async () => {
  const first = await start();
  const second = await start({ expected: "could not start" });
  expect(await second.ended).toBe(1);
  expect(second.output()).toMatch(/proxy is in use by another Toolyard\. Stop that one, or choose .*DATA_DIR/);
  first.child.kill("SIGKILL");
  await first.ended;
  await start();
});
