import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { copyFile, cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectMcp, eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { embeddedOnly, isDistributed } from "@toolyard/testing/mode.ts";
import { dataEnvOf } from "@toolyard/testing/toolyard.ts";
import LibsqlDatabase from "libsql";
import { afterEach, beforeEach, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
let folder: string;
const running: RunningToolyard[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-backup-"));
});
afterEach(async () => {
  for (const toolyard of running.splice(0)) await toolyard.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

async function start(name: string): Promise<RunningToolyard> {
  const toolyard = await startToolyard({ dataDir: join(folder, name) });
  running.push(toolyard);
  return toolyard;
}
const run = (command: string, args: string[], env: Record<string, string>) =>
  spawnSync("npm", ["run", "--silent", command, "--", ...args], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
const backUp = (...args: string[]) => run("backup", args, { DATA_DIR: join(folder, "data") });
/** As a folder of files it is a DATA_DIR as it stands. */
async function putInPlace(backup: string, name: string): Promise<void> {
  if (!isDistributed) return cp(join(folder, backup), join(folder, name), { recursive: true });
  const { status, stderr } = run("restore", [join(folder, backup)], await dataEnvOf(join(folder, name)));
  expect(status, stderr).toBe(0);
}
const adminOf = async (toolyard: RunningToolyard) =>
  graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", toolyard.adminPassword));

/** A server whose tool answers what its sealed variable is, and a note of how often it was started, kept in its home. */
const SERVER = `
import { appendFileSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
const file = process.env.HOME + "/starts";
appendFileSync(file, "x");
const answer = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\\n");
createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  if (method === "initialize")
    answer(id, { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "s", version: "1" } });
  else if (method === "tools/list") answer(id, { tools: [{ name: "tell", inputSchema: { type: "object" } }] });
  else if (method === "tools/call")
    answer(id, { content: [{ type: "text", text: process.env.SEALED.length + " " + readFileSync(file, "utf8").length }] });
  else if (id !== undefined) answer(id, {});
});
`;

async function deploy(toolyard: RunningToolyard): Promise<void> {
  const admin = await adminOf(toolyard);
  const file = join(folder, "server.mjs");
  await writeFile(file, SERVER);
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    {
      input: {
        slug: "teller",
        name: "teller",
        description: "backup",
        launch: {
          stdio: {
            command: process.execPath,
            args: [file],
            sessions: "SHARED",
            env: [{ name: "SEALED", value: "twelve chars", secret: true }],
          },
        },
      },
    },
  );
  await admin.query("mutation ($id: ID!) { deployTool(input: { toolId: $id }) { id } }", { id: createTool.id });
}

async function ask(toolyard: RunningToolyard): Promise<string> {
  const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  return eventually("an answer", async () => {
    const client = await connectMcp("v1", `${toolyard.proxyUrl}/mcp/teller/v1/mcp`, token);
    try {
      return await client.callTool("tell", {});
    } finally {
      await client.close();
    }
  });
}

test("a backup that is made while Toolyard runs and is written to starts as the original does: with its users, sealed values and servers' files", async () => {
  const original = await start("data");
  await deploy(original);
  const [sealed, starts] = (await ask(original)).split(" ").map(Number);
  expect(sealed).toBe(12);
  const admin = await adminOf(original);
  let created = 0;
  let stopped = false;
  const writing = (async () => {
    for (; !stopped; created += 1)
      await admin.query("mutation ($i: CreateToolInput!) { createTool(input: $i) { id } }", {
        i: { name: `t${created}`, description: "d", launch: { remote: { url: "https://example.com/mcp" } } },
      });
  })();
  await eventually("writes", () => created > 3);
  const { status, stdout, stderr } = run("backup", [join(folder, "backup")], original.dataEnv);
  stopped = true;
  await writing;
  expect(status, stderr).toBe(0);
  expect(stdout).toContain("identity.sqlite");
  const names = await readdir(join(folder, "backup"));
  expect(names.filter((name) => /-wal|-shm|replicas|cache|owner|\.sock/.test(name))).toEqual([]);
  expect(statSync(join(folder, "backup")).mode & 0o777).toBe(0o700);
  for (const name of names) expect(statSync(join(folder, "backup", name)).mode & 0o077).toBe(0);
  expect((await readdir(folder)).toSorted()).toEqual(["backup", "data", "server.mjs"]);

  await putInPlace("backup", "restored");
  const restored = await start("restored");
  const [again, startsAgain] = (await ask(restored)).split(" ").map(Number);
  expect(again).toBe(12);
  // It goes on from the file of before.
  expect(startsAgain).toBeGreaterThan(starts ?? 0);
  expect(await ask(original)).toMatch(/^12 /);
});

test.skipIf(embeddedOnly("no database is in files"))(
  "after a clean stop the copied database files hold everything",
  async () => {
    const original = await start("data");
    await deploy(original);
    await ask(original);
    await running.pop()?.stop();
    await mkdir(join(folder, "copied"));
    for (const name of await readdir(join(folder, "data")))
      if (name.endsWith(".sqlite") || ["secret-key", "admin-password"].includes(name))
        await copyFile(join(folder, "data", name), join(folder, "copied", name));
    expect(await ask(await start("copied"))).toMatch(/^12 /);
  },
);

test.each<[string, () => Promise<string[]>, RegExp]>([
  ["no folder", async () => [], /^Usage: npm run backup -- DIR/],
  ["a folder with something in it", async () => [folder], /is not empty/],
  ["a folder in DATA_DIR", async () => [join(folder, "data/backup")], /lies in DATA_DIR/],
  [
    "a folder in DATA_DIR by another name of it",
    async () => {
      await symlink(join(folder, "data"), join(folder, "link"));
      return [join(folder, "link/backup/new")];
    },
    /lies in DATA_DIR/,
  ],
  [
    "a link to nothing",
    async () => {
      await symlink(join(folder, "gone"), join(folder, "link"));
      return [join(folder, "link")];
    },
    /link is a link to a file that does not exist/,
  ],
  ["a place of the system's", async () => ["/proc/backup"], /\/proc\/backup cannot be written/],
  ["a file", async () => [join(folder, "data/identity.sqlite")], /lies in DATA_DIR/],
  [
    "a place that cannot be written to",
    async () => {
      await writeFile(join(folder, "file"), "");
      return [join(folder, "file/below")];
    },
    /No backup was made.*file/,
  ],
])("%s is refused in a sentence, and nothing is left", async (_what, args, message) => {
  await mkdir(join(folder, "data"));
  await writeFile(join(folder, "data/identity.sqlite"), "");
  const given = await args();
  const before = (await readdir(folder)).toSorted();
  const { status, stderr } = backUp(...given);
  expect(status).toBe(1);
  expect(stderr).toMatch(message);
  expect(stderr).not.toMatch(/\n\s+at /);
  expect((await readdir(folder)).toSorted()).toEqual(before);
});

test("one that is interrupted leaves no part of itself", async () => {
  await mkdir(join(folder, "data/homes"), { recursive: true });
  const database = new LibsqlDatabase(join(folder, "data/identity.sqlite"));
  database.exec("CREATE TABLE users (name TEXT)");
  database.close();
  for (let home = 0; home < 2_000; home += 1) await mkdir(join(folder, "data/homes", `of-${home}`));
  const child = spawn(process.execPath, ["scripts/backup.ts", join(folder, "backup")], {
    cwd: root,
    env: { ...process.env, DATA_DIR: join(folder, "data") },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const ended = once(child, "close");
  await eventually("a part of it", async () => (await readdir(folder)).some((name) => name.startsWith(".backup-")));
  child.kill("SIGINT");
  expect(await ended).toEqual([1, null]);
  expect(said).toBe("No backup was made. It was interrupted.\n");
  expect(await readdir(folder)).toEqual(["data"]);
});

const canMount = spawnSync("unshare", ["-m", "true"]).status === 0;
test.runIf(canMount)("a full disk and a mount point are refused by what they are", async () => {
  await mkdir(join(folder, "data"));
  const database = new LibsqlDatabase(join(folder, "data/identity.sqlite"));
  database.exec("CREATE TABLE users (name BLOB); INSERT INTO users VALUES (zeroblob(1000000))");
  database.close();
  await mkdir(join(folder, "small"));
  const script = `mount -t tmpfs -o size=400k tmpfs ${join(folder, "small")} && exec "$@"`;
  for (const [target, message] of [
    ["small/backup", /no space left on the disk of .*small\/backup/],
    ["small", /small is a mount point: choose a folder in it/],
  ] as const) {
    const { status, stderr } = spawnSync(
      "unshare",
      ["-m", "sh", "-c", script, "sh", process.execPath, "scripts/backup.ts", join(folder, target)],
      { cwd: root, encoding: "utf8", env: { ...process.env, DATA_DIR: join(folder, "data") } },
    );
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringMatching(message) });
    expect((await readdir(folder)).toSorted()).toEqual(["data", "small"]);
  }
});

test("a folder without Toolyard's data is refused by its name", () => {
  expect(backUp(join(folder, "backup"))).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/no databases of Toolyard in .*\/data \(DATA_DIR\)/),
  });
});
