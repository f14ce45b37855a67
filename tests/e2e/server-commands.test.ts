import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { eventually } from "@toolyard/testing";
import { noMysql } from "@toolyard/testing/sql-stores.ts";
import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing/toolyard.ts";
import { createSealer } from "@toolyard/service-kit/identity/sealing.ts";
import mysql, { type RowDataPacket } from "mysql2/promise";
import { describe, expect, onTestFinished, test } from "vitest";

const CREATE = "mutation ($i: CreateToolInput!) { createTool(input: $i) { id } }";
const toolOf = (name: string) => ({
  slug: name,
  name,
  description: "findable words",
  launch: {
    remote: {
      url: "https://example.com/mcp",
      headers: [{ name: "Authorization", value: `Bearer secret of ${name}`, secret: true }],
    },
  },
});

describe.skipIf(noMysql !== null)(`commands on MySQL${noMysql === null ? "" : ` (skipped: ${noMysql})`}`, () => {
  test("migrate, reset-password and rotate-secrets work on the database of DATABASE_URL as on files", async () => {
    const database = await createScratchDatabase(process.env["TEST_MYSQL_URL"] ?? "");
    onTestFinished(() => database.drop());
    const dataDir = await mkdtemp(join(tmpdir(), "toolyard-commands-"));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
    const env = { DATABASE_URL: database.url };
    const start = (more: Record<string, string> = {}) => startToolyard({ dataDir, env: { ...env, ...more } });
    async function run(command: string, ...args: string[]) {
      const child = spawn("npm", ["run", "--silent", command, "--", ...args], {
        cwd: join(import.meta.dirname, "../.."),
        env: { PATH: process.env.PATH, HOME: dataDir, DATA_DIR: dataDir, ...env },
      });
      const said = { out: "", err: "" };
      child.stdout.on("data", (chunk: Buffer) => (said.out += chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => (said.err += chunk.toString()));
      return new Promise<{ code: number | null; out: string; err: string }>((done) =>
        child.once("close", (code) => done({ code, ...said })),
      );
    }
    const adminOf = async ({ url }: RunningToolyard, password: string) =>
      graphqlClient(url, await logIn(url, "admin", password));

    expect(await run("reset-password", "admin")).toMatchObject({
      code: 1,
      err: expect.stringMatching(/no accounts in the database of DATABASE_URL/),
    });
    const first = await start();
    const admin = await adminOf(first, first.adminPassword);
    for (const name of ["one", "two", "three"]) await admin.query(CREATE, { i: toolOf(name) });

    // While it runs: a password may be reset, all else waits for its end.
    const reset = await run("reset-password", "admin");
    expect(reset).toMatchObject({ code: 0, err: "" });
    const password = /shown this once: (\S+)/.exec(reset.out)?.[1] ?? "";
    await eventually("the session ends", async () => {
      const { errors } = await admin.send("{ me { id } }");
      return errors[0]?.extensions.code === "UNAUTHENTICATED";
    });
    const again = await adminOf(first, password);
    expect(await run("migrate", "status")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^tools:\n {2}0009-scheduled-jobs: done\n/m),
    });
    for (const [command, ...args] of [["rotate-secrets"], ["migrate", "down"], ["migrate", "up"]] as const)
      expect(await run(command, ...args)).toMatchObject({
        code: 1,
        err: expect.stringMatching(/Toolyard runs already/),
      });
    expect(await run("migrate", "up", "--while-it-runs")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^tools: nothing to do$/m),
    });
    await again.query(CREATE, { i: toolOf("four") });
    expect(await first.stop()).toBe(0);

    const old = (await readFile(join(dataDir, "secret-key"), "utf8")).trim();
    expect(await run("rotate-secrets")).toMatchObject({
      code: 0,
      err: "",
      out: expect.stringMatching(/all are sealed/),
    });
    const secretKey = (await readFile(join(dataDir, "secret-key"), "utf8")).trim();
    expect(secretKey).not.toBe(old);
    const sealer = createSealer({ secretKey });
    const server = await mysql.createConnection(database.url);
    const [versions] = await server.query<RowDataPacket[]>("SELECT id, launch FROM tool_versions");
    const opened = versions.map(({ id, launch }) =>
      sealer.open(/sealed:v1:[\w:-]+/.exec(String(launch))?.[0] ?? "", String(id)),
    );
    expect(opened.toSorted()).toEqual(["four", "one", "three", "two"].map((name) => `Bearer secret of ${name}`));
    expect(await run("rotate-secrets")).toMatchObject({
      code: 1,
      err: expect.stringMatching(/is in use: 1 connections, from/),
    });
    await server.end();

    expect(await run("migrate", "down", "identity")).toMatchObject({
      code: 1,
      err: expect.stringMatching(/0005-keys-of-tools is the first migration of identity .*\(users.*--drop-data/),
    });
    expect(await run("migrate", "up")).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^tools: nothing to do$/m),
    });
    // The file of the first password is gone; the fixture is told one.
    const last = await start({ ADMIN_PASSWORD: password });
    const { tools } = await (
      await adminOf(last, password)
    ).query<{ tools: { totalCount: number } }>("{ tools { totalCount } }");
    expect(tools.totalCount).toBe(4);
    expect(await last.stop()).toBe(0);
  });
});
