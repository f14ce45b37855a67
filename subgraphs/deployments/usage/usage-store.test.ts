import { statementsOf } from "@toolyard/testing/statements.ts";
import { expect, test } from "vitest";
import { usageBatchEntity, usageBucketEntity, usageRecordEntity } from "../database.ts";
import { NOON, anybody, call, createUsageFixture, type UsageFixture } from "./usage-fixture.ts";
import { MAX_NAMES, OTHER_TOOLS } from "./usage-names.sql.ts";
import { DAY_MS } from "./usage-window.ts";

const HOUR = 60 * 60_000;
const invented = (count: number, more = {}) =>
  Array.from({ length: count }, (_, n) => call({ mcpTool: `invented-${n}`, mcpToolKnown: false, ...more }));
const namesOf = async (fixture: UsageFixture, window: "HOUR" | "DAY" | "MONTH" = "MONTH") =>
  Object.fromEntries((await fixture.usageOf(window)).byMcpTool.map(({ mcpTool, calls }) => [mcpTool, calls]));

test("names that the server is not known to have are counted together, and kept with each call", async () => {
  await using fixture = await createUsageFixture();
  await fixture.record([call(), ...invented(600), call({ mcpTool: OTHER_TOOLS, mcpToolKnown: false })]);
  await fixture.record(invented(600));
  for (const window of ["HOUR", "DAY", "MONTH"] as const)
    expect(await namesOf(fixture, window)).toEqual({ forecast: 1, [OTHER_TOOLS]: 1_201 });
  // Two names, for minutes, hours and days.
  expect(await fixture.database.read.countBy(usageBucketEntity, {})).toBe(6);
  expect(await fixture.database.read.countBy(usageRecordEntity, { mcpTool: "invented-7" })).toBe(2);
});

test("a name once known stays counted by itself through failures, also of the day after, and no longer", async () => {
  await using fixture = await createUsageFixture();
  const fails = { mcpToolKnown: false, mcpFailure: "TOOL_ERROR" };
  await fixture.record([call({ ...fails })]);
  await fixture.record([call()]);
  await fixture.record([call({ ...fails }), call({ ...fails, deploymentId: "deployment-2" })]);
  expect(await namesOf(fixture)).toEqual({ forecast: 2, [OTHER_TOOLS]: 2 });
  fixture.now += DAY_MS;
  await fixture.record([call({ ...fails, at: fixture.now })]);
  expect(await namesOf(fixture)).toEqual({ forecast: 3, [OTHER_TOOLS]: 2 });
  fixture.now += 2 * DAY_MS;
  await fixture.record([call({ ...fails, at: fixture.now })]);
  expect(await namesOf(fixture)).toEqual({ forecast: 3, [OTHER_TOOLS]: 3 });
});

test("a server that answers whatever it is asked makes a bounded number of rows in a day", async () => {
  await using fixture = await createUsageFixture();
  await fixture.record([call()]);
  for (const hours of [0, 1, 2])
    await fixture.record(
      Array.from({ length: 700 }, (_, n) => call({ mcpTool: `any-${hours}-${n}`, at: NOON - hours * HOUR })),
    );
  const names = await namesOf(fixture);
  expect(Object.keys(names)).toHaveLength(MAX_NAMES + 1);
  expect(names).toMatchObject({ forecast: 1, "any-0-699": 1, [OTHER_TOOLS]: 3 * 700 - (MAX_NAMES - 1) });
  await fixture.record([call({ deploymentId: "deployment-2", mcpTool: "of another" })]);
  expect(await namesOf(fixture)).toMatchObject({ "of another": 1 });
});

test("what earlier proxies report is known by its outcome", async () => {
  await using fixture = await createUsageFixture();
  const says = (mcpTool: string, more = {}) => call({ mcpTool, mcpToolKnown: undefined, ...more });
  await fixture.record([
    says("answered"),
    says("failed", { mcpFailure: "TOOL_ERROR" }),
    says("refused", { statusCode: 400 }),
    says("accepted", { statusCode: 202 }),
  ]);
  expect(await namesOf(fixture)).toEqual({ answered: 1, [OTHER_TOOLS]: 3 });
});

test("what a batch costs is no matter of what is stored", async () => {
  await using fixture = await createUsageFixture();
  const cost = async () => (await statementsOf(() => fixture.record([call(), ...invented(3)]))).length;
  const before = await cost();
  await fixture.record(Array.from({ length: 900 }, (_, n) => call({ mcpTool: `stored-${n}` })));
  const looked = await statementsOf(() => fixture.record([call()]));
  expect(await cost()).toBeLessThanOrEqual(before);
  for (const { sql, parameters } of looked.filter(({ sql }) => sql.includes("usage_"))) {
    const plan = await fixture.database.read.query<{ detail: string }[]>(`EXPLAIN QUERY PLAN ${sql}`, [...parameters]);
    for (const { detail } of plan) expect(detail).not.toMatch(/SCAN (?!k\b|json_each)/);
    const exact = plan.filter(({ detail }) => detail.includes("usage_buckets"));
    for (const { detail } of exact) expect(detail).toContain("(resolutionMs=? AND at=? AND deploymentId=?");
  }
});

test("usage of a hundred tools is read by as many statements as that of one, and by an index", async () => {
  await using fixture = await createUsageFixture();
  const ids = Array.from({ length: 100 }, (_, n) => `tool-${n}`);
  await fixture.record(ids.map((toolId) => call({ toolId, deploymentId: `deployment-of-${toolId}` })));
  const read = (some: string[]) =>
    statementsOf(() => fixture.service.summaries(anybody, { by: "toolId", ids: some }, "MONTH"));
  const all = await read(ids);
  expect(all).toHaveLength((await read(["tool-1"])).length);
  for (const { sql, parameters } of all) {
    const plan = await fixture.database.read.query<{ detail: string }[]>(`EXPLAIN QUERY PLAN ${sql}`, [...parameters]);
    for (const { detail } of plan) expect(detail).not.toMatch(/SCAN usage_buckets/);
  }
});

test("others have their turns while a large batch is recorded, and see none of it or all", async () => {
  await using fixture = await createUsageFixture();
  const batch = Array.from({ length: 5_000 }, (_, n) =>
    call({ deploymentId: `deployment-${n % 300}`, mcpTool: `tool-${n % 7}` }),
  );
  let turns = 0;
  let recording = true;
  const count = () => {
    turns += 1;
    if (recording) setImmediate(count);
  };
  setImmediate(count);
  await fixture.record(batch);
  recording = false;
  expect(turns).toBeGreaterThan(30);
  expect((await fixture.usageOf("HOUR")).calls).toBe(5_000);
});

test("records, batches and buckets are removed when nobody can ask for them any more", async () => {
  await using fixture = await createUsageFixture();
  const ages = [0, 3 * HOUR, 9 * DAY_MS, 29 * DAY_MS, 40 * DAY_MS];
  await fixture.record(ages.map((age) => call({ at: NOON - age })));
  const before = await fixture.usageOf("MONTH");
  const stored = async () =>
    Promise.all(
      [usageRecordEntity, usageBatchEntity, usageBucketEntity].map((entity) =>
        fixture.database.read.countBy(entity as typeof usageBatchEntity, {}),
      ),
    );
  const old = NOON - 30 * DAY_MS;
  await fixture.store.trim({ before: old, now: NOON, signal: AbortSignal.abort() });
  expect(await stored()).toEqual([5, 1, 14]);
  await fixture.store.trim({ before: old, now: NOON });
  // Minutes of the last hours, hours of the last week, days of the last month.
  expect(await stored()).toEqual([5, 1, 1 + 2 + 3]);
  expect(await fixture.usageOf("MONTH")).toEqual(before);
  // Records go by when they were recorded, which is now.
  await fixture.store.trim({ before: Date.now() + 1_000, now: NOON });
  expect(await stored()).toEqual([0, 0, 6]);
});
