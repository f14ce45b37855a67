import { connect } from "node:net";
import { eventually, startToolyard, type RunningToolyard, mostLoopWork, logIn } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";

/* What anybody can send, while others are served. Each of these once held the event loop for seconds, or minutes. */

let toolyard: RunningToolyard;
beforeAll(async () => {
  toolyard = await startToolyard({ env: { SAMPLE: "false" } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

/** Combining marks in an order that normalizing must sort. */
const marks = (bytes: number) => `a${"\u0315\u0300\u05ae\u0316".repeat(bytes / 8)}`;

async function post(body: string, headers: Record<string, string> = {}): Promise<unknown> {
  const response = await fetch(`${toolyard.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
  });
  return response.text();
}
const operation = (query: string, variables: object = {}) => post(JSON.stringify({ query, variables }));
const login = (username: string, password: string) =>
  operation("mutation ($u: String!, $p: String!) { login(username: $u, password: $p) { expiresIn } }", {
    u: username,
    p: password,
  });
const times = (count: number, work: (n: number) => Promise<unknown>) =>
  Promise.all(Array.from({ length: count }, (_, n) => work(n)));

/** Opens a socket and sends one message. */
function firstMessage(protocol: string, message: string): Promise<unknown> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${toolyard.url.replace("http", "ws")}/graphql`, protocol);
    socket.on("open", () => socket.send(message));
    socket.on("close", resolve);
    socket.on("error", resolve);
  });
}

const BOMB_BYTES = 5_000_000;
/** JSON of five megabytes that costs more than it looks. */
const BOMBS: Record<string, () => string> = {
  "lists in lists": () => `{"name":${"[".repeat(BOMB_BYTES / 2)}${"]".repeat(BOMB_BYTES / 2)}}`,
  "objects in objects": () => `{"name":${'{"a":'.repeat(BOMB_BYTES / 6)}1${"}".repeat(BOMB_BYTES / 6)}}`,
  "many keys": () => `{${Array.from({ length: BOMB_BYTES / 12 }, (_, n) => `"k${n}":${n % 10}`).join(",")}}`,
  "a long text of escapes": () => `{"name":"${String.raw`\u0315\u0300`.repeat(BOMB_BYTES / 12)}"}`,
  "a huge number": () => `{"name":${"9".repeat(BOMB_BYTES)}}`,
  "a number with a huge exponent": () => `{"name":1e${"9".repeat(BOMB_BYTES)}}`,
};
const TAKERS = {
  "the graph": "/graphql",
  REST: "/api/v1/auth/register",
  "a tool": "/mcp/none/v1/mcp",
  "GitHub's webhook": "/api/v1/github/webhook",
};
let token: string;
/** Answers to bombs that are no refusals. */
const odd: string[] = [];
async function sendTo(path: string, body: string, authorization?: string): Promise<void> {
  const headers = { "content-type": "application/json", ...(authorization !== undefined && { authorization }) };
  const answer = await fetch(toolyard.url + path, { method: "POST", headers, body });
  const text = await answer.text();
  if (answer.ok || answer.status === 500) odd.push(`${answer.status} ${text.slice(0, 200)}`);
}

const ATTACKS: Record<string, () => Promise<unknown>> = {
  "passwords that take long to normalize": () => times(10, () => login("root", marks(200_000))),
  "usernames that take long to normalize": () => times(10, () => login(marks(200_000), "x")),
  "accounts of such a name, address and password": () =>
    times(10, () =>
      operation("mutation ($i: RegisterInput!) { register(input: $i) { expiresIn } }", {
        i: { username: marks(60_000), email: marks(60_000), password: marks(60_000) },
      }),
    ),
  "refresh tokens of any length": () =>
    times(10, () =>
      operation("mutation ($t: String!) { refreshSession(refreshToken: $t) { expiresIn } }", { t: marks(200_000) }),
    ),
  "bodies of millions of values": () =>
    times(5, () => post(`{"query":"{ __typename }","variables":{"v":[${"{},".repeat(3_000_000)}{}]}}`)),
  "lists of such operations": () => times(5, () => post(`[${'{"query":""},'.repeat(600_000)}{}]`)),
  "such bodies with a credential that is none": () =>
    times(5, () => post(`[${"{},".repeat(3_000_000)}{}]`, { authorization: "Bearer x.y.z" })),
  "such bodies to the streams' path": () =>
    times(5, () =>
      fetch(`${toolyard.url}/graphql/stream`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: `[${"{},".repeat(3_000_000)}{}]`,
      }),
    ),
  ...Object.fromEntries(
    Object.entries(BOMBS).flatMap(([kind, bomb]) =>
      Object.entries(TAKERS).map(([door, path]) => [
        `${kind} to ${door}, by anybody and by a user`,
        () => times(4, (n) => sendTo(path, bomb(), n % 2 === 0 ? undefined : `Bearer ${token}`)),
      ]),
    ),
  ),
  "the whole schema a hundred times over": () =>
    times(20, (n) =>
      operation(
        `{ ${Array.from({ length: 90 }, (_, at) => `a${n}_${at}: __schema { types { fields { type { fields { name type { name } } } } } }`).join(" ")} }`,
      ),
    ),
  "variables with fields that their type does not have": () =>
    times(5, () =>
      operation("mutation ($i: RegisterInput!) { register(input: $i) { expiresIn } }", {
        i: Object.fromEntries(Array.from({ length: 15_000 }, (_, at) => [`a${at}`, 1])),
      }),
    ),
  "operations that are all new": () =>
    times(1_000, (n) =>
      operation(
        `{ ${Array.from({ length: 40 }, (_, at) => `a${n}_${at}: tools { edges { node { id } } }`).join(" ")} }`,
      ),
    ),
  "keys that are made up": () =>
    times(500, (n) =>
      post('{"query":"{ me { id } }"}', {
        authorization: `Bearer ty_0190a0a0-0000-7000-8000-${String(n).padStart(12, "0")}_${"x".repeat(43)}`,
      }),
    ),
  "first messages of a socket that are large": () =>
    times(20, () =>
      firstMessage("graphql-transport-ws", `{"type":"connection_init","payload":{"a":[${"{},".repeat(300_000)}{}]}}`),
    ),
  "first messages of an older protocol's": () =>
    times(20, () =>
      firstMessage("graphql-ws", `{"type":"connection_init","payload":{"a":[${"{},".repeat(300_000)}{}]}}`),
    ),
};

/** The most that one of Toolyard's event loops worked on before it answered a simple request, in ms of its CPU time, while `work` ran. */
async function mostBefore(work: () => Promise<unknown>): Promise<number> {
  // A client whose body is not taken may find its connection closed.
  const attack = work().catch(() => undefined);
  return (await mostLoopWork(await toolyard.serving(), liveness, attack)).most;
}

/** On a connection of its own, so that it waits for nothing but the server. */
function liveness(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(toolyard.url).port), "127.0.0.1");
    socket.write("GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket
      .resume()
      .on("close", () => resolve())
      .on("error", reject);
  });
}

test.each(Object.keys(ATTACKS))("%s keep nobody else waiting", async (name) => {
  expect(await mostBefore(ATTACKS[name] ?? (async () => undefined))).toBeLessThan(5_000);
  expect(odd.splice(0)).toEqual([]);
});

test("afterwards a login is served", async () => {
  await eventually("the limits' end", async () => {
    const answer = String(await login("admin", toolyard.adminPassword));
    return answer.includes("expiresIn");
  });
});
