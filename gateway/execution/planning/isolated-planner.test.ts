import { readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { anonymous } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing";
import { createExecutor } from "../executor.ts";
import { createGraph } from "../fixtures/graph.ts";
import { keysFixture } from "../fixtures/supergraphs.ts";
import { createInProcessClient } from "../clients/in-process-client.ts";
import { createIsolatedPlanner, type ReplacedPlan } from "./isolated-planner.ts";
import { createPlannerPool, type PlannerOutcome, type PlannerPool, type PlannerPoolOptions } from "./planner-pool.ts";
import type { QueryPlan } from "./query-plan.ts";
import type { PlanRequest } from "./query-planner.ts";

const { supergraphSdl, schemas } = createGraph(keysFixture());

const requestFor = (operation: string): PlanRequest => ({
  operation,
  operationName: null,
  overrideLabels: [],
  overridePercentage: 100,
});

/** Valid, and the native planner (0.0.38) aborts its process on it. The executor would have normalized it before. */
const deadly = requestFor(`query Q($v0: Boolean!, $v1: Boolean!, $v2: Boolean!) {
  users { friends: karma @include(if: $v0) a0: __typename a1: nick }
  ghost { ... on User { __typename id: organization { a2: id } __typename karma email } nick __typename badge @skip(if: $v1) }
  user(id: "1") {
    karma ... on User { __typename ghost: nick @skip(if: $v2) badge } nick: __typename
    ... on User { organization { title: name @skip(if: $v1) id: id } id __typename a3: badge }
  }
}`);
const harmless = requestFor("{ users { id karma } }");

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
});

function pool(options: Partial<PlannerPoolOptions> = {}): PlannerPool {
  const created = createPlannerPool({ planner: "hive", supergraphSdl, planTimeoutMs: 10_000, ...options });
  opened.push(created);
  return created;
}

/** How many planners this process has. Linux only. */
function processes(): number {
  const pids = readdirSync("/proc/self/task").flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, "utf8").trim().split(" "),
  );
  return pids.filter((pid) => pid !== "" && isPlanner(pid)).length;
}

function isPlanner(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("planner-process");
  } catch {
    return false; // ended meanwhile
  }
}

describe("a planner in a process of its own", () => {
  test("an operation that ends the planner's process costs no more than that process", async () => {
    const planners = pool();
    expect(await planners.plan(harmless)).toMatchObject({ kind: "planned" });
    const [before, dead, after] = await Promise.all([harmless, deadly, harmless].map((one) => planners.plan(one)));
    expect([before?.kind, dead?.kind, after?.kind]).toEqual(["planned", "died", "planned"]);
  });

  test("an operation that takes too long is given up, and the next is planned by another process", async () => {
    const planners = pool({ planner: "apollo", planTimeoutMs: 1 });
    const aliases = Array.from({ length: 400 }, (_, i) => `a${i}: users { karma badge friends { karma badge } }`);
    expect(await planners.plan(requestFor(`{ ${aliases.join(" ")} }`))).toEqual({ kind: "late" });
    const patient = pool({ planner: "apollo" });
    expect(await patient.plan(harmless)).toMatchObject({ kind: "planned" });
  });

  test.skipIf(process.platform !== "linux")("an idle process ends, but for the last of an eager pool", async () => {
    const before = processes();
    const eager = pool({ isEager: true, idleMs: 1, patienceMs: 0 });
    const planned = (planners: PlannerPool) => Promise.all([harmless, harmless].map((one) => planners.plan(one)));
    expect((await planned(eager)).map(({ kind }) => kind)).toEqual(["planned", "planned"]);
    await eventually("one is left", async () => processes() === before + 1);
    const lazy = pool({ idleMs: 1 });
    expect((await planned(lazy)).map(({ kind }) => kind)).toEqual(["planned", "planned"]);
    await eventually("none is left of the other pool", async () => processes() === before + 1);
    expect((await planned(lazy)).map(({ kind }) => kind)).toEqual(["planned", "planned"]);
    await eager.close();
    await eventually("none is left", async () => processes() === before);
  });

  test("what the planner refuses is said with its own reason", async () => {
    expect(await pool().plan(requestFor("{ nope }"))).toMatchObject({ kind: "refused", reason: expect.any(String) });
  });

  test("a supergraph that the planner cannot read is met once, not at every operation", async () => {
    const planners = pool({ supergraphSdl: "type Query { a: Int" });
    expect(await planners.plan(harmless)).toEqual({ kind: "unavailable" });
    expect(await planners.plan(harmless)).toEqual({ kind: "unavailable" });
  });

  test("no more operations wait than may", async () => {
    const planners = pool({ maxWaiting: 2 });
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => planners.plan(harmless)));
    expect(outcomes.map(({ kind }) => kind)).toEqual(["planned", "planned", "full", "full"]);
  });
});

describe("planning", () => {
  /** A planner that answers what it is told to, and counts. */
  function fake(outcome: PlannerOutcome): PlannerPool & { asked: number } {
    return {
      asked: 0,
      plan() {
        this.asked++;
        return Promise.resolve(outcome);
      },
      close: () => Promise.resolve(),
    };
  }
  const planFor = (field: string): QueryPlan => ({
    node: {
      kind: "Fetch",
      subgraph: "users",
      operation: `{ ${field} }`,
      operationKind: "query",
      variables: [],
      requires: null,
      inputRewrites: [],
      outputRewrites: [],
    },
  });
  const planned: PlannerOutcome = { kind: "planned", plan: { node: null }, fault: null };

  test("an operation that the native planner dies of is planned by the other, and remembered", async () => {
    const native = pool();
    let asked = 0;
    const planner = createIsolatedPlanner({
      supergraphSdl,
      native: {
        plan(request, isStepwise) {
          if (!isStepwise) asked++;
          return native.plan(request, isStepwise);
        },
        close: () => native.close(),
      },
      fallback: pool({ planner: "apollo" }),
      // A busy machine takes long to start a process.
      patienceMs: 60_000,
    });
    opened.push(planner);
    const { node } = await planner.plan(deadly);
    expect(JSON.stringify(node)).toContain("karma");
    expect(await planner.plan(deadly)).toEqual({ node });
    expect(asked).toBe(1);
    expect(await planner.plan(harmless)).toMatchObject({ node: expect.anything() });
  });

  test("an operation that ends every process is refused with a code, and none is asked again", async () => {
    const [native, fallback] = [fake({ kind: "died" }), fake({ kind: "late" })];
    const planner = createIsolatedPlanner({ supergraphSdl, native, fallback });
    for (let i = 0; i < 3; i++)
      await expect(planner.plan(deadly)).rejects.toMatchObject({ extensions: { code: "BAD_USER_INPUT" } });
    // Each once by itself, and once to plan step by step.
    expect([native.asked, fallback.asked]).toEqual([2, 2]);
  });

  test("a client that sends ever new operations of that kind does not keep killing planners", async () => {
    let now = 0;
    const [native, fallback] = [fake({ kind: "died" }), fake(planned)];
    const planner = createIsolatedPlanner({ supergraphSdl, native, fallback, now: () => now });
    for (let i = 0; i < 50; i++) await planner.plan(requestFor(`{ a${i}: users { id } }`));
    expect(native.asked).toBe(5);
    expect(fallback.asked).toBe(50);
    now += 31_000;
    await planner.plan(requestFor("{ later: users { id } }"));
    expect(native.asked).toBe(6);
  });

  test("a wrong plan is replaced by the other planner's, that by one made step by step; it is told once, with the plan", async () => {
    const wrong: PlannerOutcome = { kind: "planned", plan: planFor("wrong"), fault: "It is wrong." };
    const right: PlannerOutcome = { kind: "planned", plan: planFor("right"), fault: null };
    const stepwise = {
      ...fake(wrong),
      plan: (_: PlanRequest, isStepwise?: boolean) => Promise.resolve(isStepwise ? right : wrong),
    };
    for (const [native, fallback] of [
      [fake(wrong), fake(right)],
      [stepwise, fake(wrong)],
      [stepwise, fake({ kind: "refused", reason: "no" })],
      [stepwise, { ...fake(wrong), plan: () => new Promise<PlannerOutcome>(() => undefined) }],
    ] as const) {
      const warned: unknown[] = [];
      const replaced: ReplacedPlan[] = [];
      const planner = createIsolatedPlanner({
        supergraphSdl,
        native,
        fallback,
        patienceMs: 10,
        log: { warn: (entry: object) => void warned.push(entry) },
        onReplaced: (one) => replaced.push(one),
      });
      for (let i = 0; i < 3; i++) expect(await planner.plan(harmless)).toEqual(planFor("right"));
      expect(replaced.filter(({ planner: name }) => name === "hive")).toEqual([
        { planner: "hive", reason: "wrong", hash: replaced[0]?.hash },
      ]);
      expect(JSON.stringify(warned[0])).toContain("It is wrong.");
      expect(JSON.stringify(warned[0])).toContain("{ wrong }");
      expect(warned.length).toBe(replaced.length);
    }
  });

  test("what is too late for the native planner is planned step by step at once, and not by the slower one", async () => {
    const fallback = fake(planned);
    const native: PlannerPool = {
      plan: (_, isStepwise) =>
        Promise.resolve(isStepwise ? { kind: "planned", plan: planFor("right"), fault: null } : { kind: "late" }),
      close: () => Promise.resolve(),
    };
    const planner = createIsolatedPlanner({ supergraphSdl, native, fallback });
    for (let i = 0; i < 2; i++) expect(await planner.plan(harmless)).toEqual(planFor("right"));
    expect(fallback.asked).toBe(0);
  });

  test("what no planner plans is planned step by step in the other's process where the first one's ends", async () => {
    const fallback: PlannerPool = {
      plan: (_, isStepwise) =>
        Promise.resolve(
          isStepwise ? { kind: "planned", plan: planFor("right"), fault: null } : { kind: "refused", reason: "no" },
        ),
      close: () => Promise.resolve(),
    };
    const planner = createIsolatedPlanner({ supergraphSdl, native: fake({ kind: "died" }), fallback });
    expect(await planner.plan(deadly)).toEqual(planFor("right"));
  });

  test("where the native planner does not start, the other plans", async () => {
    const [native, fallback] = [fake({ kind: "unavailable" }), fake(planned)];
    const planner = createIsolatedPlanner({ supergraphSdl, native, fallback });
    expect(await planner.plan(harmless)).toEqual({ node: null });
  });

  test("an executor runs operations over planners in other processes, and plans each once", async () => {
    const executor = createExecutor({
      supergraphSdl,
      clients: [...schemas].map(([name, schema]) =>
        createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } }),
      ),
    });
    opened.push(executor);
    const context = { caller: anonymous, requestId: "r" };
    const results = await Promise.all([1, 2, 3].map(() => executor.execute({ query: "{ users { karma } }", context })));
    for (const result of results) expect(result).toEqual({ data: { users: [{ karma: 3.5 }, { karma: 1 }] } });
    expect(executor.hottestOperations(5)).toMatchObject([{ query: "{ users { karma } }" }]);
  });
});
