import { anonymous, ConfigError } from "@toolyard/service-kit";
import { afterEach, expect, test, vi } from "vitest";
import { defaultOperationLimits } from "../admission/operation-limits.ts";
import { createInProcessClient } from "../execution/clients/in-process-client.ts";
import type { SubgraphClient } from "../execution/clients/subgraph-client.ts";
import { composeFixture } from "../execution/fixtures/compose.ts";
import { shop } from "../execution/fixtures/shop.ts";
import { createLiveGraph, type Graph, type LiveGraph } from "./live-graph.ts";

const { supergraphSdl, schemas } = composeFixture(shop());
/** The same graph with one subgraph elsewhere. */
const elsewhere = supergraphSdl.replace("http://users.invalid/", "http://users.elsewhere.invalid/");
const withNews = supergraphSdl.replace("broken: String", "broken: String @deprecated");

const lives: LiveGraph[] = [];
afterEach(() => Promise.all(lives.splice(0).map((live) => live.close())));

function create(options: { sdl?: string } = {}) {
  /** Names and URLs, as clients are made and closed. */
  const made: string[] = [];
  const closed: string[] = [];
  const log = { error: vi.fn(), warn: vi.fn(), info: vi.fn() };
  const live = createLiveGraph({
    supergraphSdl: options.sdl ?? supergraphSdl,
    createClient(name, url): SubgraphClient {
      const schema = schemas.get(name);
      if (!schema) throw new Error(`There is no subgraph ${name}.`);
      made.push(`${name} ${new URL(url).host}`);
      const client = createInProcessClient({ subgraph: { name, schema, createContext: (request) => request } });
      return {
        ...client,
        async close() {
          closed.push(`${name} ${new URL(url).host}`);
          await client.close();
        },
      };
    },
    limits: defaultOperationLimits,
    introspection: false,
    timeoutMs: 10_000,
    log,
  });
  lives.push(live);
  return { live, made, closed, log };
}

const namesOf = ({ executor }: Graph) =>
  executor.execute({ query: "{ products { name } }", context: { caller: anonymous, requestId: "test" } });

test("a supergraph that says the same changes nothing", async () => {
  const { live, made, closed } = create();
  const before = live.current;
  const swapped = vi.fn();
  live.onSwap(swapped);
  await live.swap(supergraphSdl);
  expect(live.current).toBe(before);
  expect(swapped).not.toHaveBeenCalled();
  expect(made.length).toBe(schemas.size);
  expect(closed).toEqual([]);
});

test("over a swap, clients of the same name and address are kept, and the others closed", async () => {
  const { live, made, closed } = create();
  made.length = 0;
  const swapped = vi.fn();
  const forget = live.onSwap(swapped);
  await live.swap(elsewhere);
  expect(live.current.supergraphSdl).toBe(elsewhere);
  expect(live.current.subgraphUrls.get("users")).toBe("http://users.elsewhere.invalid/");
  expect(made).toEqual(["users users.elsewhere.invalid"]);
  expect(closed).toEqual(["users users.invalid"]);
  expect(swapped).toHaveBeenCalledTimes(1);
  forget();
  await live.swap(supergraphSdl);
  expect(swapped).toHaveBeenCalledTimes(1);
});

test("an operation ends on the graph on which it began; its clients are closed after the last one has", async () => {
  const { live, closed } = create();
  const first = live.hold();
  const second = live.hold();
  await live.swap(elsewhere);
  expect(first.graph.supergraphSdl).toBe(supergraphSdl);
  expect((await namesOf(first.graph)).errors).toBeUndefined();
  first.release();
  first.release(); // twice is once
  expect(closed).toEqual([]);
  second.release();
  expect(closed).toEqual(["users users.invalid"]);
});

test("work that fails leaves its graph as well", async () => {
  const { live, closed } = create();
  const failing = live.use(async () => {
    await live.swap(elsewhere);
    expect(closed).toEqual([]);
    throw new Error("failed");
  });
  await expect(failing).rejects.toThrow("failed");
  expect(closed).toEqual(["users users.invalid"]);
});

test("a graph that goes back to an address keeps the client that operations on the first one still use", async () => {
  const { live, made, closed } = create();
  const onFirst = live.hold();
  await live.swap(elsewhere);
  made.length = 0;
  await live.swap(withNews);
  expect(made).toEqual([]);
  onFirst.release();
  expect(closed).toEqual(["users users.elsewhere.invalid"]);
});

test("a client that the next graph has taken over is not closed when the graph that had it is left meanwhile", async () => {
  const { live, closed, log } = create();
  await live.use(namesOf); // planned again for the next graph
  const onFirst = live.hold();
  await live.swap(elsewhere);
  const swapping = live.swap(withNews);
  // The next graph is prepared, and not yet in service.
  expect(live.current.supergraphSdl).toBe(elsewhere);
  onFirst.release();
  await swapping;
  expect(log.info).toHaveBeenLastCalledWith({ planned: 1, failed: 0 }, expect.any(String));
  expect(closed).toEqual(["users users.elsewhere.invalid"]);
  expect((await live.use(namesOf)).data).toMatchObject({ products: [{ name: "Table" }, {}, {}] });
});

test("a supergraph that cannot be used leaves the old one in service", async () => {
  const { live, closed } = create();
  const before = live.current;
  await expect(live.swap("type Query {")).rejects.toThrow(/Syntax Error/);
  await expect(live.swap("type Query { one: Int }")).rejects.toThrow("This is not a supergraph");
  expect(live.current).toBe(before);
  expect(closed).toEqual([]);
});

test("a graph that is closed while the next one is prepared closes that one, too, and does not put it into service", async () => {
  const { live, made, closed } = create();
  const swapped = vi.fn();
  live.onSwap(swapped);
  const swapping = live.swap(elsewhere);
  await live.close();
  await swapping;
  expect(swapped).not.toHaveBeenCalled();
  expect(live.current.supergraphSdl).toBe(supergraphSdl);
  expect(closed.toSorted()).toEqual(made.toSorted());
});

test("closing closes each client once, those of graphs with running operations as well", async () => {
  const { live, made, closed } = create();
  const held = live.hold();
  await live.swap(elsewhere);
  await live.close();
  held.release();
  expect(closed.toSorted()).toEqual(made.toSorted());
});

test("a first supergraph that cannot be used is the operator's to mend", () => {
  expect(() => create({ sdl: `${supergraphSdl}\ntype Broken { missing: Missing }` })).toThrow(
    expect.objectContaining({
      code: "BAD_USER_INPUT",
      message: expect.stringMatching(/^The supergraph cannot be used: .*Missing/),
    }),
  );
  const refuse = () => {
    throw new ConfigError("no address");
  };
  const options = {
    limits: defaultOperationLimits,
    introspection: false,
    timeoutMs: 1,
    log: { error: vi.fn(), warn: vi.fn(), info: vi.fn() },
  };
  expect(() => createLiveGraph({ ...options, supergraphSdl, createClient: refuse })).toThrow(ConfigError);
});

test("services may use what is tagged internal, and introspect; others may not", () => {
  const { live } = create();
  const { admission } = live.current;
  for (const query of ["{ secret { token } }", "{ __schema { queryType { name } } }"]) {
    expect(admission.internal.admit(query, null)).toMatchObject({ kind: "query" });
    expect(admission.public.admit(query, null)).toBeInstanceOf(Array);
  }
});
