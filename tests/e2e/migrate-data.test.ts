import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdtemp, readFile, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { connectMcp, eventually } from "@toolyard/testing";
import { noMysql } from "@toolyard/testing/sql-stores.ts";
import { ownMongodb } from "@toolyard/testing/mongodb.ts";
import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing/toolyard.ts";
import mysql from "mysql2/promise";
import { expect, onTestFinished, test } from "vitest";
import type { Sizes } from "../bench/scale/fill.ts";
import { HOT, toolId } from "../bench/scale/names.ts";

const root = join(import.meta.dirname, "../..");
const none: Sizes = { tools: 0, versions: 0, users: 0, tasks: 0, ended: 0, events: 0, records: 0, documents: 0 };
const some: Sizes = {
  tools: 250,
  versions: 20,
  users: 100,
  tasks: 120,
  ended: 60,
  events: 300,
  records: 5_000,
  documents: 40,
};
const mongodbUrl = process.env["TEST_MONGODB_URL"];
const noServers = noMysql ?? (mongodbUrl === undefined ? "TEST_MONGODB_URL is not set" : null);

/** In a process of its own: libsql keeps files open in one that has closed them, which `migrate:data` would find in use. */
async function fillElsewhere(dataDir: string): Promise<void> {
  const module = JSON.stringify(new URL("../bench/scale/fill.ts", import.meta.url).href);
  const code = `const { fill } = await import(${module}); await fill(...${JSON.stringify([dataDir, none, some])});`;
  await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", code], { cwd: root });
}

/** Everything that a user may ask for, and how it is searched and paged. */
const QUERIES = [
  "{ me { id username role apiKeys(first: 100) { id name scopes } } }",
  "{ users(first: 100) { totalCount edges { node { id username email role createdAt disabled } } } }",
  `{ tools(first: 100) { totalCount edges { cursor node { id slug name description tags createdAt updatedAt author { username }
     currentVersion { id number digest } versions(first: 3) { totalCount edges { node { id number launch { __typename } digest createdAt } } } } } } }`,
  '{ tools(search: "tool 1", first: 50) { totalCount edges { node { slug } } } }',
  '{ tool(slug: "odd") { name description tags versions { edges { node { number changeSummary launch { __typename ... on RemoteLaunch { url headers { name secret } } } } } } } }',
  `{ documents(first: 100) { totalCount edges { node { id title content contentType size digest tags metadata createdAt updatedAt tool { slug } } } } }`,
  '{ searchDocuments(query: "storms genera*", first: 20) { totalCount edges { node { snippet document { id } } } } }',
  `{ tasks(first: 100) { totalCount edges { node { id kind status progress message attempts createdAt startedAt finishedAt error { code message } result { __typename } } } } }`,
  `{ deployments(first: 100) { totalCount edges { node { id name status health environment digest versionNumber createdAt deployedAt stoppedAt replicas { id restarts startedAt } } } } }`,
  // Of the tool that nobody calls meanwhile: usage comes a moment after its calls.
  `{ usageRecords(toolId: "${toolId(HOT)}", first: 100) { totalCount edges { node { at toolId deploymentId endpoint method mcpMethod mcpTool statusCode mcpFailure responseTimeMs userId } } } }`,
  `{ tool(id: "${toolId(HOT)}") { usage(window: MONTH) { byMcpTool { mcpTool } } } }`,
  "{ toolLog { oldestSequence latestSequence } taskLog { oldestSequence latestSequence } deploymentEventLog { oldestSequence } }",
];

async function answersOf({ url }: RunningToolyard, password: string): Promise<unknown[]> {
  const client = graphqlClient(url, await logIn(url, "admin", password));
  return Promise.all(QUERIES.map((query) => client.query(query)));
}

async function callSample({ url, proxyUrl }: RunningToolyard, password: string): Promise<string> {
  const token = await logIn(url, "admin", password);
  return eventually("the sample answers", async () => {
    const mcp = await connectMcp("v1", `${proxyUrl}/mcp/everything/v1/mcp`, token);
    try {
      return await mcp.callTool("echo", { message: "hello" });
    } finally {
      await mcp.close();
    }
  });
}

test.skipIf(noServers !== null)(
  `an embedded installation is moved to MySQL and MongoDB, however often that is killed; the servers then show the same graph, and its replicas go on${noServers === null ? "" : ` (skipped: ${noServers})`}`,
  async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "toolyard-move-"));
    const database = await createScratchDatabase(process.env["TEST_MYSQL_URL"] ?? "");
    const mongodb = ownMongodb();
    onTestFinished(async () => {
      await database.drop();
      await mongodb.close();
      await rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    });
    const servers = { DATABASE_URL: database.url, MONGODB_URL: mongodb.url };
    const password = "a few words of my own";
    /** On files as one process, on servers as TOOLYARD_MODE says. */
    const start = (env: Record<string, string> = {}) =>
      startToolyard({
        dataDir,
        ...(env !== servers && { distributed: false }),
        env: {
          SAMPLE: "true",
          ADMIN_PASSWORD: password,
          REPLICAS_ON_EXIT: "keep",
          RETENTION_DAYS: "3650",
          RATE_LIMIT_ENABLED: "false",
          ...env,
        },
      });
    const begin = (env: Record<string, string>, ...args: string[]): ChildProcess =>
      spawn(process.execPath, [join(root, "scripts/migrate-data.ts"), ...args], {
        cwd: root,
        env: { PATH: process.env.PATH, HOME: dataDir, DATA_DIR: dataDir, ...env },
        stdio: ["ignore", "pipe", "pipe"],
      });
    async function move(env: Record<string, string>, ...args: string[]) {
      const child = begin(env, ...args);
      const said = { out: "", err: "" };
      child.stdout?.on("data", (chunk: Buffer) => (said.out += chunk.toString()));
      child.stderr?.on("data", (chunk: Buffer) => (said.err += chunk.toString()));
      const [code] = (await once(child, "close")) as [number | null];
      return { code, ...said };
    }

    const first = await start();
    const admin = graphqlClient(first.url, await logIn(first.url, "admin", password));
    await callSample(first, password);
    await admin.query("mutation ($i: CreateToolInput!) { createTool(input: $i) { id } }", {
      i: {
        slug: "odd",
        name: "Ünïcode 🙂 ' \" \\ %",
        description: "line\nline\ttab end ",
        tags: ["a", "A", "ä"],
        launch: { remote: { url: "https://example.com/mcp", headers: [{ name: "X", value: "sealed", secret: true }] } },
      },
    });
    await admin.query("mutation ($i: UploadDocumentInput!) { uploadDocument(input: $i) { id } }", {
      i: {
        title: "Storms",
        content: "Sailors generate reports about storms.",
        tags: ["x"],
        metadata: { z: 1, a: [0.1, 1e300] },
      },
    });
    expect(await move(servers)).toMatchObject({ code: 1, err: expect.stringMatching(/Toolyard runs already/) });
    expect(await first.stop()).toBe(0);
    const [users, earlier] = [join(dataDir, "identity.sqlite"), join(dataDir, "earlier")];
    await copyFile(users, earlier);
    await fillElsewhere(dataDir);

    const embedded = await start();
    const before = await answersOf(embedded, password);
    // What was written since is not taken for something else's: the sessions of this login.
    const foretold = await move(servers, "--dry-run");
    expect(foretold).toMatchObject({ code: 0, err: "", out: expect.stringMatching(/^tools\.tools: 252 rows$/m) });
    expect(await embedded.stop()).toBe(0);

    // With servers that have none of it, nothing starts.
    await expect(start(servers)).rejects.toThrow(/npm run migrate:data/);

    // A line begins each part, when it is copied and when it is compared. A run may end before its kill reaches it.
    let isMoved = false;
    for (let kill = 0; kill < 4 && !isMoved; kill += 1) {
      const lines = kill === 0 ? 1 : 1 + Math.floor(Math.random() * 30);
      const child = begin(servers);
      let said = "";
      child.stderr?.on("data", (chunk: Buffer) => {
        said += chunk.toString();
        if (said.split("\n").length > lines) child.kill("SIGKILL");
      });
      await once(child, "close");
      isMoved = child.exitCode === 0;
      if (!isMoved) expect(child.signalCode, said).toBe("SIGKILL");
      if (!isMoved && kill === 0) await expect(start(servers)).rejects.toThrow(/npm run migrate:data/);
    }
    if (!isMoved)
      expect(await move(servers)).toMatchObject({ code: 0, out: expect.stringMatching(/compared there, row by row/) });
    expect((await readdir(dataDir)).filter((name) => name.endsWith(".sqlite"))).toEqual([]);
    expect((await readdir(join(dataDir, "before-servers"))).toSorted()).toEqual(
      ["deployments", "idempotency", "identity", "knowledge", "tasks", "tools"].map((name) => `${name}.sqlite`),
    );
    expect(await move(servers)).toMatchObject({ code: 1, err: expect.stringMatching(/Nothing is left to copy/) });

    // Files of a start without the servers are no part of that: neither taken for it, nor put in its place.
    await expect(start()).rejects.toThrow(
      /exit code 78[^]*(DATABASE|MONGODB)_URL: it is not set, and the data of \w+ was moved/,
    );
    expect((await readdir(dataDir)).filter((name) => name.endsWith(".sqlite"))).toEqual([]);
    const aside = join(dataDir, "before-servers", "identity.sqlite");
    const kept = await readFile(aside);
    await copyFile(join(dataDir, "before-servers", "tasks.sqlite"), users);
    expect(await move(servers)).toEqual({
      code: 1,
      out: "",
      err: expect.stringMatching(
        /copied to servers before, and identity\.sqlite .*before-servers\. Nothing was copied or moved/,
      ),
    });
    expect(await readFile(aside)).toEqual(kept);
    await rm(users);
    // Nor are they where what was put aside is gone.
    const elsewhere = join(dataDir, "elsewhere");
    await rename(join(dataDir, "before-servers"), elsewhere);
    await rename(join(dataDir, "copy-id"), join(dataDir, "another"));
    await expect(start()).rejects.toThrow(/exit code 78[^]*: it is not set, and the data of \w+ is on a server/);
    await rename(join(dataDir, "another"), join(dataDir, "copy-id"));
    await copyFile(earlier, users);
    expect(await move(servers)).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringMatching(/the files have something else: identity\.\w+ has/),
    });
    await rm(users);
    await rename(elsewhere, join(dataDir, "before-servers"));

    // Versions and results are where new ones go.
    const rows = await mysql.createConnection(database.url);
    const [[left]] = await rows.query<mysql.RowDataPacket[]>(
      "SELECT (SELECT COUNT(*) FROM tool_versions WHERE contentId IS NULL) versions, (SELECT COUNT(*) FROM tasks WHERE result IS NOT NULL AND finishedAt IS NOT NULL) results",
    );
    await rows.end();
    expect(left).toEqual({ versions: 0, results: 0 });

    const moved = await start(servers);
    expect(await answersOf(moved, password)).toEqual(before);
    expect(await callSample(moved, password)).toContain("hello");
    // Sequences go on where they were.
    const after = graphqlClient(moved.url, await logIn(moved.url, "admin", password));
    const LATEST = "{ toolLog { latestSequence } }";
    const { toolLog } = await after.query<{ toolLog: { latestSequence: string } }>(LATEST);
    await after.query('mutation { updateTool(id: "odd", input: { description: "another" }) { id } }');
    const { toolLog: next } = await after.query<{ toolLog: { latestSequence: string } }>(LATEST);
    expect(Number(next.latestSequence)).toBe(Number(toolLog.latestSequence) + 1);
    await after.query('mutation { stopDeployment(id: "everything") { id } }');
    expect(await moved.stop()).toBe(0);
  },
  240_000,
);
