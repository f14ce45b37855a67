import { firstIdAt, newId, type Page } from "@toolyard/service-kit";
import { everyPage, ODD_TEXTS, testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addDuration, type SparseHistogram } from "./histogram.ts";
import { PARTY_KINDS } from "./usage-parties.ts";
import { OTHER_TOOLS } from "./usage-names.sql.ts";
import type { ReportedCall, UsageBucketRow, UsageRecord } from "./usage-record.ts";
import type { UsageStore, UsageSubjects } from "./usage-store.ts";
import { BUCKETS_KEPT_MS, DAY_MS, RESOLUTIONS_MS } from "./usage-window.ts";

export interface OpenUsageStore {
  /** The same store, as two processes have it open. */
  stores: readonly [UsageStore, UsageStore];
  close(): Promise<void>;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** The first moment of a day, in UTC. */
const DAY = Date.UTC(2026, 2, 11);
const NOON = DAY + 12 * HOUR;
const FIRST_PAGE: Page = { limit: 100, afterId: null, offset: 0 };

/** A call of an MCP tool that is listed, by default of a deployment and a tool of its own. */
function callOf(more: Partial<ReportedCall> = {}): ReportedCall {
  const id = newId();
  return {
    id,
    at: NOON,
    toolId: `tool-${id}`,
    deploymentId: `deployment-${id}`,
    endpoint: "/mcp/{slug}/v1/mcp",
    method: "POST",
    mcpMethod: "tools/call",
    mcpTool: "forecast",
    statusCode: 200,
    mcpFailure: null,
    responseTimeMs: 10,
    userId: null,
    evidence: "LISTED",
    client: null,
    apiKeyId: null,
    ...more,
  };
}

const subjectOf = () => ({ toolId: `tool-${newId()}`, deploymentId: `deployment-${newId()}` });
const histogramOf = (durations: readonly number[]): SparseHistogram => {
  const histogram: SparseHistogram = {};
  for (const duration of durations) addDuration(histogram, duration);
  return histogram;
};
const recordOf = ({
  evidence: _evidence,
  client: _client,
  apiKeyId: _apiKeyId,
  ...record
}: ReportedCall): UsageRecord => record;

/** What every adapter of UsageStore must show. */
export function usageStoreContract(name: string, open: () => Promise<OpenUsageStore>): void {
  describe(`UsageStore on ${name}`, () => {
    let opened: OpenUsageStore;
    let store: UsageStore;
    beforeAll(async () => {
      opened = await open();
      [store] = opened.stores;
    });
    afterAll(() => opened.close());

    const record = async (calls: readonly ReportedCall[]) =>
      expect(await store.record(newId(), calls, NOON)).toBe(true);
    async function bucketsOf(subjects: UsageSubjects, resolutionMs = DAY_MS, from = 0): Promise<UsageBucketRow[]> {
      const rows: UsageBucketRow[] = [];
      for await (const part of store.buckets(subjects, resolutionMs, from)) rows.push(...part);
      return rows.toSorted((one, other) => one.at - other.at || (one.mcpTool < other.mcpTool ? -1 : 1));
    }
    const ofTool = (...ids: string[]): UsageSubjects => ({ by: "toolId", ids });
    const recordsOf = (toolId: string) => store.page({ toolId }, FIRST_PAGE).rows();

    testMethods<UsageStore>({
      record() {
        test("keeps calls as they are, and sums them up by minute, hour and day", async () => {
          const of = subjectOf();
          const calls = [
            callOf({ ...of, at: DAY, responseTimeMs: 0 }),
            callOf({ ...of, at: NOON, responseTimeMs: 0.125, statusCode: 399, userId: "somebody" }),
            callOf({
              ...of,
              at: NOON + MINUTE - 1,
              responseTimeMs: 30_000.5,
              statusCode: 400,
              mcpFailure: "TOOL_ERROR",
            }),
            callOf({ ...of, at: NOON + MINUTE, statusCode: 599, mcpFailure: "RPC_ERROR" }),
            callOf({ ...of, at: DAY - 1, mcpTool: null, mcpMethod: null }),
          ];
          await record(calls);
          expect(await recordsOf(of.toolId)).toEqual(calls.map(recordOf).toReversed());
          const bucket = (
            resolutionMs: number,
            at: number,
            durations: number[],
            more: Partial<UsageBucketRow> = {},
          ) => {
            const none = { errors: 0, mcpFailures: 0, mcpTool: "forecast" };
            return {
              ...of,
              ...none,
              resolutionMs,
              at,
              calls: durations.length,
              histogram: histogramOf(durations),
              ...more,
            };
          };
          const before = { mcpTool: "" };
          expect(await bucketsOf(ofTool(of.toolId), MINUTE)).toEqual([
            bucket(MINUTE, DAY - MINUTE, [10], before),
            bucket(MINUTE, DAY, [0]),
            bucket(MINUTE, NOON, [0.125, 30_000.5], { errors: 1, mcpFailures: 1 }),
            bucket(MINUTE, NOON + MINUTE, [10], { errors: 1, mcpFailures: 1 }),
          ]);
          expect(await bucketsOf(ofTool(of.toolId), HOUR)).toEqual([
            bucket(HOUR, DAY - HOUR, [10], before),
            bucket(HOUR, DAY, [0]),
            bucket(HOUR, NOON, [0.125, 30_000.5, 10], { errors: 2, mcpFailures: 2 }),
          ]);
          expect(await bucketsOf(ofTool(of.toolId), DAY_MS)).toEqual([
            bucket(DAY_MS, DAY - DAY_MS, [10], before),
            bucket(DAY_MS, DAY, [0, 0.125, 30_000.5, 10], { errors: 2, mcpFailures: 2 }),
          ]);
        });

        test("adds to what is there", async () => {
          const of = subjectOf();
          for (const responseTimeMs of [1, 20, 300]) await record([callOf({ ...of, responseTimeMs })]);
          expect(await bucketsOf(ofTool(of.toolId))).toMatchObject([
            { calls: 3, histogram: histogramOf([1, 20, 300]) },
          ]);
        });

        test("records a batch once, for whichever process asks first", async () => {
          const call = callOf();
          const id = newId();
          const answers = await Promise.all(
            [0, 1, 0, 1].map((n) => opened.stores[n === 0 ? 0 : 1].record(id, [call], NOON)),
          );
          expect(answers.filter((isNew) => isNew)).toHaveLength(1);
          expect(await store.record(id, [callOf({ toolId: call.toolId })], NOON)).toBe(false);
          expect(await bucketsOf(ofTool(call.toolId))).toMatchObject([{ calls: 1 }]);
          expect(await recordsOf(call.toolId)).toHaveLength(1);
          expect(await store.record(id.toUpperCase(), [], NOON)).toBe(true);
        });

        test("loses nothing of what several processes record at once", async () => {
          const of = subjectOf();
          const durations = Array.from({ length: 40 }, (_, n) => n + 1);
          await Promise.all(
            durations.map((responseTimeMs, n) =>
              opened.stores[n % 2 === 0 ? 0 : 1].record(
                newId(),
                [callOf({ ...of, responseTimeMs }), callOf({ ...of, responseTimeMs })],
                NOON,
              ),
            ),
          );
          for (const resolutionMs of RESOLUTIONS_MS)
            expect(await bucketsOf(ofTool(of.toolId), resolutionMs)).toMatchObject([
              { calls: 80, histogram: histogramOf([...durations, ...durations]) },
            ]);
        });

        test("leaves nothing of a batch that fails half-way, which may come again then", async () => {
          const taken = callOf();
          await record([taken]);
          const [of, id] = [subjectOf(), newId()];
          const calls = Array.from({ length: 1_200 }, () => callOf(of));
          await expect(store.record(id, [...calls, { ...callOf(of), id: taken.id }], NOON)).rejects.toThrow();
          expect(await recordsOf(of.toolId)).toEqual([]);
          expect(await bucketsOf(ofTool(of.toolId))).toEqual([]);
          expect(await store.record(id, calls, NOON)).toBe(true);
          expect(await bucketsOf(ofTool(of.toolId))).toMatchObject([{ calls: 1_200 }]);
        });

        test("counts each name of an MCP tool by itself, as it is", async () => {
          const of = subjectOf();
          const names = [...ODD_TEXTS, "\u6f22".repeat(255)];
          for (let round = 1; round <= 2; round++) {
            await record(names.map((mcpTool) => callOf({ ...of, mcpTool })));
            const buckets = await bucketsOf(ofTool(of.toolId));
            expect(buckets.map(({ mcpTool, calls }) => [mcpTool, calls])).toEqual(
              names.toSorted().map((each) => [each, round]),
            );
          }
          expect(new Set((await recordsOf(of.toolId)).map(({ mcpTool }) => mcpTool))).toEqual(new Set(names));
        });

        test("counts names that nothing tells of together, but such as were counted on the day or the one before", async () => {
          const of = { ...subjectOf(), evidence: "NONE" } as const;
          await record([callOf({ ...of, at: NOON - DAY_MS, mcpTool: "known", evidence: "ANSWERED" })]);
          await record([
            callOf({ ...of, mcpTool: "known" }),
            callOf({ ...of, mcpTool: "Known" }),
            callOf({ ...of, mcpTool: "" }),
          ]);
          expect(
            (await bucketsOf(ofTool(of.toolId), DAY_MS, DAY)).map(({ mcpTool, calls }) => [mcpTool, calls]),
          ).toEqual([
            ["", 1],
            ["known", 1],
            [OTHER_TOOLS, 1],
          ]);
        });

        test("takes a batch without calls", async () => {
          const id = newId();
          expect(await store.record(id, [], NOON)).toBe(true);
          expect(await store.record(id, [], NOON)).toBe(false);
        });
      },

      buckets() {
        test("answers those of all subjects of one sort that begin at a time or later, in parts", async () => {
          const [one, other] = [subjectOf(), subjectOf()];
          const second = { ...one, deploymentId: subjectOf().deploymentId };
          const minutes = Array.from({ length: 700 }, (_, n) => NOON + n * MINUTE);
          await record([...minutes.map((at) => callOf({ ...one, at })), callOf(other), callOf(second)]);
          const sizes: number[] = [];
          for await (const part of store.buckets(ofTool(one.toolId), MINUTE, 0)) sizes.push(part.length);
          expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(701);
          expect(sizes.length).toBeGreaterThan(1);
          const starts = async (subjects: UsageSubjects, from: number) =>
            (await bucketsOf(subjects, MINUTE, from)).map(({ at }) => at);
          expect(await starts(ofTool(one.toolId), NOON + 698 * MINUTE)).toEqual([
            NOON + 698 * MINUTE,
            NOON + 699 * MINUTE,
          ]);
          expect(await starts(ofTool(one.toolId), NOON + 698 * MINUTE + 1)).toEqual([NOON + 699 * MINUTE]);
          expect(await starts(ofTool(one.toolId, other.toolId, "nothing"), NOON)).toHaveLength(702);
          expect(await starts({ by: "deploymentId", ids: [second.deploymentId] }, NOON)).toEqual([NOON]);
          for (const ids of [[], ["nothing"], [one.toolId.toUpperCase()], [`${one.toolId} `], ["%"]])
            expect(await starts(ofTool(...ids), 0)).toEqual([]);
        });
      },

      page() {
        test("goes over what was recorded in the same millisecond, newest first, each once", async () => {
          const [one, other] = [subjectOf(), subjectOf()];
          const calls = Array.from({ length: 23 }, (_, n) =>
            callOf({ toolId: one.toolId, deploymentId: n % 2 === 0 ? one.deploymentId : other.deploymentId }),
          );
          await record(calls);
          const newest = calls.map(recordOf).toReversed();
          const even = newest.filter(({ deploymentId }) => deploymentId === one.deploymentId);
          for (const [filter, wanted] of [
            [{ toolId: one.toolId }, newest],
            [{ deploymentId: one.deploymentId }, even],
            [{ toolId: one.toolId, deploymentId: one.deploymentId }, even],
            [{ toolId: other.toolId, deploymentId: one.deploymentId }, []],
            [{ toolId: one.toolId.toUpperCase() }, []],
          ] as const)
            for (const limit of [1, 5, 23]) {
              expect(
                await everyPage(
                  (page) => store.page(filter, page).rows(),
                  ({ id }) => id,
                  limit,
                ),
              ).toEqual(wanted);
              expect(await store.page(filter, { limit, afterId: newest[3]?.id ?? null, offset: 1 }).totalCount()).toBe(
                wanted.length,
              );
            }
          expect((await store.page({}, { limit: 1, afterId: null, offset: 0 }).rows())[0]).toEqual(newest[0]);
        });
      },

      parties() {
        async function partiesOf(subjects: UsageSubjects, resolutionMs = DAY_MS): Promise<[string, number, number][]> {
          const found: [string, number, number][] = [];
          for await (const part of store.parties(subjects, resolutionMs, 0))
            for (const { party, at, calls } of part) found.push([party, at, calls]);
          return found.toSorted(([one], [other]) => (one < other ? -1 : 1));
        }

        test("sums up calls by user and by client, which is an API key where it has no name", async () => {
          const of = subjectOf();
          const client = { name: "c", version: "1" };
          await record([
            callOf({ ...of, userId: "a", client, apiKeyId: "key" }),
            callOf({ ...of, userId: "a", apiKeyId: "key", statusCode: 500 }),
            callOf({ ...of, userId: null, at: DAY - 1 }),
          ]);
          await record([callOf({ ...of, userId: "a", client })]);
          const before = DAY - DAY_MS;
          expect(await partiesOf(ofTool(of.toolId))).toEqual([
            ['c:{"key":"key"}', DAY, 1],
            ['c:{"key":null}', before, 1],
            ['c:{"name":"c","version":"1"}', DAY, 2],
            ['u:{"user":"a"}', DAY, 3],
            ['u:{"user":null}', before, 1],
          ]);
          const ofDeployment: UsageSubjects = { by: "deploymentId", ids: [of.deploymentId] };
          expect((await partiesOf(ofDeployment, MINUTE)).map(([, , calls]) => calls)).toEqual([1, 1, 2, 3, 1]);
        });

        test("counts together those beyond a number of a deployment and day, also of a later batch, and knows the others again", async () => {
          const of = subjectOf();
          const [{ most: users }, { most: clients }] = PARTY_KINDS;
          const odd = { name: '"\u0000\\'.repeat(100), version: "\ud800".repeat(100) };
          const calls = Array.from({ length: users + 3 }, (_, n) =>
            callOf({ ...of, userId: `user-${n}`, client: { name: `client-${n}`, version: "1" } }),
          );
          await record(calls);
          await record([callOf({ ...of, userId: "new", client: odd }), callOf({ ...of, userId: "user-0" })]);
          const found = await partiesOf(ofTool(of.toolId));
          const counts = new Map(found.map(([party, , count]) => [party, count]));
          expect(counts.get("u:other")).toBe(4);
          expect(counts.get('u:{"user":"user-0"}')).toBe(2);
          expect(counts.get("c:other")).toBe(users + 5 - clients);
          expect(found).toHaveLength(users + clients + 2);
          await record([callOf({ ...of, at: DAY + DAY_MS, client: odd })]);
          const tomorrow = (await partiesOf(ofTool(of.toolId))).filter(([, at]) => at === DAY + DAY_MS);
          expect(tomorrow).toHaveLength(2);
          for (const [party] of tomorrow) expect(party.length).toBeLessThanOrEqual(255);
        });
      },

      callsByMcpTool() {
        test("counts a tool's calls of each MCP tool on all days from one on, of all deployments", async () => {
          const of = subjectOf();
          await record([
            callOf({ ...of, at: NOON }),
            callOf({ ...of, at: DAY, deploymentId: `deployment-${newId()}` }),
            callOf({ ...of, at: NOON, mcpTool: "alerts" }),
            callOf({ ...of, at: NOON, mcpTool: null }),
            callOf({ ...of, at: DAY - 1 }),
            callOf({ at: NOON }),
          ]);
          const since = async (from: number) => Object.fromEntries(await store.callsByMcpTool(of.toolId, from));
          expect(await since(NOON)).toEqual({ forecast: 2, alerts: 1, "": 1 });
          expect(await since(DAY - 1)).toEqual({ forecast: 3, alerts: 1, "": 1 });
          expect(await since(DAY + DAY_MS)).toEqual({});
        });
      },

      trim() {
        const idAt = (ms: number) => `${firstIdAt(ms)}7000-8000-${newId().slice(-12)}`;

        test("removes records and batches recorded before a time, and buckets that no window reads, and nothing else", async () => {
          const of = subjectOf();
          const ages = [...BUCKETS_KEPT_MS.values()];
          const calls = [
            callOf({ ...of, id: idAt(4_999), at: NOON }),
            callOf({ ...of, id: idAt(5_000), at: NOON }),
            ...ages.map((age) => callOf({ ...of, at: NOON - age })),
            ...ages.map((age) => callOf({ ...of, at: NOON - age - DAY_MS })),
          ];
          const [old, fresh] = [newId(), newId()];
          await store.record(old, calls, 4_999);
          await store.record(fresh, [], 5_000);
          const counts = () =>
            Promise.all(
              RESOLUTIONS_MS.map(async (each) => (await bucketsOf(ofTool(of.toolId), each)).map(({ at }) => at)),
            );
          const before = await counts();
          await store.trim({ before: 5_000, now: NOON }, { signal: AbortSignal.abort() });
          expect(await counts()).toEqual(before);
          expect(await recordsOf(of.toolId)).toHaveLength(calls.length);
          await store.trim({ before: 5_000, now: NOON });
          expect((await recordsOf(of.toolId)).map(({ id }) => id)).toEqual(
            calls
              .slice(1)
              .map(({ id }) => id)
              .toSorted()
              .toReversed(),
          );
          expect(await counts()).toEqual(
            RESOLUTIONS_MS.map((each, n) =>
              (before[n] ?? []).filter((at) => at >= NOON - (BUCKETS_KEPT_MS.get(each) ?? 0)),
            ),
          );
          expect(await store.record(fresh, [], 5_000)).toBe(false);
          expect(await store.record(old, [], 5_000)).toBe(true);
        });
      },
    });
  });
}
