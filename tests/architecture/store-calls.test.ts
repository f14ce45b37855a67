import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MongodbSettings } from "@toolyard/service-kit/process/process-config.ts";
import { eventually, statementsOf } from "@toolyard/testing";
import { describeOnMongodb, ownMongodb } from "@toolyard/testing/mongodb.ts";
import { buildSchema } from "graphql";
import mongoose from "mongoose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fill } from "./fixtures/filling.ts";
import { openInstallation } from "./fixtures/installation.ts";
import { pagePaths } from "./fixtures/paths.ts";

const FEW = 3;
const MANY = 20;
const schema = buildSchema(await readFile(join(import.meta.dirname, "../../schema/api.graphql"), "utf8"));
const paths = pagePaths(schema);

/** An installation with so many tools and what belongs to them, in which nothing runs but what is asked of it. */
async function openFilled(count: number, mongodb: MongodbSettings | null) {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-store-calls-"));
  {
    await using filled = await openInstallation({ dataDir, mongodb, start: true });
    await fill(filled, count);
    await eventually("all tasks have ended", async () => {
      const { queued, running } = await filled.run<Record<string, { totalCount: number }>>(
        "{ queued: tasks(status: QUEUED) { totalCount } running: tasks(status: RUNNING) { totalCount } }",
      );
      return queued?.totalCount === 0 && running?.totalCount === 0;
    });
  }
  const installation = await openInstallation({ dataDir, mongodb, start: false });
  return {
    installation,
    async close() {
      await installation[Symbol.asyncDispose]();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** What each page whose calls grow with its nodes asks of the stores. */
async function growing(
  calls: (query: string, first: number) => Promise<string[]>,
  nodes: { few: number; many: number },
) {
  const found: Record<string, string[]> = {};
  for (const { name, query } of paths) {
    const few = await calls(query, nodes.few);
    let many = await calls(query, nodes.many);
    // What is kept for seconds, such as the hosts, may have been read anew just then.
    if (many.length > few.length) many = await calls(query, nodes.many);
    if (many.length > few.length) found[`${name}: ${few.length} → ${many.length}`] = [...new Set(many)];
  }
  return found;
}

describe("the graph on SQLite", () => {
  let filled: Awaited<ReturnType<typeof openFilled>> | undefined;
  beforeAll(async () => {
    filled = await openFilled(MANY, null);
  });
  afterAll(() => filled?.close());

  async function callsOf(query: string, first: number): Promise<string[]> {
    // The plan is made by the first, which asks no store.
    await filled?.installation.run(query, { first });
    return (await statementsOf(async () => filled?.installation.run(query, { first }))).map(({ sql }) => sql);
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

  test("a page takes as many store calls for many nodes as for few, whatever is selected below them", async () => {
    expect(await growing(callsOf, { few: FEW, many: MANY })).toEqual({});
  });

  test("a page of tools with authors, versions and deployments takes at most ten store calls", async () => {
    const query = `query ($first: Int) { tools(first: $first) { totalCount edges { node { id name author { id username }
    currentVersion { id number digest createdBy { id } } versions(first: 3) { edges { node { id number } } }
    deployments(first: 5) { edges { node { id name status health deployedBy { username } replicas { id phase } } } } } } } }`;
    const calls = await callsOf(query, MANY);
    expect(calls.length, calls.join("\n")).toBeLessThanOrEqual(10);
    expect((await callsOf(query, FEW)).length).toBe(calls.length);
  });
});

describeOnMongodb("the graph with a MongoDB", () => {
  const NODES = { few: 2, many: 5 };
  const database = ownMongodb();
  let filled: Awaited<ReturnType<typeof openFilled>> | undefined;
  beforeAll(async () => {
    filled = await openFilled(NODES.many, { url: database.url, ca: null });
  });
  afterAll(async () => {
    mongoose.set("debug", false);
    await filled?.close();
    await database.close();
  });

  test("asks as many operations of it for many nodes as for few", async () => {
    const seen = new Set<string>();
    const callsOf = async (query: string, first: number) => {
      const calls: string[] = [];
      mongoose.set("debug", (collection: string, method: string) => void calls.push(`${collection}.${method}`));
      await filled?.installation.run(query, { first });
      mongoose.set("debug", false);
      for (const call of calls) seen.add(call);
      return calls;
    };
    expect(await growing(callsOf, NODES)).toEqual({});
    // All that is kept there was read.
    const collections = [...seen].map((call) => call.split(".")[0]);
    for (const one of ["tool_versions", "task_results", "knowledge_documents", "knowledge_contents"])
      expect(collections).toContain(one);
  });
});
