import { expect, test } from "vitest";
import { anonymous, createUserCaller, type Caller } from "@toolyard/service-kit";
import { createSharedReads, type SharedReads } from "./shared-reads.ts";
import type { SubgraphClient, SubgraphRequest, SubgraphResponse } from "../clients/subgraph-client.ts";

/** A subgraph whose answers come when they are told to. */
function createSubgraph() {
  const pending: { request: SubgraphRequest; answer(response: SubgraphResponse): void; fail(error: Error): void }[] =
    [];
  const client: SubgraphClient = {
    name: "a",
    execute: (request) =>
      new Promise((resolve, reject) => {
        pending.push({ request, answer: resolve, fail: reject });
      }),
    subscribe: () => {
      throw new Error("Nobody subscribes here.");
    },
    close: () => Promise.resolve(),
  };
  return { client, pending };
}

function requestFor(caller: Caller = anonymous, more: Partial<SubgraphRequest> = {}) {
  const { signal } = new AbortController();
  return { query: "{ a }", variables: {}, variablesText: "{}", context: { caller, requestId: "r" }, signal, ...more };
}

function read(reads: SharedReads, client: SubgraphClient, request: ReturnType<typeof requestFor>, scope: string) {
  return reads.read(client, request, reads.readerOf(request.context, scope));
}

const shared = () => createSharedReads({ windowMs: 10, now: () => 0 });

test("identical reads under way are one request, and each has data of its own to change", async () => {
  const { client, pending } = createSubgraph();
  const reads = shared();
  const both = [read(reads, client, requestFor(), ""), read(reads, client, requestFor(), "")];
  expect(pending).toHaveLength(1);
  pending[0]?.answer({ data: { a: { list: [1] } } });
  const [first, second] = await Promise.all(both);
  expect(first).toEqual({ data: { a: { list: [1] } } });
  expect(second).toEqual(first);
  expect(second?.data?.["a"]).not.toBe(first?.data?.["a"]);
});

test("where a subgraph is told nothing of callers, other callers share what has the same headers", async () => {
  const { client, pending } = createSubgraph();
  const reads = createSharedReads({ windowMs: 10, now: () => 0, isByCaller: false });
  const ask = (user: string, tenant: string) => {
    const caller = createUserCaller(user, "VIEWER");
    const context = { caller, requestId: user, clientAddress: user, headers: { tenant } };
    return read(reads, client, requestFor(caller, { context }), "");
  };
  const both = [ask("u1", "a"), ask("u2", "a")];
  void ask("u3", "b");
  expect(pending).toHaveLength(2);
  pending[0]?.answer({ data: { a: 1 } });
  expect(await Promise.all(both)).toEqual([{ data: { a: 1 } }, { data: { a: 1 } }]);
});

test.each([
  ["another caller", requestFor(createUserCaller("u1", "VIEWER")), ""],
  ["other variables", requestFor(anonymous, { variablesText: `{"x":1}` }), ""],
  ["another query", requestFor(anonymous, { query: "{ b }" }), ""],
  [
    "other forwarded headers",
    requestFor(anonymous, { context: { caller: anonymous, requestId: "r", headers: { x: "1" } } }),
    "",
  ],
  ["another event of a subscription", requestFor(), "event 2"],
])("%s is another read", (_what, request, scope) => {
  const { client, pending } = createSubgraph();
  const reads = shared();
  void read(reads, client, requestFor(), "");
  void read(reads, client, request as ReturnType<typeof requestFor>, scope);
  expect(pending).toHaveLength(2);
});

test("a read that began too long ago is not joined", () => {
  const { client, pending } = createSubgraph();
  let now = 0;
  const reads = createSharedReads({ windowMs: 10, now: () => now });
  void read(reads, client, requestFor(), "");
  now = 11;
  void read(reads, client, requestFor(), "");
  expect(pending).toHaveLength(2);
});

test("what was read before a mutation ended is not given to who reads after it", async () => {
  const { client, pending } = createSubgraph();
  const reads = shared();
  void read(reads, client, requestFor(), "");
  const written = reads.write(client, requestFor(anonymous, { query: "mutation { b }" }));
  void read(reads, client, requestFor(), "");
  pending[1]?.answer({ data: { b: 1 } });
  await written;
  void read(reads, client, requestFor(), "");
  expect(pending.map(({ request }) => request.query)).toEqual(["{ a }", "mutation { b }", "{ a }", "{ a }"]);
});

test("who joined is answered also when the client that asked first goes away", async () => {
  const { client, pending } = createSubgraph();
  const reads = shared();
  const gone = new AbortController();
  const first = read(reads, client, requestFor(anonymous, { signal: gone.signal }), "");
  const second = read(reads, client, requestFor(), "");
  gone.abort();
  pending[0]?.answer({ errors: [{ message: "cancelled" }] });
  await first;
  await expect.poll(() => pending.length).toBe(2);
  pending[1]?.answer({ data: { a: 1 } });
  expect(await second).toEqual({ data: { a: 1 } });
});

test("a failure is everybody's, and the next read is a new one", async () => {
  const { client, pending } = createSubgraph();
  const reads = shared();
  const both = [read(reads, client, requestFor(), ""), read(reads, client, requestFor(), "")];
  pending[0]?.fail(new Error("down"));
  for (const one of both) await expect(one).rejects.toThrow("down");
  void read(reads, client, requestFor(), "");
  expect(pending).toHaveLength(2);
});
