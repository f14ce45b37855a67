import { spawn } from "node:child_process";
import { access, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const NEW_PASSWORD = "a few words of my own";
let dataDir: string;
let toolyard: RunningToolyard | null = null;

/** Where the data is, for commands. */
let dataEnv: Record<string, string> = {};
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-passwords-"));
  dataEnv = {};
});
afterEach(async () => {
  await toolyard?.stop();
  toolyard = null;
  await rm(dataDir, { recursive: true, force: true });
});

/** Only the first start finds a generated password in the folder. */
async function start(env: Record<string, string> = {}): Promise<RunningToolyard> {
  await toolyard?.stop();
  toolyard = await startToolyard({ dataDir, env });
  ({ dataEnv } = toolyard);
  return toolyard;
}
async function restart(env: Record<string, string> = {}): Promise<RunningToolyard> {
  // The harness reads the file unless told the password.
  const placeholder = "not anybody's password";
  return start({ ADMIN_PASSWORD: placeholder, ...env });
}

function run(script: string, args: readonly string[], input = "", env: Record<string, string> = {}) {
  const child = spawn("npm", ["run", "--silent", script, "--", ...args], {
    cwd: root,
    env: { PATH: process.env.PATH, HOME: dataDir, DATA_DIR: dataDir, ...dataEnv, ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  child.stdin.end(input);
  return new Promise<{ code: number | null; out: string; err: string }>((done) =>
    child.once("close", (code) => done({ code, out, err })),
  );
}

const isThere = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  );
const printedPassword = (out: string) => /shown this once: (\S+)/.exec(out)?.[1] ?? "";

test("after the administrator changed the password, file and banner say nothing wrong, and how to have a new one", async () => {
  const { url, adminPassword, output } = await start();
  expect(output()).toContain(`with the password ${adminPassword}`);
  const file = join(dataDir, "admin-password");
  const graph = graphqlClient(url, await logIn(url, "admin", adminPassword));
  // Somebody else's change leaves it alone.
  const other = { username: "someone", email: "someone@example.com", password: "another few words" };
  await graph.query("mutation ($input: RegisterInput!) { register(input: $input) { expiresIn } }", { input: other });
  const change = "mutation ($current: String!, $new: String!) { changePassword(current: $current, new: $new) }";
  const someone = graphqlClient(url, await logIn(url, other.username, other.password));
  await someone.query(change, { current: other.password, new: NEW_PASSWORD });
  expect(await isThere(file)).toBe(true);
  await graph.query(change, { current: adminPassword, new: NEW_PASSWORD });
  expect(await isThere(file)).toBe(false);

  const again = await restart();
  const banner = again.output();
  expect(banner).toContain("Log in as admin.");
  expect(banner).toContain(`DATA_DIR=${dataDir} npm run reset-password -- admin`);
  expect(banner).not.toMatch(/password is in|admin-password/);
  // ADMIN_PASSWORD, which is not the one that admin has.
  expect(banner).toContain("Note: ADMIN_PASSWORD is passed over: admin has another password already.");
  const login = await run("toolyard", ["login", "--url", again.url], `${NEW_PASSWORD}\n`);
  expect(login).toMatchObject({ code: 0, out: expect.stringContaining("as admin") });
});

test("after resetPassword, and where an earlier version left it, the file is gone, too", async () => {
  const { url, adminPassword } = await start();
  const file = join(dataDir, "admin-password");
  const graph = graphqlClient(url, await logIn(url, "admin", adminPassword));
  const reset = await graph.query<{ resetPassword: string }>('mutation { resetPassword(userId: "admin") }');
  expect(await isThere(file)).toBe(false);
  await logIn(url, "admin", reset.resetPassword);
  await writeFile(file, "what it once was\n", { mode: 0o600 });
  const again = await restart();
  expect(await isThere(file)).toBe(false);
  expect(again.output()).not.toContain("password is in");
});

test("variables that do nothing say so; those that are right say nothing", async () => {
  await start({ ADMIN_PASSWORD: NEW_PASSWORD });
  const right = await restart({ ADMIN_PASSWORD: NEW_PASSWORD });
  expect(right.output()).not.toContain("passed over");
  const other = await restart({ ADMIN_USERNAME: "root", ADMIN_PASSWORD: NEW_PASSWORD });
  expect(other.output()).toMatch(
    /ADMIN_USERNAME and ADMIN_PASSWORD are passed over: .* none of them is root\. admin is an administrator\./,
  );
  expect(other.output()).toContain("Log in as admin.");
  expect(other.output()).not.toContain(NEW_PASSWORD);
});

test("reset-password, while Toolyard runs and while it does not: sessions and API keys end, the old password, too", async () => {
  const { url, adminPassword } = await start();
  const graph = graphqlClient(url, await logIn(url, "admin", adminPassword));
  const { createApiKey } = await graph.query<{ createApiKey: { secret: string } }>(
    'mutation { createApiKey(input: { name: "mine", scopes: [READ] }) { secret } }',
  );
  const byKey = graphqlClient(url, createApiKey.secret);
  await byKey.query("{ me { username } }");

  const running = await run("reset-password", ["admin"]);
  expect(running).toMatchObject({ code: 0, err: "" });
  for (const client of [graph, byKey]) {
    await eventually("the credential ends", async () => {
      const { errors } = await client.send("{ me { username } }");
      return errors[0]?.extensions.code === "UNAUTHENTICATED";
    });
  }
  await expect(logIn(url, "admin", adminPassword)).rejects.toThrow("wrong");
  await logIn(url, "admin", printedPassword(running.out));
  expect(await isThere(join(dataDir, "admin-password"))).toBe(false);

  await toolyard?.stop();
  const stopped = await run("reset-password", ["ADMIN", "--password-stdin"], `${NEW_PASSWORD}\n`);
  expect(stopped).toMatchObject({ code: 0, out: expect.not.stringContaining(NEW_PASSWORD) });
  const again = await restart();
  await logIn(again.url, "admin", NEW_PASSWORD);
});

test("reset-password refuses what it cannot do, in words, and leaves nothing behind", async () => {
  const { url, adminPassword } = await start();
  expect(await run("reset-password", [])).toMatchObject({ code: 2, err: expect.stringContaining("Usage") });
  expect(await run("reset-password", ["admin", NEW_PASSWORD])).toMatchObject({
    code: 2,
    err: expect.stringContaining("does not belong on a command line"),
  });
  expect(await run("reset-password", ["admim"])).toMatchObject({
    code: 1,
    err: expect.stringContaining('mean "admin"?'),
  });
  expect(await run("reset-password", ["admin", "--password-stdin"], "short\n")).toMatchObject({
    code: 1,
    err: expect.stringContaining("at least 12 characters"),
  });
  const nowhere = join(dataDir, "nowhere");
  const noServers = { DATABASE_URL: "", MONGODB_URL: "" };
  expect(await run("reset-password", ["admin"], "", { DATA_DIR: nowhere, ...noServers })).toMatchObject({
    code: 1,
    err: expect.stringContaining("DATA_DIR"),
  });
  await expect(stat(nowhere)).rejects.toThrow("ENOENT");
  await logIn(url, "admin", adminPassword);
});
