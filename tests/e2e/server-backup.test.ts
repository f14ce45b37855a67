import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { eventually } from "@toolyard/testing";
import { noMysql } from "@toolyard/testing/sql-stores.ts";
import { ownMongodb } from "@toolyard/testing/mongodb.ts";
import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing/toolyard.ts";
import { expect, onTestFinished, test } from "vitest";

const noServers = noMysql ?? (process.env["TEST_MONGODB_URL"] === undefined ? "TEST_MONGODB_URL is not set" : null);
const PASSWORD = "a few words of my own";
const CREATE = "mutation ($i: CreateToolInput!) { createTool(input: $i) { id } }";
const ALL = `{
  tools(first: 100, search: "findable") { totalCount edges { node { slug description versions { edges { node { digest changeSummary launch { __typename } } } } } } }
  documents(first: 100) { edges { node { title content tags createdAt } } }
  searchDocuments(query: "genera*") { totalCount edges { node { snippet } } }
  users { edges { node { id username } } }
  toolLog { latestSequence }
}`;

test.skipIf(noServers !== null)(
  `a backup that is made of servers while they are written to is restored to files, and to other servers${noServers === null ? "" : ` (skipped: ${noServers})`}`,
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "toolyard-server-backup-"));
    onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
    const servers = async () => {
      const [database, mongodb] = [await createScratchDatabase(process.env["TEST_MYSQL_URL"] ?? ""), ownMongodb()];
      onTestFinished(async () => {
        await database.drop();
        await mongodb.close();
      });
      return { DATABASE_URL: database.url, MONGODB_URL: mongodb.url };
    };
    /** On files as one process, on servers as TOOLYARD_MODE says. */
    const start = (name: string, env: Record<string, string> = {}) =>
      startToolyard({
        dataDir: join(folder, name),
        ...(!("DATABASE_URL" in env) && { distributed: false }),
        env: { ADMIN_PASSWORD: PASSWORD, RATE_LIMIT_ENABLED: "false", ...env },
      });
    async function run(script: string, dataDir: string, env: Record<string, string>) {
      const child = spawn(process.execPath, [`scripts/${script}.ts`, join(folder, "backup")], {
        cwd: join(import.meta.dirname, "../.."),
        env: { PATH: process.env.PATH, HOME: folder, DATA_DIR: join(folder, dataDir), ...env },
      });
      let said = "";
      for (const stream of [child.stdout, child.stderr])
        stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
      return new Promise<{ code: number | null; said: string }>((done) =>
        child.once("close", (code) => done({ code, said })),
      );
    }
    const adminOf = async ({ url }: RunningToolyard) => graphqlClient(url, await logIn(url, "admin", PASSWORD));
    const input = (name: string) => ({
      slug: name,
      name,
      description: `findable words of ${name}`,
      launch: { remote: { url: "https://example.com/mcp", headers: [{ name: "X", value: name, secret: true }] } },
    });

    const first = await servers();
    const original = await start("original", first);
    const admin = await adminOf(original);
    for (const name of ["one", "two"]) await admin.query(CREATE, { i: input(name) });
    await admin.query("mutation ($i: UploadDocumentInput!) { uploadDocument(input: $i) { id } }", {
      i: { title: "Storms", content: "Sailors generate reports.", tags: ["b", "a"] },
    });
    const before = await admin.query(ALL);
    let written = 0;
    let isOver = false;
    const writing = (async () => {
      for (; !isOver; written += 1) await admin.query(CREATE, { i: { ...input(`w${written}`), description: "other" } });
    })();
    await eventually("writes", () => written > 2);
    expect(await run("backup", "original", { DATABASE_URL: first.DATABASE_URL })).toMatchObject({
      code: 1,
      said: expect.stringMatching(/MONGODB_URL: it is not set.*To go on without MongoDB, make a backup with it/),
    });
    const backup = await run("backup", "original", first);
    isOver = true;
    await writing;
    expect(backup).toMatchObject({ code: 0, said: expect.stringMatching(/acknowledged before/) });
    await original.stop();
    expect(await readdir(join(folder, "backup"))).toEqual(
      expect.arrayContaining(["manifest.json", "secret-key", "knowledge.sqlite", "tools.sqlite", "tasks.sqlite"]),
    );

    const same = async (running: RunningToolyard) => {
      const client = await adminOf(running);
      const after = await client.query(ALL);
      expect(after).toMatchObject({ ...before, toolLog: expect.anything() });
      await client.query(CREATE, { i: input("later") });
      await running.stop();
    };
    expect(await run("restore", "files", {})).toMatchObject({ code: 0 });
    await same(await start("files"));

    expect(await run("restore", "others", first)).toMatchObject({
      code: 1,
      said: expect.stringMatching(/has data of its own/),
    });
    const second = await servers();
    // One that belongs to the original is left alone, whatever would come to it.
    for (const half of [{ DATABASE_URL: second.DATABASE_URL }, {}])
      expect(await run("restore", "others", { ...half, MONGODB_URL: first.MONGODB_URL })).toMatchObject({
        code: 1,
        said: expect.stringMatching(/belongs to another installation/),
      });
    expect(await run("restore", "others", second)).toMatchObject({
      code: 0,
      said: expect.stringMatching(/was compared/),
    });
    expect((await readdir(join(folder, "others"))).filter((name) => name.endsWith(".sqlite"))).toEqual([]);
    await same(await start("others", second));
    await expect(start("others", { ...second, MONGODB_URL: first.MONGODB_URL })).rejects.toThrow(
      /exit code 78[^]*belongs to another installation/,
    );
    await expect(start("others", { MONGODB_URL: second.MONGODB_URL })).rejects.toThrow(
      /exit code 78[^]*DATABASE_URL: it is not set/,
    );
    await same(await start("original", first));
  },
  240_000,
);
