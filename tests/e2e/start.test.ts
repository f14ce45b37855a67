import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmod, chown, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { eventually, freePort } from "@toolyard/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const PARTS = {
  standalone: "standalone.ts",
  gateway: "gateway/main.ts",
  identity: "subgraphs/identity/main.ts",
  deployments: "subgraphs/deployments/main.ts",
  proxy: "packages/proxy/main.ts",
} as const;
type Part = keyof typeof PARTS;
const NOBODY = 65_534;

let folder: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-start-"));
  await chmod(folder, 0o755);
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGTERM");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
  await rm(folder, { recursive: true, force: true });
});

function begin(part: Part, env: Record<string, string>, options: { uid?: number; wrap?: string[] } = {}) {
  const { uid, wrap = [] } = options;
  const [program, ...args] = [...wrap, process.execPath, PARTS[part]];
  const child = spawn(program, args, {
    cwd: root,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      DATA_DIR: join(folder, "data"),
      PORT: "0",
      PROXY_PORT: "0",
      SAMPLE: "false",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
    ...(uid !== undefined && { uid, gid: uid }),
  });
  children.push(child);
  let printed = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  return { child, printed: () => printed };
}

/** What it says when it does not start: one line, no stack, soon. */
async function refusal(...args: Parameters<typeof begin>): Promise<{ code: number | null; said: string }> {
  const { child, printed } = begin(...args);
  const [code] = (await once(child, "close")) as [number | null];
  const said = printed().trim();
  expect(said.split("\n"), said).toHaveLength(1);
  expect(said).not.toMatch(/\bat .*:\d+:\d+|Error:/);
  return { code, said };
}

describe("DATA_DIR", () => {
  const below = (...names: string[]) => join(folder, ...names);
  test.each<[string, () => Promise<{ DATA_DIR: string }>, RegExp]>([
    [
      "a file",
      async () => {
        await writeFile(below("file"), "");
        return { DATA_DIR: below("file") };
      },
      /DATA_DIR: .*file cannot be used: it is a file/,
    ],
    [
      "below a file",
      async () => {
        await writeFile(below("file"), "");
        return { DATA_DIR: below("file", "data") };
      },
      /DATA_DIR: .*lies below one/,
    ],
    [
      "in a place of the system's",
      async () => ({ DATA_DIR: "/proc/toolyard" }),
      /DATA_DIR: \/proc\/toolyard cannot be used/,
    ],
  ])("that is %s is refused in a line that names it, by every part that keeps data", async (_what, env, message) => {
    const given = { ...(await env()), PROXY_CREDENTIAL: "a.b.c", SUBGRAPH_URLS: urlsOf(() => 9_999) };
    for (const part of Object.keys(PARTS) as Part[])
      expect(await refusal(part, given)).toEqual({ code: 1, said: expect.stringMatching(message) });
  });

  const stores = ["deployments", "idempotency", "identity", "knowledge", "tasks", "tools"];
  test.each([
    ["as before-servers says", stores.map((store) => `before-servers/${store}.sqlite`)],
    ["as the mark of its copy says, where before-servers is gone", ["copy-id"]],
    ["as the notes of its servers say", ["servers/DATABASE_URL", "servers/MONGODB_URL"]],
  ])(
    "whose data is on a server, %s, is refused without the variable that names it, and no empty one is made",
    async (_says, files) => {
      for (const file of files) {
        await mkdir(dirname(below("data", file)), { recursive: true, mode: 0o700 });
        await writeFile(below("data", file), "", { mode: 0o600 });
      }
      for (const part of ["standalone", "identity", "deployments"] as const) {
        const { child, printed } = begin(part, { PROXY_CREDENTIAL: "a.b.c", SUBGRAPH_URLS: urlsOf(() => 9_999) });
        const [code] = (await once(child, "close")) as [number | null];
        expect(printed()).toMatch(
          /^(DATABASE|MONGODB)_URL: it is not set, and the data of \w+ (was moved to|is on) a server/m,
        );
        expect(code).toBe(78);
        expect((await readdir(below("data"))).filter((name) => name.includes(".sqlite"))).toEqual([]);
      }
    },
  );

  test.runIf(process.getuid?.() === 0)(
    "that this user may not write to, or what lies in it, is refused by its name",
    async () => {
      await mkdir(below("others"));
      expect(await refusal("standalone", { DATA_DIR: below("others", "data") }, { uid: NOBODY })).toEqual({
        code: 1,
        said: expect.stringMatching(/DATA_DIR: .*others\/data cannot be used: .*\(65534\) may not write there/),
      });
      await mkdir(below("mine"));
      await chown(below("mine"), NOBODY, NOBODY);
      await writeFile(below("mine", "identity.sqlite"), "", { mode: 0o600 });
      expect(await refusal("standalone", { DATA_DIR: below("mine") }, { uid: NOBODY })).toEqual({
        code: 1,
        said: expect.stringMatching(
          /identity\.sqlite in .*mine \(DATA_DIR\) cannot be used: .*\(65534\) may not write to it/,
        ),
      });
      for (const name of ["identity.sqlite", "secret-key"]) await rm(below("mine", name));
      await writeFile(below("mine", "secret-key"), "", { mode: 0o600 });
      expect(await refusal("standalone", { DATA_DIR: below("mine") }, { uid: NOBODY })).toEqual({
        code: 1,
        said: expect.stringMatching(/\(65534\) may not use .*secret-key/),
      });
    },
  );

  test("with a database that is none is refused by its name", async () => {
    await mkdir(below("data"));
    await writeFile(below("data", "tools.sqlite"), "something else".repeat(1_000));
    const { code, said } = await refusal("standalone", {});
    expect(code).toBe(1);
    expect(said).toMatch(/tools\.sqlite in .*data \(DATA_DIR\) cannot be used: it is damaged or no database/);
  });

  const canMount = spawnSync("unshare", ["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status === 0;
  test.runIf(canMount).each([
    ["full at once", "4k", 0],
    ["full on the way", "300k", 0],
  ])("on a disk that is %s is refused in a line", async (_what, size) => {
    await mkdir(below("small"));
    const script = `mount -t tmpfs -o size=${size} tmpfs ${below("small")} && exec "$@"`;
    const { code, said } = await refusal(
      "standalone",
      { DATA_DIR: below("small", "data") },
      { wrap: ["unshare", "-m", "sh", "-c", script, "sh"] },
    );
    expect(code).toBe(1);
    expect(said).toMatch(/no space left on (its|the) disk|is full/);
    expect(said).toMatch(/DATA_DIR/);
  });
});

describe("a port that is taken", () => {
  let taken: Server;
  let port: string;
  beforeEach(async () => {
    taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    // A TCP server's address is never a pipe's string.
    port = String((taken.address() as AddressInfo).port);
  });
  afterEach(() => new Promise((done) => taken.close(done)));

  test.each<[Part, "PORT" | "PROXY_PORT"]>([
    ["standalone", "PORT"],
    ["standalone", "PROXY_PORT"],
    ["gateway", "PORT"],
    ["identity", "PORT"],
    ["deployments", "PORT"],
    ["proxy", "PROXY_PORT"],
  ])("of %s is named by its variable, %s", async (part, variable) => {
    const env = { [variable]: port, PROXY_CREDENTIAL: "a.b.c", SUBGRAPH_URLS: urlsOf(() => 9_999) };
    const { code, said } = await refusal(part, env);
    expect({ code, said }).toEqual({
      code: 1,
      said: expect.stringContaining(
        `${variable}: port ${port} is in use. Stop what listens there, or choose another, as in ${variable}=`,
      ),
    });
  });
});

test("a HOST that this machine does not have is named", async () => {
  expect(await refusal("standalone", { HOST: "192.0.2.1", PROCESS_ISOLATION: "none" })).toEqual({
    code: 1,
    said: expect.stringMatching(/HOST: .*192\.0\.2\.1/),
  });
});

test.runIf(process.getuid?.() === 0)("folders in PATH that cannot be read are passed over", async () => {
  await mkdir(join(folder, "closed/bin"), { recursive: true });
  await chmod(join(folder, "closed"), 0o700);
  await mkdir(join(folder, "data"));
  await chown(join(folder, "data"), NOBODY, NOBODY);
  const PATH = [join(folder, "closed"), join(folder, "closed/bin"), "/root/bin", "/proc/1/cwd", process.env.PATH].join(
    ":",
  );
  const { printed } = begin("standalone", { PATH }, { uid: NOBODY });
  await eventually("the banner", () => printed().includes("Toolyard is ready."));
});

const SUBGRAPHS = ["identity", "tools", "knowledge", "analysis", "deployments"];
const urlsOf = (portOf: (name: string) => number) =>
  SUBGRAPHS.map((name) => `${name}=http://127.0.0.1:${portOf(name)}/graphql`).join(",");

describe("a part alone without its addresses", () => {
  test("is told which: a gateway the subgraphs', all at once, a proxy its credential", async () => {
    const gateway = await refusal("gateway", { SUBGRAPH_URLS: "tools=http://127.0.0.1:4002/graphql" });
    expect(gateway.code).not.toBe(0);
    expect(gateway.said).toMatch(
      /^SUBGRAPH_URLS: .*analysis, deployments, identity, knowledge\. Example: SUBGRAPH_URLS=analysis=/,
    );
    const proxy = await refusal("proxy", {});
    expect(proxy.code).not.toBe(0);
    expect(proxy.said).toMatch(/^PROXY_CREDENTIAL: .*npm run --silent proxy-credential/);
  });
});

test("a gateway that reaches no subgraph says so, and why in /health, and that it is ready once it reaches one", async () => {
  const [port, identityPort] = [await freePort(), await freePort()];
  const { printed } = begin("gateway", {
    PORT: String(port),
    PROXY_URL: "http://no-such-host.invalid:4100",
    SUBGRAPH_URLS: urlsOf((name) => (name === "identity" ? identityPort : 9_999)),
  });
  await eventually("a word", () => printed().includes("no subgraph can be reached yet"));
  expect(printed()).not.toContain("is ready");
  const health = (await (await fetch(`http://127.0.0.1:${port}/health`)).json()) as {
    services: Record<string, { detail: string }>;
  };
  expect(health.services["tools"]?.detail).toMatch(/Nothing listens there .*SUBGRAPH_URLS/);
  expect(health.services["proxy"]?.detail).toMatch(/host name .*PROXY_URL/);
  expect(JSON.stringify(health)).not.toMatch(/fetch failed|no-such-host/);
  expect((await fetch(`http://127.0.0.1:${port}/health/ready`)).status).toBe(503);

  const DATABASE_URI = "mysql://toolyard:hunter2@127.0.0.1/toolyard";
  const identity = begin("identity", { PORT: String(identityPort), DATABASE_URI });
  await eventually("the gateway is ready", () => printed().includes("the gateway is ready"));
  expect(identity.printed()).toMatch(/"warn".*DATABASE_URI is no variable of Toolyard; did you mean DATABASE_URL\?/);
  expect(identity.printed()).not.toContain("hunter2");
  expect(printed()).toContain("some subgraphs cannot be reached");
  expect(await readFile(join(folder, "data/secret-key"), "utf8")).not.toBe("");
});
