import { newId } from "@toolyard/service-kit";
import { statementsOf } from "@toolyard/testing/statements.ts";
import { expect, test } from "vitest";
import { author, createFixture, proxy, type Fixture } from "../deployments-fixture.ts";

const RECORD = `mutation ($batch: UsageBatchInput!) { recordUsage(batch: $batch) }`;
const SUMMARY = `query ($window: UsageWindow!) { _entities(representations: [{ __typename: "Tool", id: "tool-1" }]) { ... on Tool {
  usage(window: $window) { calls errors errorRate p50Ms p95Ms p99Ms byMcpTool { mcpTool calls errors p95Ms } series { at calls errors p95Ms } } } } }`;

interface Summary {
  calls: number;
  errors: number;
  errorRate: number;
  p50Ms: number | null;
  p95Ms: number | null;
  byMcpTool: { mcpTool: string; calls: number; errors: number }[];
  series: { calls: number }[];
}

function record(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    at: new Date().toISOString(),
    toolId: "tool-1",
    deploymentId: "deployment-1",
    endpoint: "/mcp/{slug}/v1/mcp",
    method: "POST",
    mcpMethod: "tools/call",
    mcpTool: "forecast",
    statusCode: 200,
    responseTimeMs: 10,
    userId: "user-1",
    ...more,
  };
}
const summaryOf = async (fixture: Fixture, window: string): Promise<Summary> =>
  (await fixture.run<{ _entities: { usage: Summary }[] }>(SUMMARY, { window }))._entities[0]?.usage as Summary;

test("a batch counts once, however often it comes", async () => {
  await using fixture = await createFixture();
  const batch = { id: newId(), records: [record(), record({ statusCode: 502, responseTimeMs: 100 })] };
  for (let time = 0; time < 3; time += 1) await fixture.run(RECORD, { batch }, proxy);
  const { usageRecords } = await fixture.run<{ usageRecords: { totalCount: number } }>(
    `{ usageRecords(toolId: "tool-1") { totalCount edges { node { mcpTool statusCode } } } }`,
  );
  expect(usageRecords.totalCount).toBe(2);
  for (const window of ["HOUR", "DAY", "WEEK", "MONTH"])
    expect(await summaryOf(fixture, window)).toMatchObject({ calls: 2, errors: 1, errorRate: 0.5 });
});

test("batches add up, by tool and by step", async () => {
  await using fixture = await createFixture();
  const anHourAgo = new Date(Date.now() - 90 * 60_000).toISOString();
  await fixture.run(
    RECORD,
    {
      batch: {
        id: newId(),
        records: [record({ responseTimeMs: 1 }), record({ mcpTool: "alerts", responseTimeMs: 2 })],
      },
    },
    proxy,
  );
  await fixture.run(
    RECORD,
    {
      batch: {
        id: newId(),
        records: [record({ responseTimeMs: 3 }), record({ at: anHourAgo, mcpTool: null, mcpMethod: "initialize" })],
      },
    },
    proxy,
  );
  const hour = await summaryOf(fixture, "HOUR");
  expect(hour.calls).toBe(3);
  expect(hour.byMcpTool).toMatchObject([
    { mcpTool: "forecast", calls: 2 },
    { mcpTool: "alerts", calls: 1 },
  ]);
  expect(hour.p50Ms).toBeCloseTo(2, 1);
  expect(hour.series).toHaveLength(60);
  const day = await summaryOf(fixture, "DAY");
  expect(day.calls).toBe(4);
  expect(day.series.reduce((sum, { calls }) => sum + calls, 0)).toBe(4);
});

test("only the proxy records, and a wrong batch says what is wrong with it", async () => {
  await using fixture = await createFixture();
  expect(await fixture.codeOf(RECORD, { batch: { id: newId(), records: [] } }, author)).toBe("FORBIDDEN");
  expect(
    await fixture.codeOf(RECORD, { batch: { id: newId(), records: [record({ responseTimeMs: -1 })] } }, proxy),
  ).toBe("BAD_USER_INPUT");
});

test("a tool without calls has zeros and no percentiles", async () => {
  await using fixture = await createFixture();
  expect(await summaryOf(fixture, "WEEK")).toMatchObject({ calls: 0, errorRate: 0, p50Ms: null, byMcpTool: [] });
});

test("calls that failed in MCP's terms are counted beside the statuses", async () => {
  await using fixture = await createFixture();
  const records = [
    record(),
    record({ mcpFailure: "TOOL_ERROR" }),
    record({ mcpFailure: "RPC_ERROR", mcpTool: null, mcpMethod: "prompts/get" }),
    record({ mcpFailure: "RPC_ERROR", statusCode: 400 }),
    record({ statusCode: 502 }),
  ];
  for (const batch of [records, [record({ mcpFailure: "TOOL_ERROR" })]])
    await fixture.run(RECORD, { batch: { id: newId(), records: batch } }, proxy);
  const query = `{ usageRecords(toolId: "tool-1") { edges { node { mcpFailure } } }
    _entities(representations: [{ __typename: "Tool", id: "tool-1" }]) { ... on Tool { usage(window: DAY) {
      calls errors mcpFailures byMcpTool { mcpTool mcpFailures } series { mcpFailures } } } } }`;
  const answer = await fixture.run<{
    usageRecords: { edges: { node: { mcpFailure: string | null } }[] };
    _entities: [{ usage: { series: { mcpFailures: number }[] } }];
  }>(query);
  const failures = answer.usageRecords.edges.map(({ node }) => String(node.mcpFailure));
  expect(failures.toSorted()).toEqual(["RPC_ERROR", "RPC_ERROR", "TOOL_ERROR", "TOOL_ERROR", "null", "null"]);
  const [{ usage }] = answer._entities;
  expect(usage).toMatchObject({
    calls: 6,
    errors: 2,
    mcpFailures: 4,
    byMcpTool: [{ mcpTool: "forecast", mcpFailures: 3 }],
  });
  expect(usage.series.reduce((sum, { mcpFailures }) => sum + mcpFailures, 0)).toBe(4);
  expect(
    await fixture.codeOf(RECORD, { batch: { id: newId(), records: [record({ mcpFailure: "OTHER" })] } }, proxy),
  ).not.toBeNull();
});

test("an operation reads the usage of all its tools together, each once", async () => {
  await using fixture = await createFixture();
  await fixture.run(
    RECORD,
    { batch: { id: newId(), records: [record(), record({ toolId: "tool-7", deploymentId: "deployment-7" })] } },
    proxy,
  );
  const ask = (count: number) =>
    fixture.run<{ _entities: { usage: Summary; again: Summary }[] }>(
      `query ($tools: [_Any!]!) { _entities(representations: $tools) { ... on Tool { usage(window: DAY) { calls } again: usage(window: DAY) { calls } } } }`,
      { tools: Array.from({ length: count }, (_, n) => ({ __typename: "Tool", id: `tool-${n}` })) },
    );
  // The reconciler sweeps meanwhile.
  const usageOf = async (work: () => Promise<unknown>) =>
    (await statementsOf(work)).filter(({ sql }) => sql.includes("usage_"));
  const one = await usageOf(() => ask(1));
  const statements = await usageOf(async () => {
    const { _entities } = await ask(30);
    expect(_entities.map(({ usage }) => usage.calls)).toEqual(
      Array.from({ length: 30 }, (_, n) => (n === 1 || n === 7 ? 1 : 0)),
    );
    expect(_entities.map(({ again }) => again)).toEqual(_entities.map(({ usage }) => usage));
  });
  expect(one).toHaveLength(1);
  // Which buckets, and what is in them.
  expect(statements).toHaveLength(2);
});
