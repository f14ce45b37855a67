import { anonymous, createServiceCaller, createStranger, createUserCaller, ToolyardError } from "@toolyard/service-kit";
import type { ExecutionResult } from "graphql";
import { afterAll, beforeEach, describe, expect, test, vi } from "vitest";
import { createInProcessClient } from "../execution/clients/in-process-client.ts";
import type { SubgraphClient, SubgraphRequest, SubgraphResponse } from "../execution/clients/subgraph-client.ts";
import { composeFixture } from "../execution/fixtures/compose.ts";
import { shop, type ShopEvent } from "../execution/fixtures/shop.ts";
import { createLiveGraph } from "../supergraph/live-graph.ts";
import { noCallerLimits, type CallerLimits } from "./caller-limits.ts";
import { createOperationGate, type GatewayContext, type OperationGateOptions } from "./operation-gate.ts";
import { defaultOperationLimits } from "./operation-limits.ts";

/** Resolvers that take the place of the shop's own in a test. */
let answer: (request: SubgraphRequest) => Promise<SubgraphResponse> | SubgraphResponse | null;
let changes: () => AsyncIterable<ShopEvent>;
beforeEach(() => {
  answer = () => null;
  changes = async function* () {
    yield { productChanged: { sequence: "1", product: { upc: "1" } } };
  };
});

const { supergraphSdl, schemas } = composeFixture(shop({ changes: () => changes() }));
const silent = { error: () => undefined, warn: () => undefined, info: () => undefined };
const live = createLiveGraph({
  supergraphSdl,
  createClient(name): SubgraphClient {
    const schema = schemas.get(name);
    if (!schema) throw new Error(`There is no subgraph ${name}.`);
    const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
    return { ...client, execute: async (request) => (await answer(request)) ?? client.execute(request) };
  },
  limits: defaultOperationLimits,
  introspection: true,
  timeoutMs: 10_000,
  log: silent,
});
afterAll(() => live.close());

const user = createUserCaller("ada", "VIEWER");
const contextOf = (more: Partial<GatewayContext> = {}): GatewayContext => ({ caller: user, requestId: "r1", ...more });

/** A gate, and what it told those around it. */
function create(options: Partial<OperationGateOptions> = {}) {
  /** Running now, and begun. */
  const entered = { now: 0, ever: [] as string[] };
  const callerLimits: CallerLimits = {
    charge: vi.fn<CallerLimits["charge"]>(),
    chargeFields: vi.fn<CallerLimits["chargeFields"]>(),
    enter(kind) {
      entered.now += 1;
      entered.ever.push(kind);
      return () => void (entered.now -= 1);
    },
  };
  const metrics = { operation: vi.fn(), subscription: vi.fn(), timed: (client: SubgraphClient) => client };
  const log = { info: vi.fn(), warn: vi.fn(), error: vi.fn() };
  const lines: Record<string, unknown>[] = [];
  const gate = createOperationGate({
    graph: live,
    callerLimits,
    metrics,
    slowOperationMs: null,
    maskErrors: true,
    // The rest of a logger is not used.
    log: log as never,
    requestLog: { isOn: true, write: (fields) => void lines.push(fields), flush: () => undefined },
    ...options,
  });
  return { gate, entered, charge: vi.mocked(callerLimits.charge), metrics, log, lines };
}

const errorsOf = (outcome: object) =>
  "errors" in outcome ? (outcome.errors as { message: string; extensions: Record<string, unknown> }[]) : [];
const codesOf = (outcome: object) => errorsOf(outcome).map(({ extensions }) => extensions["code"]);
const tooMany = new ToolyardError("RATE_LIMITED", "Too many.", { retryAfterSeconds: 3 });
const refuse = () => {
  throw tooMany;
};

async function drain(results: AsyncGenerator<ExecutionResult, void, void>): Promise<ExecutionResult[]> {
  const all = [];
  for await (const result of results) all.push(result);
  return all;
}

describe("inspecting", () => {
  test("counts an operation once, as new until its text was seen", () => {
    const { gate, charge } = create();
    const query = "{ me { name } } # counted";
    for (const isNew of [true, false]) {
      expect(gate.inspect({ query, context: contextOf() })).toMatchObject({ kind: "query" });
      expect(charge.mock.lastCall?.[1]).toBe(isNew);
    }
    expect(charge).toHaveBeenCalledTimes(2);
  });

  test("counts no text as new where the subgraphs know no callers", () => {
    const { gate, charge } = create({ subgraphsKnowCallers: false });
    gate.inspect({ query: "{ me { name } } # new", context: contextOf() });
    expect(charge.mock.lastCall?.[1]).toBe(false);
  });

  test("counts the fields at the root, by aliases and fragments, too, and answers a refusal of one", () => {
    const { gate } = create();
    const asked: string[][] = [];
    const limited = create({
      callerLimits: {
        ...noCallerLimits,
        chargeFields(_caller, fields) {
          asked.push([...fields]);
          if (asked.length > 1) refuse();
        },
      },
    });
    const query = "{ me { name } again: me { name } ...F ...F } fragment F on Query { last: me { name } __typename }";
    expect(gate.inspect({ query, context: contextOf() })).toMatchObject({ kind: "query" });
    expect(limited.gate.inspect({ query, context: contextOf() })).toMatchObject({ kind: "query" });
    expect(asked).toEqual([["me", "me", "me", "__typename"]]);
    expect(codesOf(limited.gate.inspect({ query, context: contextOf() }))).toEqual(["RATE_LIMITED"]);
  });

  test("refuses a caller over the rate before anything is parsed, in words for clients", () => {
    const { gate, lines } = create({ callerLimits: { ...noCallerLimits, charge: refuse } });
    const refused = gate.inspect({ query: "{ not a query", context: contextOf({ isOnSocket: true }) });
    expect(errorsOf(refused)).toMatchObject([
      { message: "Too many.", extensions: { code: "RATE_LIMITED", retryAfterSeconds: 3, requestId: "r1" } },
    ]);
    expect(lines).toEqual([expect.objectContaining({ status: "RATE_LIMITED", user_id: "ada", request_id: "r1" })]);
  });

  test("does not take a fault of the limits for a refusal", () => {
    const broken = () => {
      throw new Error("bug");
    };
    const { gate } = create({ callerLimits: { ...noCallerLimits, charge: broken } });
    expect(() => gate.inspect({ query: "{ me { name } }", context: contextOf() })).toThrow("bug");
  });

  test("shows internal fields to services alone", () => {
    const { gate } = create();
    const query = "{ secret { token } }";
    const service = createServiceCaller("proxy", []);
    expect(gate.inspect({ query, context: contextOf({ caller: service }) })).toMatchObject({ kind: "query" });
    for (const caller of [user, createUserCaller("root", "ADMIN"), anonymous])
      expect(codesOf(gate.inspect({ query, context: contextOf({ caller }) }))).toEqual(["GRAPHQL_VALIDATION_FAILED"]);
  });

  test.each([
    ["introspection", "{ __schema { queryType { name } } }", true],
    ["the type's name", "mutation { __typename }", true],
    ["an open mutation", 'mutation { rename(upc: "1", name: "x") { upc } }', true],
    [
      "an open mutation in a fragment",
      'mutation { ...F } fragment F on Mutation { rename(upc: "1", name: "x") { upc } }',
      true,
    ],
    ["a query", "{ me { name } }", false],
    ["a query beside introspection", "{ __typename ... on Query { me { name } } }", false],
    ["a subscription", "subscription { productChanged { sequence } }", false],
    ["what is not valid", "{ gone }", false],
  ])("with a bad credential, %s: %s", (_what, query, isOpen) => {
    const caller = createStranger(new ToolyardError("UNAUTHENTICATED", "The token has expired."));
    const { gate } = create({ openMutations: ["rename"] });
    const inspected = gate.inspect({ query, context: contextOf({ caller }) });
    expect(codesOf(inspected)).toEqual(isOpen ? [] : ["UNAUTHENTICATED"]);
  });

  test("reports refused operations, where they are reported", () => {
    const usage = { executed: vi.fn(), refused: vi.fn() };
    const { gate } = create({ usage: usage as never });
    gate.inspect({ query: "{ gone }", context: contextOf() });
    expect(usage.refused).not.toHaveBeenCalled();
    const of = { clientName: "test" } as never;
    gate.inspect({ query: "{ gone }", context: contextOf({ usage: of }) });
    expect(usage.refused).toHaveBeenCalledExactlyOnceWith(expect.any(Array), of, live.current.executor.apiSchema);
  });
});

describe("executing", () => {
  const query = "query Names { me { name } }";
  const run = (gate: ReturnType<typeof create>["gate"], context: Partial<GatewayContext> = {}, text = query) =>
    gate.execute({ query: text, context: contextOf(context) });

  test("is between entering and leaving the caller's limits, and is counted", async () => {
    const { gate, entered, metrics } = create();
    answer = () => (expect(entered.now).toBe(1), null);
    expect(await run(gate)).toEqual({ data: { me: { name: "Ada" } } });
    expect(entered).toEqual({ now: 0, ever: ["operation"] });
    expect(metrics.operation).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ name: "Names", kind: "query" }),
      "ok",
      expect.any(Number),
    );
  });

  test("leaves the limits also when it fails", async () => {
    const { gate, entered, metrics } = create();
    answer = () => ({ data: null, errors: [{ message: "No.", extensions: { code: "FORBIDDEN" } }] });
    expect(codesOf(await run(gate))).toEqual(["FORBIDDEN"]);
    expect(metrics.operation.mock.lastCall?.[1]).toBe("error");
    const broken = vi.spyOn(live.current.executor, "execute").mockRejectedValueOnce(new Error("bug"));
    await expect(run(gate)).rejects.toThrow("bug");
    broken.mockRestore();
    expect(entered).toEqual({ now: 0, ever: ["operation", "operation"] });
  });

  test("does not begin where the text, the cost or the caller's limits forbid it", async () => {
    const { gate, entered, metrics } = create();
    answer = () => expect.unreachable();
    expect(codesOf(await run(gate, {}, "{ gone }"))).toEqual(["GRAPHQL_VALIDATION_FAILED"]);
    const costly = "query ($n: Int) { products(first: $n) { reviews(first: $n) { author { name } } } }";
    expect(codesOf(await gate.execute({ query: costly, variables: { n: 1e9 }, context: contextOf() }))).toEqual([
      "OPERATION_LIMIT_EXCEEDED",
    ]);
    expect(entered.ever).toEqual([]);
    expect(metrics.operation.mock.calls).toEqual(Array.from({ length: 2 }, () => [null, "error", 0]));
    const full = create({ callerLimits: { ...noCallerLimits, enter: refuse } });
    expect(errorsOf(await run(full.gate))).toMatchObject([{ extensions: { code: "RATE_LIMITED", requestId: "r1" } }]);
  });

  const failing = (extensions: Record<string, unknown>): SubgraphResponse => ({
    data: null,
    errors: [{ message: "password=hunter2", extensions }],
  });

  test("answers an internal error of a subgraph in neutral words; the log has its own", async () => {
    const { gate, log } = create();
    answer = () => failing({ code: "INTERNAL_SERVER_ERROR" });
    expect(errorsOf(await run(gate))).toMatchObject([
      {
        message: 'The subgraph "users" failed. The log has more under this request id.',
        path: ["me"],
        extensions: { code: "INTERNAL_SERVER_ERROR", service: "users", requestId: "r1" },
      },
    ]);
    expect(log.info).toHaveBeenCalledExactlyOnceWith(
      { request_id: "r1", subgraph: "users", path: ["me"], reason: "password=hunter2" },
      "a subgraph answered an error",
    );
  });

  test("shows a subgraph's words where that is asked for, and those of errors with a code of their own", async () => {
    const open = create({ maskErrors: false });
    answer = () => failing({ code: "INTERNAL_SERVER_ERROR" });
    expect(errorsOf(await run(open.gate))).toMatchObject([{ message: "password=hunter2" }]);
    const { gate, log } = create();
    answer = () => failing({ code: "NOT_FOUND" });
    expect(errorsOf(await run(gate))).toMatchObject([{ message: "password=hunter2" }]);
    expect(log.info).not.toHaveBeenCalled();
  });

  test("never shows a subgraph's stack", async () => {
    const { gate } = create({ maskErrors: false });
    answer = () => failing({ code: "NOT_FOUND", stacktrace: ["at x"], exception: { stacktrace: ["at x"] } });
    const [error] = errorsOf(await run(gate));
    expect(error?.extensions).toEqual({ code: "NOT_FOUND", service: "users", requestId: "r1" });
  });

  test("gives clients the warnings of mutations, and those of Toolyard's own subgraphs only", async () => {
    answer = ({ context }) => (context.warn?.("It still runs."), null);
    const mutation = 'mutation { rename(upc: "1", name: "x") { upc } }';
    const own = create();
    expect((await run(own.gate, {}, mutation)).extensions).toEqual({ warnings: ["It still runs."] });
    expect((await run(own.gate)).extensions).toBeUndefined();
    const others = create({ subgraphsKnowCallers: false });
    expect((await run(others.gate, {}, mutation)).extensions).toBeUndefined();
  });

  test("gives the plan to those who may ask for it", async () => {
    const { gate } = create();
    expect((await run(gate, { wantsPlan: true })).extensions).toMatchObject({ plan: { node: { kind: "Fetch" } } });
  });

  test("logs a slow operation with its fetches and its plan, and no other", async () => {
    const { gate, log } = create({ slowOperationMs: 0 });
    // The shop has no metrics that note the times of fetches.
    answer = ({ context }) => {
      (context as GatewayContext).fetches?.push({ subgraph: "users", startedAtMs: 0, durationMs: 1.4, failed: true });
      return null;
    };
    await run(gate);
    await expect.poll(() => log.warn.mock.calls.length).toBe(1);
    expect(log.warn).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({
        request_id: "r1",
        user_id: "ada",
        operation: "Names",
        fetches: [{ subgraph: "users", duration_ms: 1, failed: true }],
        plan: expect.objectContaining({ node: expect.anything() }),
      }),
      "a slow operation",
    );
    const quick = create({ slowOperationMs: 60_000 });
    await run(quick.gate);
    expect(quick.log.warn).not.toHaveBeenCalled();
  });

  test("has its answer whatever becomes of the log's plan", async () => {
    const { gate, log } = create({ slowOperationMs: 0 });
    const broken = vi.spyOn(live.current.executor, "explain").mockRejectedValueOnce(new Error("no planner"));
    expect((await run(gate)).data).toEqual({ me: { name: "Ada" } });
    await expect.poll(() => log.error.mock.calls.length).toBe(1);
    broken.mockRestore();
  });

  test("tells the shadow and the usage reports", async () => {
    const usage = { executed: vi.fn(), refused: vi.fn() };
    const shadow = { answered: vi.fn() };
    const { gate } = create({ usage: usage as never, shadow });
    const of = { clientName: "test" } as never;
    await run(gate, { usage: of });
    await run(gate);
    expect(usage.executed).toHaveBeenCalledExactlyOnceWith(
      expect.objectContaining({ name: "Names" }),
      of,
      expect.any(Number),
      undefined,
    );
    expect(shadow.answered).toHaveBeenCalledTimes(2);
    expect(shadow.answered.mock.lastCall?.[0]).toMatchObject({ graph: live.current, result: { data: {} } });
  });

  test("has a line of its own in the log only on a socket, and none for services", async () => {
    const { gate, lines } = create();
    await run(gate);
    await run(gate, { isOnSocket: true, caller: createServiceCaller("proxy", []) });
    expect(lines).toEqual([]);
    await run(gate, { isOnSocket: true });
    expect(lines).toEqual([expect.objectContaining({ status: "ok", operation: "Names", user_id: "ada" })]);
  });
});

describe("a subscription", () => {
  const query = "subscription Changes { productChanged { sequence product { name } } }";
  const subscribe = (
    gate: ReturnType<typeof create>["gate"],
    more: object = {},
    context: Partial<GatewayContext> = {},
  ) => gate.subscribe({ query, context: contextOf(context), ...more });

  test("is counted while it runs, and leaves the limits when its source ends", async () => {
    const { gate, entered, metrics, lines } = create();
    const stream = subscribe(gate);
    expect(await stream.next()).toMatchObject({ value: { data: { productChanged: { sequence: "1" } } } });
    expect([gate.activeStreams, entered.now]).toEqual([1, 1]);
    expect(await drain(stream)).toEqual([]);
    expect([gate.activeStreams, entered]).toEqual([0, { now: 0, ever: ["subscription"] }]);
    expect(metrics.subscription).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ name: "Changes" }));
    expect(lines.map(({ status }) => status)).toEqual(["begun"]);
  });

  test.each(["return", "the signal"])("leaves the limits by %s, begun or not", async (how) => {
    const { gate, entered, lines } = create();
    for (const isBegun of [false, true]) {
      const gone = new AbortController();
      changes = async function* () {
        yield { productChanged: { sequence: "1", product: { upc: "1" } } };
        await new Promise(() => undefined);
      };
      const stream = subscribe(gate, { signal: gone.signal }, { isOnSocket: true });
      if (isBegun) await stream.next();
      if (how === "return") await stream.return();
      else gone.abort();
      expect([gate.activeStreams, entered.now]).toEqual([0, 0]);
    }
    expect(lines.map(({ status }) => status)).toEqual(["begun", "ended", "begun", "ended"]);
  });

  test("that is refused has one result with the error, and enters nothing", async () => {
    const { gate, entered, metrics } = create();
    const results = await drain(subscribe(gate, { query: "subscription { gone }" }));
    expect(results.map(codesOf)).toEqual([["GRAPHQL_VALIDATION_FAILED"]]);
    expect(entered.ever).toEqual([]);
    expect(metrics.subscription).not.toHaveBeenCalled();
    const full = create({ callerLimits: { ...noCallerLimits, enter: refuse } });
    expect((await drain(subscribe(full.gate))).map(codesOf)).toEqual([["RATE_LIMITED"]]);
  });

  test("that cannot be begun leaves the limits", () => {
    const { gate, entered } = create();
    let deep: unknown = null;
    for (let depth = 0; depth < 100_000; depth += 1) deep = [deep];
    expect(() => subscribe(gate, { variables: { deep } })).toThrow(RangeError);
    expect(entered).toEqual({ now: 0, ever: ["subscription"] });
  });

  test("has the request's id in the errors of its events, for each reader its own", async () => {
    answer = () => ({ data: null, errors: [{ message: "No.", extensions: { code: "INTERNAL_SERVER_ERROR" } }] });
    changes = async function* () {
      yield { productChanged: { sequence: "1", product: { upc: "1" } } };
    };
    const { gate } = create();
    const text = "subscription { productChanged { product { reviews { body } } } }";
    const streams = ["r1", "r2"].map((requestId) => subscribe(gate, { query: text }, { requestId }));
    const results = await Promise.all(streams.map(drain));
    expect(results.map(([first]) => errorsOf(first ?? {}))).toMatchObject(
      ["r1", "r2"].map((requestId) => [
        { message: expect.stringMatching(/^The subgraph "reviews" failed/), extensions: { requestId } },
      ]),
    );
  });
});
