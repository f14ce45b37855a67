import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setInterval as every } from "node:timers/promises";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { embeddedOnly, isDistributed } from "@toolyard/testing/mode.ts";
import { dataEnvOf } from "@toolyard/testing/toolyard.ts";
import { createSealer } from "@toolyard/service-kit/identity/sealing.ts";
import LibsqlDatabase from "libsql";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

const root = join(import.meta.dirname, "../..");
const NEW_KEY = "another key of more than thirty-two characters";
// Each starts several Toolyards, in distributed mode of nine processes each.
vi.setConfig({ testTimeout: 300_000 });
let folder: string;
const running: RunningToolyard[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-restore-"));
});
afterEach(async () => {
  for (const toolyard of running.splice(0)) await toolyard.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
});

async function start(name: string, env: Record<string, string> = {}): Promise<RunningToolyard> {
  const toolyard = await startToolyard({ dataDir: join(folder, name), env });
  running.push(toolyard);
  return toolyard;
}
const stop = () => running.pop()?.stop();
const environment = async (dataDir: string, env: Record<string, string> = {}) => ({
  ...process.env,
  ...(await dataEnvOf(join(folder, dataDir))),
  ...env,
});
async function npm(command: string, args: readonly string[], dataDir: string, env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync("npm", ["run", "--silent", command, "--", ...args], {
    cwd: root,
    encoding: "utf8",
    env: await environment(dataDir, env),
  });
  return { status, stdout, stderr };
}
async function begin(script: string, args: readonly string[], dataDir: string): Promise<ChildProcess> {
  const env = await environment(dataDir);
  return spawn(process.execPath, [join(root, "scripts", script), ...args], {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
}
const adminOf = async ({ url, adminPassword }: RunningToolyard) =>
  graphqlClient(url, await logIn(url, "admin", adminPassword));

type Admin = Awaited<ReturnType<typeof adminOf>>;
const createTool = (admin: Admin, name: string) =>
  admin.query("mutation ($i: CreateToolInput!) { createTool(input: $i) { id } }", {
    i: {
      slug: name,
      name,
      description: "d",
      launch: {
        remote: {
          url: "https://example.com/mcp",
          headers: [{ name: "Authorization", value: `Bearer secret of ${name}`, secret: true }],
        },
      },
    },
  });

/** What is sealed in the tools of a DATA_DIR, opened with the key, by slug. */
async function secretsOf(dataDir: string, secretKey: string): Promise<Map<string, string>> {
  if (!isDistributed) return secretsIn(dataDir, secretKey);
  const files = `of-${dataDir}`;
  expect(await npm("backup", [join(folder, files)], dataDir)).toMatchObject({ status: 0 });
  try {
    return secretsIn(files, secretKey);
  } finally {
    await rm(join(folder, files), { recursive: true });
  }
}
function secretsIn(files: string, secretKey: string): Map<string, string> {
  const database = new LibsqlDatabase(join(folder, files, "tools.sqlite"), { readonly: true });
  try {
    const sealer = createSealer({ secretKey });
    const rows = database
      .prepare("SELECT v.id, v.launch, t.slug FROM tool_versions v JOIN tools t ON t.id = v.toolId")
      .all() as { id: string; launch: string; slug: string }[];
    return new Map(
      rows.flatMap(({ id, launch, slug }) => {
        const [sealed] = launch.match(/sealed:v1:[\w:-]+/) ?? [];
        return sealed === undefined ? [] : [[slug, sealer.open(sealed, id)] as const];
      }),
    );
  } finally {
    database.close();
  }
}

test("a backup under 50 writes a second has every write of before its moment; restored under another key, all opens with that alone", async () => {
  const original = await start("data");
  const admin = await adminOf(original);
  const acknowledged: { slug: string; at: number }[] = [];
  let stopped = false;
  const pending = new Set<Promise<void>>();
  let sent = 0;
  const writing = (async () => {
    for await (const _tick of every(20)) {
      if (stopped) break;
      const slug = `tool-${sent}`;
      sent += 1;
      const write: Promise<void> = createTool(admin, slug).then(() => {
        acknowledged.push({ slug, at: Date.now() });
        pending.delete(write);
      });
      pending.add(write);
    }
    await Promise.all(pending);
  })();
  await eventually("writes", () => acknowledged.length > 50);
  const child = await begin("backup.ts", [join(folder, "backup")], "data");
  let said = "";
  child.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const before = acknowledged.length;
  const [code] = (await once(child, "close")) as [number];
  const meanwhile = acknowledged.length - before;
  stopped = true;
  await writing;
  expect({ code, said }).toEqual({
    code: 0,
    said: expect.stringMatching(/tools\.sqlite: \d+ rows\.\n[^]*acknowledged before/),
  });
  expect(meanwhile).toBeGreaterThan(10);

  const key = readFileSync(join(folder, "data/secret-key"), "utf8").trim();
  const restored = await npm("restore", [join(folder, "backup")], "restored", { SECRET_KEY: NEW_KEY });
  expect(restored).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/\d+ values are sealed with SECRET_KEY now/),
  });
  expect(await readdir(join(folder, "restored"))).not.toContain("secret-key");
  const { completeTo } = JSON.parse(await readFile(join(folder, "backup/manifest.json"), "utf8")) as {
    completeTo: string;
  };
  const secrets = await secretsOf("restored", NEW_KEY);
  const due = acknowledged.filter(({ at }) => at < Date.parse(completeTo)).map(({ slug }) => slug);
  expect(due.length).toBeGreaterThan(50);
  expect(due.filter((slug) => secrets.get(slug) !== `Bearer secret of ${slug}`)).toEqual([]);
  expect(secretsIn("backup", key).size).toBe(secrets.size);

  const again = await start("restored", { SECRET_KEY: NEW_KEY });
  const { tools } = await (
    await adminOf({ ...again, adminPassword: original.adminPassword })
  ).query<{
    tools: { totalCount: number };
  }>("{ tools { totalCount } }");
  expect(tools.totalCount).toBeGreaterThanOrEqual(due.length);

  // What is there is not overwritten.
  expect(await npm("restore", [join(folder, "backup")], "data")).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^Nothing was restored\. .*data \(DATA_DIR\) is not empty: nothing is overwritten/),
  });
  // A wrong key is told before there is anything.
  await rm(join(folder, "backup/secret-key"));
  expect((await npm("restore", [join(folder, "backup")], "third", { SECRET_KEY: NEW_KEY })).stderr).toMatch(
    /secret-key/,
  );
  expect((await readdir(folder)).toSorted()).toEqual(["backup", "data", "restored"]);
});

test("a backup that was changed, by a byte or a file, is refused by what differs, and leaves nothing", async () => {
  await createTool(await adminOf(await start("data")), "one");
  await stop();
  expect((await npm("backup", [join(folder, "backup")], "data")).status).toBe(0);
  const damage: [string, (copy: string) => void | Promise<void>, RegExp][] = [
    [
      "byte",
      (copy) => appendFileSync(join(copy, "tools.sqlite"), "x"),
      /tools\.sqlite in .* is not what was backed up/,
    ],
    ["file", (copy) => rm(join(copy, "identity.sqlite")), /identity\.sqlite/],
    [
      "key",
      (copy) => writeFileSync(join(copy, "secret-key"), `${NEW_KEY}\n`),
      /secret-key in .* is not what was backed up/,
    ],
    ["manifest", (copy) => rm(join(copy, "manifest.json")), /has no manifest\.json of a backup/],
  ];
  for (const [name, change, message] of damage) {
    const copy = join(folder, name);
    await cp(join(folder, "backup"), copy, { recursive: true });
    await change(copy);
    expect(await npm("restore", [copy], "restored")).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(message),
    });
    await rm(copy, { recursive: true });
  }
  expect((await readdir(folder)).toSorted()).toEqual(["backup", "data"]);
  expect((await npm("restore", [join(folder, "backup")], "restored")).status).toBe(0);
  // DATA_DIR notes which servers have its data.
  expect((await readdir(join(folder, "restored"))).filter((name) => name !== "servers")).toEqual(
    (await readdir(join(folder, "backup"))).filter(
      (name) => name !== "manifest.json" && !(isDistributed && name.endsWith(".sqlite")),
    ),
  );
});

test("secrets are rotated however often that is killed; Toolyard starts in between, and in the end nothing needs the old key", async () => {
  const first = await start("data");
  const admin = await adminOf(first);
  const names = Array.from({ length: 400 }, (_, index) => `tool-${index}`);
  for (let at = 0; at < names.length; at += 40)
    await Promise.all(names.slice(at, at + 40).map((name) => createTool(admin, name)));
  await admin.query("mutation ($i: CreateToolInput!) { createTool(input: $i) { id } }", {
    i: {
      slug: "looks-sealed",
      name: "n",
      description: `sealed:v1:AAAAAAAAAAAA:${"A".repeat(60)}`,
      launch: { remote: { url: "https://example.com/mcp" } },
    },
  });
  const post = async ({ url }: RunningToolyard, path: string, body: object) => {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${url}/api/v1/auth/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    return { status: answer.status, body: (await answer.json()) as Record<string, string> };
  };
  const login = await post(first, "login", { username: "admin", password: first.adminPassword });
  expect(await npm("rotate-secrets", [], "data")).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("Toolyard runs already"),
  });
  await stop();
  const old = readFileSync(join(folder, "data/secret-key"), "utf8").trim();

  const child = await begin("rotate-secrets.ts", [], "data");
  await once(child.stdout ?? child, "data"); // the first steps are done
  child.kill("SIGKILL");
  await once(child, "close");
  const between = readFileSync(join(folder, "data/secret-key"), "utf8").trim();
  expect(between).not.toBe(old);
  expect(readFileSync(join(folder, "data/secret-key.previous"), "utf8").trim()).toBe(old);
  await createTool(await adminOf(await start("data")), "between");
  await stop();

  expect(await npm("rotate-secrets", [], "data")).toMatchObject({
    status: 0,
    stderr: "",
    stdout: expect.stringContaining("all are sealed with the new key"),
  });
  expect(readFileSync(join(folder, "data/secret-key"), "utf8").trim()).toBe(between);
  expect(await readdir(join(folder, "data"))).not.toContain("secret-key.previous");
  const secrets = await secretsOf("data", between);
  expect([...names, "between"].filter((name) => secrets.get(name) !== `Bearer secret of ${name}`)).toEqual([]);

  // Sessions go on, access tokens do not.
  const rotated = await start("data");
  const me = await fetch(`${rotated.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${login.body["access_token"]}` },
    body: '{"query": "{ me { id } }"}',
  });
  expect(me.status).toBe(401);
  expect(await post(rotated, "refresh", { refresh_token: login.body["refresh_token"] })).toMatchObject({ status: 200 });
  await stop();

  // Where the operator holds the key.
  expect(await npm("rotate-secrets", [], "data", { SECRET_KEY: NEW_KEY })).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("SECRET_KEY_PREVIOUS"),
  });
  expect(await npm("rotate-secrets", [], "data", { SECRET_KEY: NEW_KEY, SECRET_KEY_PREVIOUS: NEW_KEY })).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("are the same key"),
  });
  // A wrong earlier key is not taken for success.
  const wrong = { SECRET_KEY: NEW_KEY, SECRET_KEY_PREVIOUS: "a wrong key of more than thirty-two characters" };
  expect(await npm("rotate-secrets", [], "data", wrong)).toMatchObject({
    status: 1,
    // A database has a mark of its key, and is not read with another.
    stderr: expect.stringMatching(
      isDistributed
        ? /^SECRET_KEY: it is not the one that this database's other processes have/
        : /^\d+ values open with neither key .*tool_versions\.launch.*Nothing is lost/,
    ),
  });
  expect((await secretsOf("data", between)).size).toBe(secrets.size);
  const keys = { SECRET_KEY: NEW_KEY, SECRET_KEY_PREVIOUS: between };
  expect(await npm("rotate-secrets", [], "data", keys)).toMatchObject({ status: 0 });
  expect((await secretsOf("data", NEW_KEY)).size).toBe(secrets.size);
});

test.skipIf(embeddedOnly("what was restored to servers is in none of DATA_DIR's files"))(
  "one that is killed while it restores leaves DATA_DIR as it was: not there",
  async () => {
    await (await start("data")).stop();
    running.pop();
    await mkdir(join(folder, "data/homes"), { recursive: true });
    for (let home = 0; home < 2_000; home += 1) await mkdir(join(folder, "data/homes", `of-${home}`));
    expect((await npm("backup", [join(folder, "backup")], "data")).status).toBe(0);
    const child = await begin("restore.ts", [join(folder, "backup")], "restored");
    await eventually("a part of it", async () => (await readdir(folder)).some((name) => name.startsWith(".restored-")));
    child.kill("SIGKILL");
    await once(child, "close");
    expect(await readdir(folder)).not.toContain("restored");
    expect((await npm("restore", [join(folder, "backup")], "restored")).status).toBe(0);
  },
);
