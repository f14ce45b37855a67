import { afterEach, beforeEach, expect, test } from "vitest";
import { createEventParser, type ServerSentEvent } from "../formats/event-stream.ts";
import { createChangeLog, type ChangeLog } from "./fixtures/change-log.ts";
import { composeContractShop, startContractServer, type ContractServer } from "./fixtures/contract-server.ts";

const composed = composeContractShop();
let log: ChangeLog;
let server: ContractServer;
const open: AbortController[] = [];

beforeEach(async () => {
  log = createChangeLog();
  server = await startContractServer({ composed, changes: log.changes });
});
afterEach(async () => {
  for (const controller of open.splice(0)) controller.abort();
  await server.close();
});

interface Asked {
  method?: string;
  path?: string;
  search?: Record<string, string>;
  headers?: Record<string, string>;
  body?: object;
}

async function ask({
  method = "POST",
  path = "/graphql/stream",
  search = {},
  headers = {},
  body,
}: Asked): Promise<Response> {
  const controller = new AbortController();
  open.push(controller);
  return fetch(`${server.origin}${path}?${new URLSearchParams(search).toString()}`, {
    method,
    headers: {
      authorization: "Bearer user:u1",
      ...(body && { "content-type": "application/json" }),
      ...headers,
    },
    ...(body && { body: JSON.stringify(body) }),
    signal: controller.signal,
  });
}

const stream = { accept: "text/event-stream" };

async function* eventsOf(response: Response): AsyncGenerator<ServerSentEvent> {
  const parser = createEventParser();
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) yield* parser.feed(decoder.decode(chunk, { stream: true }));
}

async function take(response: Response, count: number): Promise<ServerSentEvent[]> {
  const events: ServerSentEvent[] = [];
  for await (const event of eventsOf(response)) if (events.push(event) === count) break;
  return events;
}

const WATCH = `subscription { changed: productChanged(after: "0") { sequence } }`;
const WATCH_FROM = `subscription Watch($from: String) { changed: productChanged(after: $from) { sequence } }`;

test("an event's sequence is its id, and a browser that connects again with it goes on after it", async () => {
  log.append(5);
  const [first, second] = await take(await ask({ method: "GET", search: { query: WATCH }, headers: stream }), 2);
  expect([first?.id, second?.id]).toEqual(["1", "2"]);
  for (const query of [WATCH, WATCH_FROM, "subscription { productChanged { sequence } }"]) {
    const search = { query, variables: JSON.stringify({ from: "0" }) };
    const again = await ask({ method: "GET", search, headers: { ...stream, "last-event-id": "2" } });
    const events = await take(again, 3);
    expect(events.map(({ id }) => id)).toEqual(["3", "4", "5"]);
  }
});

test("answers carry the headers of the server around it and are not stored on the way", async () => {
  const response = await ask({ path: "/graphql", headers: stream, body: { query: "{ me { name } }" } });
  expect(Object.fromEntries(response.headers)).toMatchObject({
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-served-by": "contract",
  });
});

test("a mutation by GET is refused, a query is not", async () => {
  const mutation = { query: `mutation { rename(upc: "1", name: "x") { name } }` };
  const refused = await ask({ method: "GET", search: mutation, headers: stream });
  expect([refused.status, refused.headers.get("allow")]).toEqual([405, "POST"]);
  const answer = await take(await ask({ method: "GET", search: { query: "{ me { name } }" }, headers: stream }), 2);
  expect(answer.map(({ event, data }) => [event, data])).toEqual([
    ["next", `{"data":{"me":{"name":"Ada"}}}`],
    ["complete", ""],
  ]);
});

test.each([
  ["no operation", {}],
  ["a query that is no text", { query: 5 }],
  ["variables that are no object", { query: "{ me { name } }", variables: [1] }],
])("%s is refused", async (_, body) => {
  expect((await ask({ headers: stream, body })).status).toBe(400);
});

async function reserve(authorization = "Bearer user:u1"): Promise<string> {
  const response = await ask({ method: "PUT", headers: { authorization } });
  expect(response.status).toBe(201);
  return response.text();
}

test("a reserved stream is opened once, by its token alone", async () => {
  const token = await reserve();
  const unauthenticated = { ...stream, authorization: "" };
  expect((await ask({ method: "GET", search: { token }, headers: unauthenticated })).status).toBe(200);
  expect((await ask({ method: "GET", search: { token }, headers: stream })).status).toBe(409);
  expect((await ask({ method: "GET", search: { token: "guessed" }, headers: stream })).status).toBe(404);
});

test("of several who come with one token at the same time, one gets the stream", async () => {
  const token = await (await ask({ method: "PUT" })).text();
  const answers = await Promise.all(
    [1, 2, 3].map(() => ask({ method: "GET", headers: stream, search: { token } }).then(({ status }) => status)),
  );
  expect(answers.toSorted((one, other) => one - other)).toEqual([200, 409, 409]);
});

test("one caller cannot reserve all streams that others could have", async () => {
  const reserve = async (authorization: string) => {
    const answer = await ask({ method: "PUT", headers: { authorization } });
    return { status: answer.status, text: await answer.text() };
  };
  const answers = await Promise.all(Array.from({ length: 103 }, () => reserve("Bearer user:u1")));
  const reserved = answers.filter(({ status }) => status === 201);
  expect(reserved).toHaveLength(100);
  expect(answers.filter(({ status }) => status === 429)).toHaveLength(3);
  expect((await reserve("Bearer user:u2")).status).toBe(201);
  // Those that are opened make room.
  const [first] = reserved;
  expect((await ask({ method: "GET", headers: stream, search: { token: first?.text ?? "" } })).status).toBe(200);
  expect((await reserve("Bearer user:u1")).status).toBe(201);
});

test("nobody else runs or ends an operation on a stream", async () => {
  const token = await reserve();
  const headers = { "x-graphql-event-stream-token": token };
  const body = { query: WATCH, extensions: { operationId: "1" } };
  expect((await ask({ headers, body })).status).toBe(202);
  const other = { ...headers, authorization: "Bearer user:u2" };
  expect((await ask({ headers: other, body: { ...body, extensions: { operationId: "2" } } })).status).toBe(403);
  expect((await ask({ method: "DELETE", headers: other, search: { operationId: "1" } })).status).toBe(403);
  expect((await ask({ headers: { ...headers, authorization: "Bearer bad" }, body })).status).toBe(401);
});

test("an operation may start before its stream is opened, and has an id of its own", async () => {
  const token = await reserve();
  const headers = { "x-graphql-event-stream-token": token };
  const body = { query: WATCH, extensions: { operationId: "1" } };
  expect((await ask({ headers, body })).status).toBe(202);
  expect((await ask({ headers, body })).status).toBe(409);
  expect((await ask({ headers, body: { query: WATCH } })).status).toBe(400);
  log.append(2);
  const [one, two] = await take(await ask({ method: "GET", search: { token }, headers: stream }), 2);
  expect(JSON.parse(one?.data ?? "")).toEqual({ id: "1", payload: { data: { changed: { sequence: "1" } } } });
  expect(JSON.parse(two?.data ?? "")).toMatchObject({ id: "1" });
});

test("a reservation of a revoked caller is gone", async () => {
  const token = await reserve("Bearer user:gone");
  server.protocols.endWhere(({ userId }) => userId === "gone", "revoked");
  expect((await ask({ method: "GET", search: { token }, headers: stream })).status).toBe(404);
});
