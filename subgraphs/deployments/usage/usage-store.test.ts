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
      Array.from({ length: 700 }, (_, n) =>
        call({ mcpTool: `any-${hours}-${n}`, mcpToolKnown: null, at: NOON - hours * HOUR }),
      ),
    );
  const names = await namesOf(fixture);
  expect(Object.keys(names)).toHaveLength(MAX_NAMES.ANSWERED + 1);
  expect(names).toMatchObject({ forecast: 1, "any-0-699": 1, [OTHER_TOOLS]: 3 * 700 - (MAX_NAMES.ANSWERED - 1) });
  await fixture.record([call({ deploymentId: "deployment-2", mcpTool: "of another" })]);
  expect(await namesOf(fixture)).toMatchObject({ "of another": 1 });
});

test("tools that are listed are told apart after a flood of names that are only answered, or that only callers are listed", async () => {
  await using fixture = await createUsageFixture();
  const flood = (prefix: string, count: number, mcpToolKnown: boolean | null) =>
    fixture.record(Array.from({ length: count }, (_, n) => call({ mcpTool: `${prefix}-${n}`, mcpToolKnown })));
  await flood("answered", 1_500, null);
  await flood("listed", 1_500, true);
  fixture.listed.note("deployment-1", { names: ["real", "fails"], isWhole: true });
  await fixture.record([
    call({ mcpTool: "real", mcpToolKnown: null }),
    call({ mcpTool: "fails", mcpToolKnown: false, mcpFailure: "TOOL_ERROR" }),
  ]);
  const names = await namesOf(fixture);
  // The row of all others is one of those that are counted.
  expect(names).toMatchObject({ real: 1, fails: 1, [OTHER_TOOLS]: 500 + 501 });
  expect(Object.keys(names)).toHaveLength(MAX_NAMES.LISTED_TO_CALLER + 2);
});

test("where the whole list is known a name that is only answered is none, and one that a caller was listed is", async () => {
  await using fixture = await createUsageFixture();
  const of = (mcpTool: string, mcpToolKnown: boolean | null) => call({ mcpTool, mcpToolKnown });
  await fixture.record([of("before", null)]);
  fixture.listed.note("deployment-1", { names: ["real"], isWhole: false });
  await fixture.record([of("on a later page", null)]);
  fixture.listed.note("deployment-1", { names: ["real"], isWhole: true });
  await fixture.record([of("invented", null), of("for some callers", true), of("real", null)]);
  expect(await namesOf(fixture)).toEqual({
    before: 1,
    "on a later page": 1,
    "for some callers": 1,
    real: 1,
    [OTHER_TOOLS]: 1,
  });
});

test("names of any length and of any characters make rows of a bounded size, a bounded number of them, in any spelling the same", async () => {
  await using fixture = await createUsageFixture();
  const long = "x".repeat(10 * 1024 * 1024);
  const odd = [
    "a\0b",
    "\ud800",
    "\udfff\ud800",
    "\u0000",
    "",
    " ",
    "other",
    "__proto__",
    "constructor",
    "'; DROP TABLE usage_buckets",
  ];
  fixture.listed.note("deployment-1", { names: [long, ...odd], isWhole: true });
  for (const mcpToolKnown of [true, null, false]) {
    await fixture.record(odd.map((mcpTool) => call({ mcpTool, mcpToolKnown })));
    await fixture.record([call({ mcpTool: long, mcpToolKnown }), call({ mcpTool: `${long}!`, mcpToolKnown })]);
  }
  const rows = await fixture.database.read.find(usageBucketEntity, { where: { resolutionMs: DAY_MS } });
  // Of two lone surrogates and of NUL nothing is left that tells them apart; "" is a call of no tool.
  expect(Object.fromEntries(rows.map(({ mcpTool, calls }) => [mcpTool, calls]))).toEqual({
    "a\uFFFDb": 3,
    "\uFFFD": 6,
    "\uFFFD\uFFFD": 3,
    "": 3,
    " ": 3,
    other: 3,
    ["__proto__"]: 3,
    constructor: 3,
    "'; DROP TABLE usage_buckets": 3,
    ["x".repeat(255)]: 6,
  });
  const records = await fixture.database.read.find(usageRecordEntity);
  expect(Math.max(...records.map(({ mcpTool }) => mcpTool?.length ?? 0))).toBe(255);
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
  await fixture.store.trim({ before: old, now: NOON }, { signal: AbortSignal.abort() });
  expect(await stored()).toEqual([5, 1, 14]);
  await fixture.store.trim({ before: old, now: NOON });
  // Minutes of the last hours, hours of the last week, days of the last month.
  expect(await stored()).toEqual([5, 1, 1 + 2 + 3]);
  expect(await fixture.usageOf("MONTH")).toEqual(before);
  // Records go by when they were recorded, which is now.
  await fixture.store.trim({ before: Date.now() + 1_000, now: NOON });
  expect(await stored()).toEqual([0, 0, 6]);
});
