import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, statementsOf } from "@toolyard/testing";
import { buildSchema } from "graphql";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fill } from "./fixtures/filling.ts";
import { openInstallation, type Installation } from "./fixtures/installation.ts";
import { pagePaths } from "./fixtures/paths.ts";

const FEW = 3;
const MANY = 20;
const schema = buildSchema(await readFile(join(import.meta.dirname, "../../schema/api.graphql"), "utf8"));
const paths = pagePaths(schema);

let dataDir: string;
let installation: Installation | undefined;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-store-calls-"));
  {
    await using filled = await openInstallation({ dataDir, start: true });
    await fill(filled, MANY);
    await eventually("all tasks have ended", async () => {
      const { queued, running } = await filled.run<Record<string, { totalCount: number }>>(
        "{ queued: tasks(status: QUEUED) { totalCount } running: tasks(status: RUNNING) { totalCount } }",
      );
      return queued?.totalCount === 0 && running?.totalCount === 0;
    });
  }
  // Nothing runs in this one but what is asked of it.
  installation = await openInstallation({ dataDir, start: false });
}, 120_000);
afterAll(async () => {
  await installation?.[Symbol.asyncDispose]();
  await rm(dataDir, { recursive: true, force: true });
});

async function callsOf(query: string, first: number): Promise<string[]> {
  // The plan is made by the first, which asks no store.
  await installation?.run(query, { first });
  return (await statementsOf(async () => installation?.run(query, { first }))).map(({ sql }) => sql);
}

test("the graph has ways on from each of its pages", () => {
  const names = paths.map(({ name }) => name);
  for (const page of [
    "tools",
    "deployments",
    "documents",
    "tasks",
    "users",
    "users.apiKeys",
    "tools.deployments.events",
  ])
    expect(names).toContain(page);
});

test(
  "a page takes as many store calls for many nodes as for few, whatever is selected below them",
  { timeout: 300_000 },
  async () => {
    const growing: Record<string, string[]> = {};
    for (const { name, query } of paths) {
      const few = await callsOf(query, FEW);
      const many = await callsOf(query, MANY);
      if (many.length > few.length) growing[`${name}: ${few.length} → ${many.length}`] = [...new Set(many)];
    }
    expect(growing).toEqual({});
  },
);

test("a page of tools with authors, versions and deployments takes at most ten store calls", async () => {
  const query = `query ($first: Int) { tools(first: $first) { totalCount edges { node { id name author { id username }
    currentVersion { id number digest createdBy { id } } versions(first: 3) { edges { node { id number } } }
    deployments(first: 5) { edges { node { id name status health deployedBy { username } replicas { id phase } } } } } } } }`;
  const calls = await callsOf(query, MANY);
  expect(calls.length, calls.join("\n")).toBeLessThanOrEqual(10);
  expect((await callsOf(query, FEW)).length).toBe(calls.length);
});
