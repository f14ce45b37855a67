import { buildSchema, type GraphQLSchema } from "graphql";
import { createUserCaller, ToolyardError, type Subgraph } from "@toolyard/service-kit";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import type { RequestContext } from "@toolyard/service-kit/graph/subgraph.ts";
import { createLightAbort } from "@toolyard/service-kit/process/light-abort.ts";
import { ODD_JSON, ODD_TEXTS, testMethods } from "@toolyard/testing/port-contract.ts";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import type { OperationContext, SubgraphClient, SubgraphRequest, SubgraphResponse } from "./subgraph-client.ts";

export interface OpenSubgraphClient {
  client: SubgraphClient;
  /** A client whose calls are signed for another subgraph; absent where nothing is signed. */
  stranger?: SubgraphClient;
  /** Cuts all connections, and refuses others until `mend`; absent where there are none. */
  cut?(): void;
  mend?(): void;
  /** Whether the server is none of Toolyard's: it has its own ways with a stream that breaks in the subgraph. */
  isForeign?: boolean;
  close(): Promise<void>;
}

const NAME = "things";
const MEBIBYTE = 1_048_576;

/** The resolvers of the subgraph under test, and a record of the contexts they were called with. */
interface Behaviour {
  /** Of each operation, and each event of a subscription. */
  contexts: RequestContext[];
  mutations: number;
  /** Answers `Query.slow`. */
  slow: PromiseWithResolvers<string>;
  /** The source of `Subscription.changed`. */
  changes: () => AsyncIterable<unknown> | Promise<AsyncIterable<unknown>>;
}

const typeDefs = `
  scalar JSON
  type Query {
    echo(text: String, json: JSON): Echo
    caller: String
    slow: String
    large(bytes: Int!): String
    things: [Thing]
    refuses: String
  }
  type Echo { text: String json: JSON missing: String }
  type Thing { name: String fails: String }
  type Mutation { add: Int }
  type Subscription { changed: Change }
  type Change { number: Int text: String caller: String fails: String }
`;

const refusal = () => {
  throw new ToolyardError("CONFLICT", "It is \u{1f600} already there.", {
    unmet: [{ gate: "x", reason: "y" }],
  });
};

/** A subgraph of the contract's own, as the gateway's transports take one. */
function createSubgraph(behaviour: Behaviour): Subgraph {
  const schema: GraphQLSchema = buildSchema(typeDefs);
  const resolvers: Record<string, Record<string, (...given: never[]) => unknown>> = {
    Query: {
      echo: (_: unknown, given: object) => given,
      caller: (_: unknown, _given: unknown, { caller }: RequestContext) => caller.userId,
      slow: () => behaviour.slow.promise,
      large: (_: unknown, { bytes }: { bytes: number }) => "\u6f22".repeat(bytes / 3),
      things: () => [{ name: "first" }, null, { name: "third" }],
      refuses: refusal,
    },
    Thing: { fails: ({ name }: { name: string }) => (name === "third" ? refusal() : name) },
    Mutation: { add: () => ++behaviour.mutations },
    Change: {
      caller: (_: unknown, _given: unknown, { caller }: RequestContext) => caller.userId,
      fails: refusal,
    },
  };
  for (const [type, fields] of Object.entries(resolvers)) {
    const definition = schema.getType(type);
    if (!definition || !("getFields" in definition)) throw new Error(`There is no type ${type}.`);
    for (const [field, resolve] of Object.entries(fields))
      Object.assign(definition.getFields()[field] ?? {}, { resolve });
  }
  const changed = schema.getSubscriptionType()?.getFields()["changed"];
  if (!changed) throw new Error("There is no subscription.");
  changed.subscribe = () => behaviour.changes();
  changed.resolve = (event) => event as object;
  return {
    name: NAME,
    schema,
    createContext(request) {
      behaviour.contexts.push(request);
      return request;
    },
    start: async () => undefined,
    health: async () => [],
    close: async () => undefined,
  };
}

/** The behaviour that every transport to a subgraph has in common. `open` makes a client of the subgraph. */
export function subgraphClientContract(open: (subgraph: Subgraph) => Promise<OpenSubgraphClient>): void {
  const behaviour: Behaviour = {
    contexts: [],
    mutations: 0,
    slow: Promise.withResolvers(),
    changes: () => numbers(0),
  };
  let opened: OpenSubgraphClient;
  let client: SubgraphClient;
  beforeAll(async () => {
    opened = await open(createSubgraph(behaviour));
    client = opened.client;
  });
  afterAll(() => opened.close());
  beforeEach(() => Object.assign(behaviour, { contexts: [], mutations: 0, slow: Promise.withResolvers() }));

  const ada = createUserCaller("ada", "DEVELOPER");
  const contextOf = (more: Partial<OperationContext> = {}): OperationContext => ({
    caller: ada,
    requestId: "r1",
    clientAddress: "192.0.2.7",
    ...more,
  });
  const requestOf = (query: string, more: Partial<SubgraphRequest> = {}): SubgraphRequest => ({
    query,
    context: contextOf(),
    signal: createLightAbort().signal,
    ...more,
  });
  const execute = (query: string, more: Partial<SubgraphRequest> = {}) => client.execute(requestOf(query, more));
  const dataOf = async (query: string, more: Partial<SubgraphRequest> = {}) => {
    const { data, errors } = await execute(query, more);
    expect(errors).toBeUndefined();
    return plain(data);
  };
  const subscribe = (query = "subscription { changed { number } }", more: Partial<SubgraphRequest> = {}) =>
    client.subscribe(requestOf(query, more))[Symbol.asyncIterator]();

  testMethods<Required<SubgraphClient>>({
    name() {
      test("is the subgraph's", () => expect(client.name).toBe(NAME));
    },

    url() {
      test("is there where connections can be cut", () =>
        expect(client.url !== undefined).toBe(opened.cut !== undefined));
    },

    execute() {
      const ECHO = "query ($text: String, $json: JSON) { echo(text: $text, json: $json) { text json missing } }";

      test("takes variables to the subgraph, and answers back, as they are", async () => {
        for (const text of [...ODD_TEXTS, "", null, "\u0000", "\u2028", "a\r\n\r\nb"]) {
          const variables = { text, json: { text, list: [] } };
          const echo = { ...variables, missing: null };
          expect(await dataOf(ECHO, { variables })).toEqual({ echo });
          expect(await dataOf(ECHO, { variablesText: JSON.stringify(variables) })).toEqual({ echo });
        }
        const { data } = await execute(ECHO, { variables: { json: ODD_JSON } });
        expect(JSON.stringify(data)).toBe(JSON.stringify({ echo: { text: null, json: ODD_JSON, missing: null } }));
        expect(await dataOf(ECHO)).toEqual({ echo: { text: null, json: null, missing: null } });
      });

      test("takes what is large either way", async () => {
        const { data } = await execute(`{ large(bytes: ${3 * 3 * MEBIBYTE}) }`);
        expect(fieldOf<string>(data, "large").length).toBe(3 * MEBIBYTE);
        const text = "\u{1f600}".repeat(MEBIBYTE / 2);
        const { data: echoed } = await execute("query ($text: String) { echo(text: $text) { text } }", {
          variables: { text },
        });
        expect(fieldOf<{ text: string }>(echoed, "echo").text === text).toBe(true);
      });

      test("tells on whose behalf an operation runs, and from where", async () => {
        await dataOf("{ caller }");
        expect(behaviour.contexts).toMatchObject([
          { caller: { userId: "ada", role: "DEVELOPER" }, clientAddress: "192.0.2.7" },
        ]);
      });

      test("takes each answer to who asked, however many ask at once", async () => {
        const names = Array.from({ length: 200 }, (_, n) => `user-${n % 7}`);
        const answers = await Promise.all(
          names.map((name) =>
            dataOf("{ caller }", { context: contextOf({ caller: createUserCaller(name, "VIEWER") }) }),
          ),
        );
        expect(answers.map((data) => data?.["caller"])).toEqual(names);
      });

      test("sends a mutation once", async () => {
        expect(await dataOf("mutation { add }", { isMutation: true })).toEqual({ add: 1 });
        // Another of it would have come before this one.
        await dataOf("{ caller }");
        expect(behaviour.mutations).toBe(1);
      });

      test("gives errors with their messages, paths and codes, beside the data that there is", async () => {
        const { data, errors } = await execute("{ things { name fails } refuses }");
        expect(plain(data)).toEqual({
          things: [{ name: "first", fails: "first" }, null, { name: "third", fails: null }],
          refuses: null,
        });
        const told = {
          message: "It is \u{1f600} already there.",
          extensions: { code: "CONFLICT", unmet: [{ gate: "x", reason: "y" }] },
        };
        const byPath = errors?.toSorted((one, other) => (one.path?.length ?? 0) - (other.path?.length ?? 0));
        expect(byPath).toMatchObject([
          { ...told, path: ["refuses"] },
          { ...told, path: ["things", 2, "fails"] },
        ]);
      });

      test("gives data that are the caller's own, to change", async () => {
        const query = "{ things { name } }";
        const { data } = await execute(query);
        fieldOf<{ name: string }[]>(data, "things")[0] = { name: "changed" };
        expect(await dataOf(query)).toEqual({ things: [{ name: "first" }, null, { name: "third" }] });
      });

      test("ends nobody else's operation with one that is aborted", async () => {
        const { signal, abort } = createLightAbort();
        const aborted = execute("{ slow }", { signal });
        await expect.poll(() => behaviour.contexts).toHaveLength(1);
        const other = execute("{ slow caller }");
        await expect.poll(() => behaviour.contexts).toHaveLength(2);
        abort(null);
        behaviour.slow.resolve("at last");
        expect(plain((await other).data)).toEqual({ slow: "at last", caller: "ada" });
        await aborted; // with whatever: nobody waits for it
        expect(await dataOf("{ caller }")).toEqual({ caller: "ada" });
      });

      test("says that a subgraph which cannot be reached is unavailable, and asks it again afterwards", async () => {
        if (!opened.cut) return;
        opened.cut();
        for (const isMutation of [false, true])
          expect(await execute(isMutation ? "mutation { add }" : "{ caller }", { isMutation })).toMatchObject({
            errors: [{ message: expect.stringContaining(`"${NAME}"`), extensions: { code: "UPSTREAM_UNAVAILABLE" } }],
          });
        opened.mend?.();
        expect(await dataOf("{ caller }")).toEqual({ caller: "ada" });
        expect(behaviour.mutations).toBe(0);
      });

      test("says that a subgraph is unavailable whose connection breaks before it has answered", async () => {
        if (!opened.cut) return;
        const waiting = execute("{ slow }");
        await expect.poll(() => behaviour.contexts).toHaveLength(1);
        opened.cut();
        expect(await waiting).toMatchObject({ errors: [{ extensions: { code: "UPSTREAM_UNAVAILABLE" } }] });
        opened.mend?.();
      });

      test("is refused with what was signed for another subgraph", async () => {
        if (!opened.stranger) return;
        const { data, errors } = await opened.stranger.execute(requestOf("{ caller }"));
        expect(data ?? null).toBeNull();
        expect(errors).toMatchObject([{ extensions: { code: "UNAUTHENTICATED" } }]);
        expect(behaviour.contexts).toEqual([]);
      });
    },

    subscribe() {
      test("yields the events in their order, each once, and ends when the subgraph does", async () => {
        behaviour.changes = () => numbers(300);
        let opens = 0;
        const events = subscribe(undefined, { onOpen: () => (opens += 1) });
        const seen: unknown[] = [];
        for (let step = await events.next(); !step.done; step = await events.next()) seen.push(plain(step.value.data));
        expect(seen).toEqual(Array.from({ length: 300 }, (_, n) => ({ changed: { number: n + 1 } })));
        expect(opens).toBe(1);
        expect(await events.next()).toMatchObject({ done: true });
      });

      test("takes large events, with the caller of the subscription", async () => {
        const text = "\u{1f600}".repeat(MEBIBYTE / 2);
        behaviour.changes = async function* () {
          yield { text };
        };
        const { value } = (await subscribe(
          "subscription { changed { text caller } }",
        ).next()) as IteratorYieldResult<SubgraphResponse>;
        const { text: taken, caller } = fieldOf<{ text: string; caller: string }>(value.data, "changed");
        expect([taken === text, caller]).toEqual([true, "ada"]);
        expect(behaviour.contexts.at(-1)).toMatchObject({ clientAddress: "192.0.2.7" });
      });

      test("gives the errors of an event beside its data, and goes on", async () => {
        behaviour.changes = () => numbers(2);
        const events = subscribe("subscription { changed { number fails } }");
        for (const number of [1, 2]) {
          const { value } = (await events.next()) as IteratorYieldResult<SubgraphResponse>;
          expect(plain(value.data)).toEqual({ changed: { number, fails: null } });
          expect(value.errors).toMatchObject([{ path: ["changed", "fails"], extensions: { code: "CONFLICT" } }]);
        }
        expect((await events.next()).done).toBe(true);
      });

      test("tells a refusal in one response, which is no opening", async () => {
        behaviour.changes = refusal;
        let opens = 0;
        const events = subscribe(undefined, { onOpen: () => (opens += 1) });
        const { value } = (await events.next()) as IteratorYieldResult<SubgraphResponse>;
        expect(value.data ?? null).toBeNull();
        expect(value.errors).toMatchObject([{ extensions: { code: "CONFLICT" } }]);
        expect((await events.next()).done).toBe(true);
      });

      test("ends with an error of the subgraph's own stream, which keeps its code, after the events before", async () => {
        if (opened.isForeign) return;
        behaviour.changes = async function* () {
          yield* numbers(1);
          throw graphqlError("SLOW_CONSUMER", "It is read too slowly.", { extensions: { lastSequence: "1" } });
        };
        const events = subscribe();
        expect((await events.next()).done).toBe(false);
        const end = await events.next().then(
          (step) => (step.value as SubgraphResponse).errors?.[0],
          (error: unknown) => error,
        );
        expect(end).toMatchObject({ extensions: { code: "SLOW_CONSUMER", lastSequence: "1" } });
        expect((await events.next()).done).toBe(true);
      });

      test("throws when its connection breaks, or is refused", async () => {
        if (!opened.cut) return;
        const source = createSource();
        behaviour.changes = source.open;
        const events = subscribe();
        expect((await events.next()).done).toBe(false);
        opened.cut();
        await expect(events.next()).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
        await expect(subscribe().next()).rejects.toMatchObject({ code: "UPSTREAM_UNAVAILABLE" });
        await source.closed;
        opened.mend?.();
        expect((await subscribe().next()).done).toBe(false);
      });

      test("closes the subgraph's stream when it is left between two events", async () => {
        const source = createSource();
        behaviour.changes = source.open;
        const events = subscribe();
        expect((await events.next()).done).toBe(false);
        expect((await events.return?.())?.done).toBe(true);
        await source.closed;
        expect((await events.next()).done).toBe(true);
      });

      test("ends by the signal, while it waits for an event, and closes the subgraph's stream", async () => {
        const source = createSource();
        behaviour.changes = source.open;
        const { signal, abort } = createLightAbort();
        const events = subscribe(undefined, { signal });
        expect((await events.next()).done).toBe(false);
        const next = events.next();
        abort(null);
        expect((await next).done).toBe(true);
        await source.closed;
      });

      test("ends at once where the signal has aborted before, and asks for nothing", async () => {
        const open = vi.fn(() => numbers(1));
        behaviour.changes = open;
        const { signal, abort } = createLightAbort();
        abort(null);
        expect((await subscribe(undefined, { signal }).next()).done).toBe(true);
        expect(open).not.toHaveBeenCalled();
      });

      test("ends where the signal aborts before the subgraph has opened the stream, which is closed then", async () => {
        const source = createSource();
        const opening = Promise.withResolvers<void>();
        const asked = Promise.withResolvers<void>();
        behaviour.changes = async () => {
          asked.resolve();
          await opening.promise;
          return source.open();
        };
        const { signal, abort } = createLightAbort();
        const next = subscribe(undefined, { signal }).next();
        await asked.promise;
        abort(null);
        expect((await next).done).toBe(true);
        opening.resolve();
        await source.closed;
      });

      test("is refused with what was signed for another subgraph", async () => {
        if (!opened.stranger) return;
        const open = vi.fn(() => numbers(1));
        behaviour.changes = open;
        const [first] = await Promise.allSettled([
          opened.stranger.subscribe(requestOf("subscription { changed { number } }"))[Symbol.asyncIterator]().next(),
        ]);
        if (first.status === "fulfilled")
          expect(first.value).toMatchObject({ value: { errors: [{ extensions: { code: "UNAUTHENTICATED" } }] } });
        expect(open).not.toHaveBeenCalled();
      });
    },

    close() {
      test("can be done twice", async () => {
        const { client: another, close } = await open(createSubgraph(behaviour));
        expect(plain((await another.execute(requestOf("{ caller }"))).data)).toEqual({ caller: "ada" });
        await another.close();
        await another.close();
        await close();
      });
    },
  });
}

/** A field that the query asked for, of the type that the schema gives it. */
function fieldOf<Value>(data: SubgraphResponse["data"], name: string): Value {
  return (data ?? {})[name] as Value;
}

/** Without the prototypes of graphql-js's results. */
function plain(data: SubgraphResponse["data"]): Record<string, unknown> | null {
  return data == null ? null : (JSON.parse(JSON.stringify(data)) as Record<string, unknown>);
}

async function* numbers(count: number): AsyncGenerator<{ number: number }> {
  for (let number = 1; number <= count; number++) yield { number };
}

/** A stream of one event that then waits until it is closed. */
function createSource(): { open(): AsyncIterable<unknown>; closed: Promise<void> } {
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  return {
    closed,
    open() {
      let isFirst = true;
      const end = { done: true, value: undefined } as const;
      return {
        [Symbol.asyncIterator]: () => ({
          async next() {
            if (isFirst) {
              isFirst = false;
              return { done: false, value: { number: 1 } };
            }
            await closed;
            return end;
          },
          async return() {
            close();
            return end;
          },
        }),
      };
    },
  };
}
