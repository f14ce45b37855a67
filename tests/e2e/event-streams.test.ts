import { once } from "node:events";
import { chromiumPath, openBrowser } from "@toolyard/testing/browser.ts";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { EventSource, type EventSourceInit } from "eventsource";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { readContract } from "./fixtures/openapi-contract.ts";

/* GET /events and /ws (docs/streams.md), by the clients that people use. */

interface Envelope {
  id: string;
  type: string;
  at: string;
  data: Record<string, unknown>;
}

const TOPICS = ["deployment", "health", "task", "tool"];

let toolyard: RunningToolyard;
let token: string;
let graph: ReturnType<typeof graphqlClient>;
/** Subscriptions that Toolyard's own parts have open. */
let own: number;
/** Streams and sockets that a test has opened. */
const open: { close(): void }[] = [];

beforeAll(async () => {
  toolyard = await startToolyard({ env: { REGISTRATION_ROLE: "VIEWER" } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  graph = graphqlClient(toolyard.url, token);
  own = await activeSubscriptions();
});
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

/** The address of a stream. */
function streamUrl(path: string, query: Record<string, string> = {}): URL {
  const url = new URL(path, toolyard.url);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url;
}

/** A `fetch` that sends a credential. */
const withToken =
  (credential = token): NonNullable<EventSourceInit["fetch"]> =>
  (url, init) =>
    fetch(url, { ...init, headers: { ...init.headers, authorization: `Bearer ${credential}` } });

/** All that an EventSource gets: it connects again by itself. */
function listen(query: Record<string, string> = {}, init: EventSourceInit = { fetch: withToken() }) {
  const source = new EventSource(streamUrl("/events", query), init);
  open.push(source);
  const messages: Envelope[] = [];
  const errors: { code?: number | undefined }[] = [];
  source.onmessage = ({ data, lastEventId }) => {
    // Texts of the server under test.
    const message = JSON.parse(String(data)) as Envelope;
    expect(lastEventId).toBe(message.id);
    messages.push(message);
  };
  source.onerror = ({ code }) => errors.push({ code });
  return { source, messages, errors, of: (type: string) => messages.filter((message) => message.type === type) };
}

function connect(
  query: Record<string, string> = {},
  headers: Record<string, string> = { authorization: `Bearer ${token}` },
) {
  const socket = new WebSocket(String(streamUrl("/ws", query)).replace("http", "ws"), { headers });
  open.push({ close: () => socket.terminate() });
  const messages: Envelope[] = [];
  // Texts of the server under test.
  socket.on("message", (data: Buffer) => messages.push(JSON.parse(data.toString("utf8")) as Envelope));
  const closed = new Promise<[number, string]>((resolve) =>
    socket.once("close", (code, reason) => resolve([code, reason.toString()])),
  );
  return {
    messages,
    closed,
    opened: once(socket, "open"),
    say: (message: unknown) => socket.send(JSON.stringify(message)),
    of: (type: string) => messages.filter((message) => message.type === type),
  };
}

async function activeSubscriptions(): Promise<number> {
  const answer = await fetch(new URL("/metrics", toolyard.url), { headers: { authorization: `Bearer ${token}` } });
  return Number(/^subscriptions_active (\d+)/m.exec(await answer.text())?.[1]);
}

let made = 0;
async function createTool(): Promise<{ id: string; slug: string }> {
  const { createTool: tool } = await graph.query<{ createTool: { id: string; slug: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id slug } }",
    { input: { name: `Streamed ${made++}`, description: "e2e", launch: { stdio: { command: "true" } } } },
  );
  return tool;
}

async function analyze(toolId: string): Promise<void> {
  await graph.query("mutation ($toolId: ID!) { suggestImprovements(toolId: $toolId) { id } }", { toolId });
}

async function ticket(credential = token): Promise<string> {
  const answer = await fetch(new URL("/api/v1/auth/ticket", toolyard.url), {
    method: "POST",
    headers: { authorization: `Bearer ${credential}` },
  });
  return ((await answer.json()) as { ticket: string }).ticket;
}

test("an EventSource gets what happens to deployments, their health, tasks and tools, in one envelope", async () => {
  const { messages, of } = listen();
  await expect.poll(() => of("subscribed")).toMatchObject([{ data: { topics: TOPICS } }]);
  const { id: toolId, slug } = await createTool();
  await analyze(toolId);
  await graph.query("mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }", { input: { toolId } });
  await expect.poll(() => new Set(messages.map(({ type }) => type))).toEqual(new Set(["subscribed", ...TOPICS]));
  expect(of("tool")[0]?.data).toMatchObject({
    tool_id: toolId,
    kind: "CREATED",
    tool: { slug, version: { number: 1 } },
  });
  expect(of("task")[0]?.data).toMatchObject({ status: "QUEUED", task: { kind: "IMPROVEMENTS", tool_id: toolId } });
  expect(of("deployment")[0]?.data).toMatchObject({ tool_id: toolId, kind: "DEPLOYED", status: "STARTING" });
  expect(of("health")[0]?.data).toMatchObject({ deployment_id: of("deployment")[0]?.data["deployment_id"] });
  const contract = await readContract(toolyard.url);
  for (const message of messages) contract.checkShared("Event", message);
});

test("topics and filters cut it down, over SSE and over a socket alike", async () => {
  const [mine, other] = [await createTool(), await createTool()];
  const filtered = listen({ topics: "tool,task", tool_id: mine.slug });
  const socket = connect();
  await socket.opened;
  socket.say({ type: "subscribe", topics: ["tool", "task"], tool_id: mine.id });
  for (const { of } of [filtered, socket])
    await expect.poll(() => of("subscribed")).toMatchObject([{ data: { topics: ["tool", "task"] } }]);
  for (const { id } of [other, mine]) {
    await graph.query('mutation ($id: ID!) { updateTool(id: $id, input: { description: "new" }) { id } }', { id });
    await analyze(id);
  }
  for (const { of, messages } of [filtered, socket]) {
    await expect.poll(() => of("tool")).toMatchObject([{ data: { tool_id: mine.id, kind: "UPDATED" } }]);
    await expect.poll(() => of("task").at(-1)?.data["status"]).toMatch(/SUCCEEDED|FAILED/);
    for (const { data } of of("task")) expect(data).toMatchObject({ task: { tool_id: mine.id } });
    expect(messages.every(({ type }) => type !== "deployment" && type !== "health")).toBe(true);
  }
});

test("a client that left goes on after its last id, over a socket too, and asks for all there is by 0", async () => {
  await createTool();
  const first = listen({ topics: "tool", after: "0" });
  await expect.poll(() => first.of("tool").length).toBeGreaterThan(0);
  first.source.close();
  const missed = await createTool();
  const socket = connect();
  await socket.opened;
  socket.say({ type: "subscribe", topics: ["tool"], after: first.messages.at(-1)?.id });
  await expect.poll(() => socket.of("tool").at(-1)?.data["tool_id"]).toBe(missed.id);
  const all = listen({ topics: "tool", after: "0" });
  await expect.poll(() => all.of("tool").at(-1)?.data["tool_id"]).toBe(missed.id);
  expect([...first.of("tool"), ...socket.of("tool")]).toEqual(all.of("tool"));
});

test("what cannot be streamed is refused before the stream begins, in words", async () => {
  const refused = async (query: string, headers: Record<string, string> = { authorization: `Bearer ${token}` }) => {
    const answer = await fetch(new URL(`/events?${query}`, toolyard.url), { headers });
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    const { status, code, detail } = (await answer.json()) as { status: number; code: string; detail: string };
    return { status, code, detail };
  };
  expect(await refused("", {})).toMatchObject({ status: 401, detail: expect.stringContaining("?ticket=") as string });
  expect(await refused("topics=weather")).toMatchObject({ status: 422, code: "BAD_USER_INPUT" });
  expect(await refused("after=somewhere")).toMatchObject({ status: 422, code: "BAD_USER_INPUT" });
  expect(await refused("tool_id=nothing")).toMatchObject({ status: 404, code: "NOT_FOUND" });
  expect(await refused("deployment_id=nothing")).toMatchObject({ status: 404, code: "NOT_FOUND" });
  expect(await refused("since=0")).toMatchObject({ status: 422 });
  expect(await refused(`ticket=${token}`, {})).toMatchObject({
    status: 401,
    detail: expect.stringContaining("addresses are logged") as string,
  });
  const put = await fetch(new URL("/events", toolyard.url), { method: "PUT" });
  expect([put.status, put.headers.get("allow")]).toEqual([405, "GET, HEAD, OPTIONS"]);
  const plain = await fetch(new URL("/ws", toolyard.url));
  expect([plain.status, plain.headers.get("upgrade")]).toEqual([426, "websocket"]);
  for (const path of ["/events", "/ws"]) {
    const preflight = await fetch(new URL(path, toolyard.url), {
      method: "OPTIONS",
      headers: { origin: "http://localhost:5173" },
    });
    expect([preflight.status, preflight.headers.get("allow")]).toEqual([204, "GET, HEAD, OPTIONS"]);
    expect(preflight.headers.get("access-control-allow-origin")).toBe("http://localhost:5173");
  }
});

test("a ticket is good for one stream: an EventSource that connects again with it is told so, and stops", async () => {
  const address = { ticket: await ticket() };
  let answers = 0;
  const followed = listen(address, {
    fetch: async (url, init) => {
      const answer = await fetch(url, init);
      // The first stream breaks, as by a proxy.
      if (answers++ > 0) return answer;
      void answer.body?.cancel();
      return new Response("retry: 1\n\n", { headers: { "content-type": "text/event-stream" } });
    },
  });
  await expect.poll(() => followed.errors).toContainEqual({ code: 401 });
  expect(followed.source.readyState).toBe(followed.source.CLOSED);
  const again = await fetch(streamUrl("/events", address));
  expect(await again.json()).toMatchObject({ status: 401, detail: "The ticket is unknown, expired or used." });
  expect(again.headers.get("www-authenticate")).toMatch(/^Bearer/);

  const other = { ticket: await ticket() };
  const socket = connect(other, {});
  await socket.opened;
  socket.say({ type: "subscribe" });
  await expect.poll(() => socket.of("subscribed").length).toBe(1);
  const late = connect(other, {});
  expect(await late.closed).toEqual([4401, "The ticket is unknown, expired or used."]);
  expect(late.messages).toMatchObject([{ type: "error", data: { status: 401 } }]);
});

test("a revoked key ends its streams at once", async () => {
  const { createApiKey } = await graph.query<{ createApiKey: { secret: string; apiKey: { id: string } } }>(
    'mutation { createApiKey(input: { name: "streams", scopes: [READ] }) { secret apiKey { id } } }',
  );
  const stream = listen({}, { fetch: withToken(createApiKey.secret) });
  const socket = connect({}, { authorization: `Bearer ${createApiKey.secret}` });
  await socket.opened;
  socket.say({ type: "subscribe" });
  for (const { of } of [stream, socket]) await expect.poll(() => of("subscribed").length).toBe(1);
  await graph.query("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", { id: createApiKey.apiKey.id });
  expect((await socket.closed)[0]).toBe(4401);
  await expect.poll(() => stream.of("error")).toMatchObject([{ data: { code: "UNAUTHENTICATED", status: 401 } }]);
  await expect.poll(() => stream.errors).toContainEqual({ code: 401 });
});

test("a login that ends takes the streams of its tickets with it", async () => {
  const login = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const stream = listen({ ticket: await ticket(login) }, {});
  const socket = connect({ ticket: await ticket(login) }, {});
  const unused = await ticket(login);
  await socket.opened;
  socket.say({ type: "subscribe" });
  for (const { of } of [stream, socket]) await expect.poll(() => of("subscribed").length).toBe(1);
  await graphqlClient(toolyard.url, login).query("mutation { logout }");
  expect((await socket.closed)[0]).toBe(4401);
  await expect.poll(() => stream.of("error")).toMatchObject([{ data: { status: 401 } }]);
  expect((await fetch(streamUrl("/events", { ticket: unused }))).status).toBe(401);
});

test("a viewer sees what happens, and not what servers print about it", async () => {
  const { register } = await graphqlClient(toolyard.url).query<{ register: { accessToken: string } }>(
    "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }",
    { input: { username: "vera", email: "vera@example.com", password: "yet another phrase 4711" } },
  );
  const viewer = register.accessToken;
  const [seen, whole] = [listen({}, { fetch: withToken(viewer) }), listen()];
  const socket = connect({}, { authorization: `Bearer ${viewer}` });
  await socket.opened;
  socket.say({ type: "subscribe" });
  for (const { of } of [seen, whole, socket]) await expect.poll(() => of("subscribed").length).toBe(1);
  const { createTool: tool } = await graph.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    {
      input: {
        name: "Talks and ends",
        description: "e2e",
        launch: { stdio: { command: "sh", args: ["-c", "echo these-are-last-words >&2; exit 3"] } },
      },
    },
  );
  await graph.query("mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }", {
    input: { toolId: tool.id },
  });
  const isFailure = ({ data }: Envelope) => JSON.stringify(data).includes("these-are-last-words");
  await expect.poll(() => whole.of("deployment").find(isFailure)).toBeDefined();
  const failure = whole.of("deployment").find(isFailure);
  for (const { of } of [seen, socket]) {
    const kinds = () =>
      of("deployment")
        .filter(({ data }) => data["tool_id"] === tool.id)
        .map(({ data }) => data["kind"]);
    await expect.poll(kinds).toContain(failure?.data["kind"]);
    expect(JSON.stringify(of("deployment"))).not.toContain("last-words");
  }
});

test("a page of another origin gets no stream, and uses up no ticket by asking", async () => {
  const address = streamUrl("/events", { ticket: await ticket() });
  for (const headers of [{ origin: "http://evil.example" }, { "sec-fetch-site": "cross-site" }] as Record<
    string,
    string
  >[])
    expect((await fetch(address, { headers })).status).toBe(403);
  const own = await fetch(address, { headers: { origin: new URL(toolyard.url).origin } });
  expect(own.status).toBe(200);
  await own.body?.cancel();
});

test("pages of other origins get no socket", async () => {
  const socket = new WebSocket(String(streamUrl("/ws")).replace("http", "ws"), {
    origin: "http://evil.example",
    headers: { authorization: `Bearer ${token}` },
  });
  const [error] = (await once(socket, "error")) as [Error];
  expect(error.message).toContain("403");
});

test("each topic of a stream is a subscription in the metrics, and none stays when its client has left", async () => {
  await expect.poll(activeSubscriptions).toBe(own);
  const { of, source } = listen({ topics: "tool,task" });
  await expect.poll(() => of("subscribed").length).toBe(1);
  expect(await activeSubscriptions()).toBe(own + 2);
  source.close();
  await expect.poll(activeSubscriptions).toBe(own);
});

describe.skipIf(chromiumPath === null)("in a browser", () => {
  test("a ticket is all that a page needs for either kind of stream", async () => {
    const browser = await openBrowser();
    try {
      const page = await browser.newPage();
      // Of the pages that may connect.
      await page.goto(new URL("/api/docs", toolyard.url).href);
      const script = (events: string, socket: string) => `
        window.got = [];
        const source = new EventSource("/events?topics=tool&ticket=${events}");
        source.onmessage = ({ data }) => window.got.push(["events", JSON.parse(data).type]);
        const socket = new WebSocket("/ws?ticket=${socket}");
        socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", topics: ["tool"] }));
        socket.onmessage = ({ data }) => window.got.push(["ws", JSON.parse(data).type]);`;
      await page.evaluate(script(await ticket(), await ticket()));
      const seen = () => page.evaluate("window.got");
      await expect.poll(seen).toEqual(
        expect.arrayContaining([
          ["events", "subscribed"],
          ["ws", "subscribed"],
        ]),
      );
      await createTool();
      await expect.poll(seen).toEqual(
        expect.arrayContaining([
          ["events", "tool"],
          ["ws", "tool"],
        ]),
      );
    } finally {
      await browser.close();
    }
  });
});

/** Ends what the tests above share: the last ones. */
describe("over the gateway's end", () => {
  const EVENTS = 1_000;

  test(`${EVENTS} events come once each and in order, although the gateway is killed between them`, async () => {
    const { messages, of, source } = listen({ topics: "tool,task" });
    const socket = connect();
    await socket.opened;
    socket.say({ type: "subscribe", topics: ["tool", "task"] });
    await expect.poll(() => [...of("subscribed"), ...socket.of("subscribed")].length).toBe(2);
    const begun = messages[0]?.id ?? "";

    const create = async (count: number) => {
      for (let left = count; left > 0; left -= 10) await Promise.all(Array.from({ length: 10 }, createTool));
    };
    const writing = create(EVENTS).catch(() => undefined); // some are under way when the gateway dies
    await expect.poll(() => of("tool").length).toBeGreaterThan(EVENTS / 4);
    await analyze((await createTool()).id);
    await toolyard.kill();
    await writing;
    expect((await socket.closed)[0]).toBe(1006);
    toolyard = await toolyard.restart();
    await create(EVENTS - of("tool").length);
    const last = await createTool();
    await analyze(last.id);

    // The truth is the log, read from where the first stream began.
    const truth = listen({ topics: "tool,task", after: begun });
    const resumed = connect();
    await resumed.opened;
    resumed.say({ type: "subscribe", topics: ["tool", "task"], after: socket.messages.at(-1)?.id });
    const eventsIn = (type: string, all: readonly Envelope[]) =>
      all.filter((message) => message.type === type).map(({ at, data }): Record<string, unknown> => ({ ...data, at }));
    const isRead = (all: readonly Envelope[]) =>
      eventsIn("tool", all).at(-1)?.["tool_id"] === last.id &&
      ["SUCCEEDED", "FAILED"].includes(String(eventsIn("task", all).at(-1)?.["status"]));
    await eventually("all events", () => [messages, truth.messages, resumed.messages].every(isRead));
    for (const type of ["tool", "task"]) {
      const expected = eventsIn(type, truth.messages);
      expect(eventsIn(type, messages)).toEqual(expected);
      expect(eventsIn(type, [...socket.messages, ...resumed.messages])).toEqual(expected);
    }
    expect(of("tool").length).toBeGreaterThanOrEqual(EVENTS);
    // The EventSource connected again by itself.
    expect(of("subscribed").length).toBeGreaterThan(1);
    source.close();
  });

  test("a gateway that stops says so: when to connect again, and 1001", async () => {
    const answer = await fetch(streamUrl("/events"), { headers: { authorization: `Bearer ${token}` } });
    const text = answer.text();
    const socket = connect();
    await socket.opened;
    socket.say({ type: "subscribe" });
    await expect.poll(() => socket.of("subscribed").length).toBe(1);
    const stopped = toolyard.stop();
    expect(await socket.closed).toEqual([1001, expect.stringContaining("going away")]);
    expect(await text).toMatch(/retry: \d+\n\n$/);
    expect(await stopped).toBe(0);
  });
});
