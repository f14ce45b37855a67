import { request, type OutgoingHttpHeaders } from "node:http";
import { text } from "node:stream/consumers";
import { eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { serverAudits } from "graphql-http";
import { isDistributed } from "@toolyard/testing/mode.ts";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

/** As a browser would send it: `fetch` has headers of its own and does not allow all. */
function rawRequest(url: string, options: { method: string; headers: OutgoingHttpHeaders; body?: string }) {
  return new Promise<{ status: number; body: string }>((resolve, reject) => {
    const sent = request(url, { method: options.method, headers: options.headers }, (answer) => {
      text(answer).then((body) => resolve({ status: answer.statusCode ?? 0, body }), reject);
    });
    sent.on("error", reject).end(options.body);
  });
}

let toolyard: RunningToolyard;
let admin: ReturnType<typeof graphqlClient>;
let token: string;

beforeAll(async () => {
  toolyard = await startToolyard();
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  admin = graphqlClient(toolyard.url, token);
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

describe("GraphQL over HTTP", () => {
  const audits = serverAudits({ url: () => `${toolyard.url}/graphql`, fetchFn: fetch });
  test.each(audits.map((audit) => ({ name: audit.name, audit })))("$name", async ({ audit }) => {
    const result = await audit.fn();
    if (result.status !== "ok") throw new Error(`${result.status}: ${result.reason}`);
  });

  test("a browser gets a page to explore the graph", async () => {
    const answer = await fetch(`${toolyard.url}/graphql`, { headers: { accept: "text/html" } });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toMatch(/<html/i);
  });

  test("pages on loopback and Apollo's Studio may call; others may not", async () => {
    for (const origin of ["http://localhost:3000", "https://studio.apollographql.com"]) {
      const answer = await fetch(`${toolyard.url}/graphql`, {
        method: "OPTIONS",
        headers: {
          origin,
          "access-control-request-method": "POST",
          "access-control-request-headers": "content-type,authorization",
        },
      });
      expect(answer.headers.get("access-control-allow-origin")).toBe(origin);
    }
    const refused = await fetch(`${toolyard.url}/graphql`, {
      method: "POST",
      headers: { origin: "https://evil.example.com", "content-type": "application/json" },
      body: "{}",
    });
    expect(refused.status).toBe(403);
    expect(refused.headers.get("access-control-allow-origin")).toBeNull();
  });

  test.each([
    [
      "a form of another site",
      { "content-type": "application/x-www-form-urlencoded", origin: "https://evil.example.com" },
      403,
    ],
    ["a form's type of body", { "content-type": "application/x-www-form-urlencoded" }, 415],
    ["a body of a type that needs no preflight", { "content-type": "text/plain" }, 415],
    ["a body without a type", {}, 415],
    [
      "JSON that another site's page sends without CORS",
      { "content-type": "application/json", "sec-fetch-site": "cross-site" },
      403,
    ],
  ])("%s runs nothing (CSRF)", async (_name, headers, status) => {
    const answer = await rawRequest(`${toolyard.url}/graphql`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, ...headers },
      body: JSON.stringify({ query: "{ tools { totalCount } }" }),
    });
    expect(answer.status).toBe(status);
    expect(answer.body).not.toContain("totalCount");
  });

  test.each([
    [
      "another site's image",
      { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" },
    ],
    ["another site's link", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", accept: "text/html" }],
    ["a page of a sibling domain", { "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors" }],
  ])("%s runs no query by GET (CSRF)", async (_name, headers) => {
    const url = `${toolyard.url}/graphql?query=%7B__typename%7D`;
    const answer = await rawRequest(url, { method: "GET", headers });
    expect(answer.status).toBe(403);
    expect(answer.body).not.toContain('"data"');
    expect((await rawRequest(url, { method: "GET", headers: {} })).body).toBe('{"data":{"__typename":"Query"}}');
  });

  test("introspection shows the documented graph", async () => {
    const { __schema } = await admin.query<{
      __schema: {
        types: {
          name: string;
          description: string | null;
          fields: { name: string; description: string | null }[] | null;
        }[];
      };
    }>("{ __schema { types { name description fields { name description } } } }");
    const own = __schema.types.filter(({ name }) => !name.startsWith("__"));
    const bare = own.flatMap((type) =>
      (type.fields ?? []).filter(({ description }) => !description).map((field) => `${type.name}.${field.name}`),
    );
    expect(bare).toEqual([]);
  });
});

describe("beside the graph", () => {
  test("/health names each part", async () => {
    const report = await eventually("healthy", async () => {
      const answer = await fetch(`${toolyard.url}/health`);
      // The contract's shape.
      const body = (await answer.json()) as {
        status: string;
        timestamp: string;
        services: Record<string, { status: string; response_time_ms: number }>;
      };
      return body.status === "healthy" ? body : null;
    });
    // Where subgraphs run alone, each tells of its stores at its own /health.
    const shared = isDistributed ? ["redis"] : ["sqlite", "queue"];
    expect(Object.keys(report.services)).toEqual(
      expect.arrayContaining([...shared, "identity", "tools", "knowledge", "analysis", "deployments", "proxy"]),
    );
    for (const path of ["/health/live", "/health/ready"]) expect((await fetch(toolyard.url + path)).status).toBe(200);
    expect((await fetch(`${toolyard.proxyUrl}/healthz`)).status).toBe(200);
  });

  test("/metrics of gateway and proxy are for administrators, also on this host", async () => {
    const keyFor = async (scopes: string) =>
      (
        await admin.query<{ createApiKey: { secret: string } }>(
          `mutation { createApiKey(input: { name: "metrics ${scopes}", scopes: [${scopes}] }) { secret } }`,
        )
      ).createApiKey.secret;
    const [reader, scraper] = [await keyFor("READ"), await keyFor("ADMIN")];
    for (const url of [toolyard.url, toolyard.proxyUrl]) {
      const statusFor = async (headers: Record<string, string>) => (await fetch(`${url}/metrics`, { headers })).status;
      expect(await statusFor({})).toBe(401);
      expect(await statusFor({ "x-forwarded-for": "127.0.0.1" })).toBe(401);
      expect(await statusFor({ authorization: `Bearer ${reader}` })).toBe(403);
      expect(await statusFor({ authorization: `Bearer ${scraper}` })).toBe(200);
    }
  });

  test("/metrics has help for each metric and no id or typed path in a label", async () => {
    await fetch(`${toolyard.url}/some/typed/path`);
    const headers = { authorization: `Bearer ${token}` };
    const text = await (await fetch(`${toolyard.url}/metrics`, { headers })).text();
    for (const name of [
      "http_requests_total",
      "http_request_duration_seconds",
      "graphql_operations_total",
      "mcp_tools",
      "mcp_tools_total",
      "mcp_deployments",
      "mcp_deployments_active",
      "mcp_sessions",
      "mcp_replica_restarts_total",
      "user_sessions",
      "tasks",
      "tasks_total",
      "celery_tasks_total",
      "subscriptions_active",
    ]) {
      expect(text).toContain(`# HELP ${name} `);
    }
    expect(text).not.toContain("/some/typed/path");
    expect(text).toMatch(/http_requests_total\{method="GET",endpoint="unknown",status="404"\} [1-9]/);
  });

  test("the public keys verify access tokens", async () => {
    const { keys } = (await (await fetch(`${toolyard.url}/.well-known/jwks.json`)).json()) as {
      keys: { kty: string; crv: string; d?: string }[];
    };
    expect(keys[0]).toMatchObject({ kty: "OKP", crv: "Ed25519" });
    expect(keys[0]?.d).toBeUndefined();
  });
});

describe("plans", () => {
  test("an administrator sees the plan of an operation with its result; others are told that it is not for them", async () => {
    const ask = async (credential: string | null) => {
      const answer = await fetch(`${toolyard.url}/graphql`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "x-toolyard-plan": "1",
          ...(credential !== null && { authorization: `Bearer ${credential}` }),
        },
        body: JSON.stringify({ query: "{ tools { edges { node { slug deployments { totalCount } } } } }" }),
      });
      // The shape of every answer.
      const { extensions, data } = (await answer.json()) as { extensions?: { plan: unknown }; data?: unknown };
      return { status: answer.status, data, plan: JSON.stringify(extensions?.plan) };
    };
    expect(await ask(null)).toEqual({ status: 401, data: undefined, plan: undefined });
    const { plan, data } = await ask(token);
    expect(data).toBeDefined();
    expect(plan).toContain('"tools"');
    expect(plan).toContain('"deployments"');
    expect(plan).not.toContain(token);
  });
});

describe("the subgraphs together", () => {
  test("entities join across subgraphs in one query", async () => {
    const { createTool } = await admin.query<{ createTool: { id: string } }>(
      "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
      {
        input: {
          name: "Joined",
          description: "d",
          launch: { stdio: { command: "npx", args: ["-y", "some-server@1.2.3"] } },
        },
      },
    );
    await admin.query("mutation ($input: UploadDocumentInput!) { uploadDocument(input: $input) { id } }", {
      input: { title: "Handbook", content: "How the weather is measured at the harbour.", toolId: createTool.id },
    });
    const { analyzeFeasibility } = await admin.query<{ analyzeFeasibility: { id: string } }>(
      "mutation ($id: ID!) { analyzeFeasibility(input: { toolId: $id }) { id } }",
      { id: createTool.id },
    );
    const { tool } = await admin.query<{ tool: Record<string, unknown> }>(
      `query ($id: ID!) { tool(id: $id) {
         author { username } documents { edges { node { title uploadedBy { username } } } }
         tasks { edges { node { id requestedBy { username } } } } deployments { totalCount } } }`,
      { id: createTool.id },
    );
    expect(tool).toEqual({
      author: { username: "admin" },
      documents: { edges: [{ node: { title: "Handbook", uploadedBy: { username: "admin" } } }] },
      tasks: { edges: [{ node: { id: analyzeFeasibility.id, requestedBy: { username: "admin" } } }] },
      deployments: { totalCount: 0 },
    });
    const { searchDocuments } = await admin.query<{
      searchDocuments: { edges: { node: { snippet: string; document: { tool: { slug: string } } } }[] };
    }>('{ searchDocuments(query: "measuring weather") { edges { node { snippet document { tool { slug } } } } } }');
    expect(searchDocuments.edges[0]?.node.snippet).toContain("⟦weather⟧");
    expect(searchDocuments.edges[0]?.node.document.tool.slug).toBe("joined");
  });

  test("taskUpdated follows an analysis to its report, with fields of other subgraphs", async () => {
    const sockets = createClient({
      url: `${toolyard.url.replace("http", "ws")}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${token}` },
    });
    const { analyzeFeasibility } = await admin.query<{ analyzeFeasibility: { id: string } }>(
      'mutation { analyzeFeasibility(input: { description: "Serve our wiki with npx -y wiki-mcp" }) { id } }',
    );
    const statuses: string[] = [];
    type Update = {
      taskUpdated: {
        task: {
          status: string;
          requestedBy: { username: string };
          result: { __typename: string; provider: string } | null;
        };
      };
    };
    for await (const { data, errors } of sockets.iterate<Update>({
      query:
        'subscription ($id: ID!) { taskUpdated(id: $id, after: "0") { task { status requestedBy { username } result { __typename ... on FeasibilityReport { provider } } } } }',
      variables: { id: analyzeFeasibility.id },
    })) {
      if (errors) throw new Error(JSON.stringify(errors));
      const task = data?.taskUpdated.task;
      if (!task) continue;
      statuses.push(task.status);
      expect(task.requestedBy.username).toBe("admin");
      if (task.result) {
        expect(task.result).toEqual({ __typename: "FeasibilityReport", provider: "rules" });
        break;
      }
    }
    expect(statuses.at(-1)).toBe("SUCCEEDED");
    await sockets.dispose();
  });
});

describe("credentials", () => {
  test("refresh tokens rotate, a reused one ends the session, logout ends an access token and its open sockets at once", async () => {
    const anyone = graphqlClient(toolyard.url);
    const LOGIN =
      'mutation ($password: String!) { login(username: "admin", password: $password) { accessToken refreshToken } }';
    const REFRESH = "mutation ($token: String!) { refreshSession(refreshToken: $token) { accessToken refreshToken } }";
    type Session = { accessToken: string; refreshToken: string };
    const { login } = await anyone.query<{ login: Session }>(LOGIN, { password: toolyard.adminPassword });
    const { refreshSession } = await anyone.query<{ refreshSession: Session }>(REFRESH, { token: login.refreshToken });
    // Another tab of the same browser, at the same moment.
    const { refreshSession: tab } = await anyone.query<{ refreshSession: Session }>(REFRESH, {
      token: login.refreshToken,
    });
    const { refreshSession: next } = await anyone.query<{ refreshSession: Session }>(REFRESH, {
      token: refreshSession.refreshToken,
    });
    expect((await anyone.send(REFRESH, { token: login.refreshToken })).errors[0]?.extensions.code).toBe(
      "UNAUTHENTICATED",
    );
    for (const { refreshToken } of [tab, next])
      expect((await anyone.send(REFRESH, { token: refreshToken })).errors[0]?.extensions.code).toBe("UNAUTHENTICATED");

    const { login: second } = await anyone.query<{ login: Session }>(LOGIN, { password: toolyard.adminPassword });
    const closed = Promise.withResolvers<number>();
    const sockets = createClient({
      url: `${toolyard.url.replace("http", "ws")}/graphql`,
      webSocketImpl: WebSocket,
      lazy: false,
      retryAttempts: 0,
      connectionParams: { authorization: `Bearer ${second.accessToken}` },
      onNonLazyError: () => undefined,
      on: { closed: (event) => closed.resolve(event instanceof Object && "code" in event ? Number(event.code) : 0) },
    });
    const me = graphqlClient(toolyard.url, second.accessToken);
    expect(await me.query("{ me { username } }")).toEqual({ me: { username: "admin" } });
    await me.query("mutation { logout }");
    await eventually("the token refused", async () => (await me.send("{ me { username } }")).status === 401);
    expect(await closed.promise).toBe(4401);
    await sockets.dispose();
  });

  test("an unknown user and a wrong password are answered alike", async () => {
    const anyone = graphqlClient(toolyard.url);
    const attempt = async (username: string) => {
      const { errors } = await anyone.send(
        'mutation ($username: String!) { login(username: $username, password: "not the password") { accessToken } }',
        { username },
      );
      const { requestId: _requestId, ...extensions } = errors[0]?.extensions ?? {};
      return { message: errors[0]?.message, extensions };
    };
    expect(await attempt("nobody-of-that-name")).toEqual(await attempt("admin"));
  });
});
