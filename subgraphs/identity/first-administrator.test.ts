import { mkdir, mkdtemp, readFile, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import { createDeferredGraphClient, createLogger } from "@toolyard/service-kit";
import { dataOf } from "@toolyard/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createStores } from "@toolyard/subgraph-host";
import { createIdentitySubgraph, parseIdentityConfig, type IdentitySubgraph } from "./index.ts";

let dataDir: string;
let open: IdentitySubgraph[] = [];
beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-first-administrator-"));
});
afterEach(async () => {
  for (const subgraph of open) await subgraph.close();
  open = [];
  await rm(dataDir, { recursive: true, force: true });
});

async function start(env: Record<string, string> = {}) {
  const logger = createLogger({ level: "silent", name: "identity" });
  const subgraph = await createIdentitySubgraph({
    config: parseIdentityConfig(env),
    logger,
    stores: createStores({ dataDir, bus: createInProcessBus(), logger }),
    graph: createDeferredGraphClient(),
    secretKeys: ["a secret key for tests, of enough characters"],
    dataDir,
  });
  open.push(subgraph);
  return subgraph;
}

async function login(subgraph: IdentitySubgraph, username: string, password: string) {
  const query = "mutation ($u: String!, $p: String!) { login(username: $u, password: $p) { user { role email } } }";
  return dataOf(subgraph, query, { u: username, p: password });
}

test("gets a generated password, shown once and kept in a file that only its owner reads", async () => {
  const subgraph = await start();
  const { created, username, generatedPassword, passwordFile } = await subgraph.ensureFirstAdministrator();
  expect({ created, username, passwordFile }).toEqual({
    created: true,
    username: "admin",
    passwordFile: join(dataDir, "admin-password"),
  });
  expect((await readFile(passwordFile ?? "", "utf8")).trim()).toBe(generatedPassword);
  expect((await stat(passwordFile ?? "")).mode & 0o777).toBe(0o600);
  expect(await login(subgraph, "admin", generatedPassword ?? "")).toEqual({
    login: { user: { role: "ADMIN", email: null } },
  });
  expect(await subgraph.ensureFirstAdministrator()).toEqual({
    created: false,
    userId: null,
    username: "admin",
    generatedPassword: null,
    passwordFile,
    notes: [],
  });
  expect((await readdir(dataDir)).filter((file) => file.startsWith("admin-password"))).toEqual(["admin-password"]);
});

test("gets ADMIN_USERNAME and ADMIN_PASSWORD, and then there is no file", async () => {
  const subgraph = await start({ ADMIN_USERNAME: "root", ADMIN_PASSWORD: "a sentence that only I know" });
  expect(await subgraph.ensureFirstAdministrator()).toEqual({
    created: true,
    userId: expect.any(String),
    username: "root",
    generatedPassword: null,
    passwordFile: null,
    notes: [],
  });
  await login(subgraph, "root", "a sentence that only I know");
  expect(await readdir(dataDir)).not.toContain("admin-password");
});

test("is one also when two processes start at once, and the file has that one's password", async () => {
  const [first, second] = [await start(), await start()];
  const made = await Promise.all([first.ensureFirstAdministrator(), second.ensureFirstAdministrator()]);
  expect(made.filter(({ created }) => created)).toHaveLength(1);
  const password = (await readFile(join(dataDir, "admin-password"), "utf8")).trim();
  expect(made.find(({ created }) => created)?.generatedPassword).toBe(password);
  await login(first, "admin", password);
});

test("survives a restart; nobody is made a second time", async () => {
  const { generatedPassword } = await (await start()).ensureFirstAdministrator();
  await open.pop()?.close();
  const restarted = await start();
  expect((await restarted.ensureFirstAdministrator()).created).toBe(false);
  await login(restarted, "admin", generatedPassword ?? "");
});

test("starts all the same where the file of the password cannot be read, and leaves it alone", async () => {
  await (await start({ ADMIN_PASSWORD: "a sentence that only I know" })).ensureFirstAdministrator();
  await mkdir(join(dataDir, "admin-password"));
  const { passwordFile } = await (await start()).ensureFirstAdministrator();
  expect(passwordFile).toBeNull();
  expect(await readdir(dataDir)).toContain("admin-password");
});
