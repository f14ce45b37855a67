import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
// oxlint-disable-next-line no-restricted-imports -- the pace of the load, for which nothing waits
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { newId } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing";
import { describeOnMongodb, ownMongodb, withWayToMongodb } from "@toolyard/testing/mongodb.ts";
import { graphqlClient, logIn, startToolyard } from "@toolyard/testing/toolyard.ts";
import { expect, onTestFinished, test } from "vitest";

const root = join(import.meta.dirname, "..", "..");
/** Tasks that are asked for while MongoDB is away, ten a second. `OUTAGE_SECONDS=60` for a long run. */
const LOAD = Number(process.env["OUTAGE_SECONDS"] ?? 10) * 10;
const PACE_MS = 100;

const UPLOAD = "mutation ($input: UploadDocumentInput!) { uploadDocument(input: $input) { id } }";
const SEARCH =
  "query ($query: String!) { searchDocuments(query: $query, first: 100) { totalCount edges { node { snippet document { id title } } } } }";
const CREATE = "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }";
const UPDATE = "mutation ($id: ID!, $input: UpdateToolInput!) { updateTool(id: $id, input: $input) { id } }";
const VERSIONS = `query ($id: ID!, $after: String) { tool(id: $id) { launch { ... on StdioLaunch { command } }
  versions(first: 100, after: $after) { pageInfo { hasNextPage endCursor } edges { node { number description } } } } }`;
const ANALYSE = "mutation ($input: FeasibilityInput!) { analyzeFeasibility(input: $input) { id } }";
const TASK = "query ($id: ID!) { task(id: $id) { status attempts result { ... on FeasibilityReport { feasible } } } }";

interface VersionsPage {
  tool: {
    versions: {
      pageInfo: { hasNextPage: boolean; endCursor: string | null };
      edges: { node: { description: string } }[];
    };
  };
}

interface Found {
  searchDocuments: {
    totalCount: number;
    edges: { node: { snippet: string; document: { id: string; title: string } } }[];
  };
}

/** Toolyard with its documents, versions and results behind a way to MongoDB, on a folder that stays over its starts. */
async function prepare(way: { url(database: string): string }) {
  const database = ownMongodb();
  onTestFinished(() => database.close());
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-e2e-"));
  onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
  const name = /\/([\w-]+)\?/.exec(database.url)?.[1] ?? newId();
  // Refusals are to be those for MongoDB alone.
  const env = { MONGODB_URL: way.url(name), RATE_LIMIT_ENABLED: "false" };
  const start = async (more: Record<string, string> = env) => {
    const toolyard = await startToolyard({ dataDir, env: more });
    onTestFinished(() => toolyard[Symbol.asyncDispose]());
    const client = graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", toolyard.adminPassword));
    return { toolyard, client };
  };
  return { dataDir, database, env, start };
}

async function healthOf({ url }: { url: string }) {
  // The test reads these of it.
  return (await (await fetch(`${url}/health`)).json()) as {
    status: string;
    services: Record<string, { status: string; detail?: string }>;
  };
}

describeOnMongodb("Toolyard with its documents in MongoDB", () => {
  test(
    "keeps them there and finds them after a restart; loses none that it acknowledged while MongoDB goes away and comes back, and says so meanwhile",
    () =>
      withWayToMongodb(async (way) => {
        const { dataDir, start } = await prepare(way);
        const first = await start();
        await first.client.query(UPLOAD, {
          input: { title: "Storms", content: "Sailors generate reports about storms." },
        });
        expect((await first.client.query<Found>(SEARCH, { query: "genera* storm" })).searchDocuments).toMatchObject({
          totalCount: 1,
          edges: [{ node: { snippet: expect.stringContaining("⟦storms⟧"), document: { title: "Storms" } } }],
        });
        expect(existsSync(join(dataDir, "knowledge.sqlite"))).toBe(false);
        expect((await healthOf(first.toolyard)).services["mongodb"]).toMatchObject({ status: "healthy" });
        expect(await first.toolyard.stop()).toBe(0);

        const { toolyard, client } = await start();
        const acknowledged = new Set<string>();
        const refusals: unknown[] = [];
        let writes = true;
        const writing = (async () => {
          while (writes) {
            const { data, errors } = await client.send<{ uploadDocument: { id: string } } | null>(UPLOAD, {
              input: { title: "Load", content: "underload" },
            });
            if (data?.uploadDocument) acknowledged.add(data.uploadDocument.id);
            else refusals.push(errors[0]?.extensions.code);
          }
        })();
        try {
          expect((await client.query<Found>(SEARCH, { query: "storms" })).searchDocuments.totalCount).toBe(1);
          await eventually("documents that are acknowledged", () => acknowledged.size > 2);
          await way.close();
          await eventually("a refusal", () => refusals.length > 0);
          const { errors } = await client.send(SEARCH, { query: "storms" });
          expect(errors).toMatchObject([{ extensions: { code: "UPSTREAM_UNAVAILABLE" } }]);
          expect(await healthOf(toolyard)).toMatchObject({
            status: "degraded",
            services: {
              mongodb: { status: "unhealthy", detail: expect.stringContaining("MONGODB_URL") },
              knowledge: { status: "unhealthy" },
            },
          });
          expect(await client.query("{ tools { totalCount } }")).toEqual({ tools: { totalCount: 0 } });
          const before = acknowledged.size;
          await way.open();
          await eventually("documents that are acknowledged again", () => acknowledged.size > before);
        } finally {
          writes = false;
          await writing;
        }
        expect(new Set(refusals), toolyard.output()).toEqual(new Set(["UPSTREAM_UNAVAILABLE"]));
        const { searchDocuments } = await client.query<Found>(SEARCH, { query: "underload" });
        // One whose commit was under way may be there though it was not acknowledged.
        expect(searchDocuments.totalCount).toBeGreaterThanOrEqual(acknowledged.size);
        for (const id of acknowledged)
          expect(await client.query("query ($id: ID!) { document(id: $id) { content } }", { id })).toEqual({
            document: { content: "underload" },
          });
        expect(toolyard.output()).not.toMatch(/mongodb:\/\//);
        expect(await toolyard.stop()).toBe(0);
      }),
    180_000,
  );

  test(
    "loses no version and no task that it acknowledged while MongoDB goes away and comes back",
    () =>
      withWayToMongodb(async (way) => {
        const { start } = await prepare(way);
        const { toolyard, client } = await start();
        const { createTool } = await client.query<{ createTool: { id: string } }>(CREATE, {
          input: { name: "Weather", description: "", launch: { stdio: { command: "node" } } },
        });
        const { id } = createTool;
        const versions = new Set<string>(["Tells version 0."]);
        await client.query(UPDATE, { id, input: { description: "Tells version 0." } });
        const refusals: unknown[] = [];
        let writes = true;
        const writing = (async () => {
          for (let n = 1; writes; n += 1) {
            const description = `Tells version ${n}.`;
            const { data, errors } = await client.send<{ updateTool: unknown } | null>(UPDATE, {
              id,
              input: { description },
            });
            if (data?.updateTool) versions.add(description);
            else refusals.push(errors[0]?.extensions.code);
            await pause(PACE_MS);
          }
        })();
        const tasks: string[] = [];
        const analyse = async () => {
          // Of no tool, whose launch it would read.
          const input = { description: "A server that tells the weather.", requirements: ["tells it in words"] };
          const { analyzeFeasibility } = await client.query<{ analyzeFeasibility: { id: string } }>(ANALYSE, { input });
          tasks.push(analyzeFeasibility.id);
        };
        try {
          await analyse();
          await eventually("versions that are acknowledged", () => versions.size > 3);
          await way.close();
          await eventually("a refusal", () => refusals.length > 0);
          for (let n = 0; n < LOAD; n += 1) {
            await analyse();
            await pause(PACE_MS);
          }
          // What MongoDB does not have goes on; what it has is said to be away.
          expect(await client.query("{ tools { edges { node { name } } } tasks { totalCount } }")).toMatchObject({
            tools: { edges: [{ node: { name: "Weather" } }] },
            tasks: { totalCount: tasks.length },
          });
          const { errors } = await client.send(VERSIONS, { id });
          expect(errors[0]).toMatchObject({ extensions: { code: "UPSTREAM_UNAVAILABLE" } });
          expect((await healthOf(toolyard)).services).toMatchObject({
            mongodb: { status: "unhealthy" },
            tools: { status: "unhealthy" },
          });
          const before = versions.size;
          await way.open();
          await eventually("versions that are acknowledged again", () => versions.size > before);
        } finally {
          writes = false;
          await writing;
        }
        expect(new Set(refusals), toolyard.output()).toEqual(new Set(["UPSTREAM_UNAVAILABLE"]));
        const seen = new Set<string>();
        for (let after: string | null = null, more = true; more;) {
          const { tool }: VersionsPage = await client.query<VersionsPage>(VERSIONS, { id, after });
          for (const { node } of tool.versions.edges) seen.add(node.description);
          ({ hasNextPage: more, endCursor: after } = tool.versions.pageInfo);
        }
        expect([...versions].filter((description) => !seen.has(description))).toEqual([]);
        for (const task of tasks)
          await eventually("the task's result", async () => {
            const found = await client.query<{ task: { status: string; result: unknown } }>(TASK, { id: task });
            expect(found.task.status).not.toBe("FAILED");
            return found.task.status === "SUCCEEDED" && found.task.result !== null;
          });
        expect(await toolyard.stop()).toBe(0);
      }),
    240_000,
  );

  test(
    "seals the secrets of versions there with another key; starts without it, or on an empty one, no more than it leaves documents behind",
    () =>
      withWayToMongodb(async (way) => {
        const { dataDir, database, env, start } = await prepare(way);
        const first = await start({ RATE_LIMIT_ENABLED: "false" });
        const { createTool: earlier } = await first.client.query<{ createTool: { id: string } }>(CREATE, {
          input: { name: "Earlier", description: "", launch: { stdio: { command: "earlier" } } },
        });
        const { uploadDocument } = await first.client.query<{ uploadDocument: { id: string } }>(UPLOAD, {
          input: { title: "Storms", content: "Sailors tell of storms." },
        });
        await first.toolyard.stop();
        await expect(start()).rejects.toThrow(/exit code 78[^]*MONGODB_URL: knowledge\.sqlite.*npm run migrate:data/);

        const again = await start({ RATE_LIMIT_ENABLED: "false" });
        await again.client.query("mutation ($id: ID!) { deleteDocument(id: $id) }", { id: uploadDocument.id });
        await again.toolyard.stop();
        const second = await start();
        // Versions from before are in their rows.
        expect(await second.client.query(VERSIONS, { id: earlier.id })).toMatchObject({
          tool: { launch: { command: "earlier" } },
        });
        const { createTool } = await second.client.query<{ createTool: { id: string } }>(CREATE, {
          input: {
            name: "Sealed",
            description: "",
            launch: { stdio: { command: "node", env: [{ name: "TOKEN", value: "hunter2", secret: true }] } },
          },
        });
        await second.toolyard.stop();
        // Beside this process, which has the way to MongoDB.
        const rotated = await promisify(execFile)("npm", ["run", "--silent", "rotate-secrets"], {
          cwd: root,
          env: { ...process.env, DATA_DIR: dataDir, ...env },
        });
        expect(rotated.stdout).toContain("all are sealed with the new key");

        const third = await start();
        // It opens what the earlier version has.
        const update = {
          id: createTool.id,
          input: { launch: { stdio: { command: "another", env: [{ name: "TOKEN", secret: true }] } } },
        };
        await third.client.query(UPDATE, update);
        await third.client.query("mutation ($id: ID!) { revertTool(id: $id, versionNumber: 1) { id } }", {
          id: createTool.id,
        });
        expect(await third.client.query(VERSIONS, { id: createTool.id })).toMatchObject({
          tool: { launch: { command: "node" } },
        });
        await third.toolyard.stop();

        await expect(start({ RATE_LIMIT_ENABLED: "false" })).rejects.toThrow(
          /exit code 78[^]*MONGODB_URL: it is not set/,
        );
        // Nor is an empty one taken for a new one, also where the installation is from before there were marks.
        const empty = { ...env, MONGODB_URL: way.url(newId()) };
        const refused = /exit code 78[^]*MONGODB_URL: the database that it names has none of the contents that/;
        await expect(start(empty)).rejects.toThrow(refused);
        for (const mark of ["installation-id", "servers"]) await rm(join(dataDir, mark), { recursive: true });
        await expect(start(empty)).rejects.toThrow(refused);
        await (await database.open()).connection.collection("toolyard_installation").drop();
        const last = await start();
        expect(await last.client.query(VERSIONS, { id: createTool.id })).toMatchObject({
          tool: { launch: { command: "node" } },
        });
        await last.toolyard.stop();
      }),
    240_000,
  );
});
