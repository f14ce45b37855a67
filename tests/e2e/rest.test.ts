import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { signedDelivery } from "@toolyard/testing/github-server.ts";
import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readContract, type OpenApiContract, type Operation } from "./fixtures/openapi-contract.ts";

/* REST, as a script with curl uses it; every answer is held to the OpenAPI document that is served. */

interface Sent {
  path?: Record<string, string>;
  query?: string;
  /** JSON, or a text as it is. */
  body?: unknown;
  headers?: Record<string, string>;
  /** Null: none. The administrator's unless given. */
  token?: string | null;
}

interface Answered {
  status: number;
  headers: Headers;
  body: Record<string, unknown>;
}

const WEBHOOK_SECRET = "a-webhook-secret-of-the-tests";
const PASSWORD = "correct horse battery staple";
let toolyard: RunningToolyard;
let contract: OpenApiContract;
let admin: string;
let viewer: string;

beforeAll(async () => {
  toolyard = await startToolyard({
    env: { SAMPLE: "true", RATE_LIMIT_ENABLED: "false", GITHUB_WEBHOOK_SECRET: WEBHOOK_SECRET },
  });
  contract = await readContract(toolyard.url);
  admin = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  viewer = await register(`viewer-${randomUUID().slice(0, 8)}`);
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

/** A new user's access token. */
async function register(username: string): Promise<string> {
  const { body } = await send("Register", {
    body: { username, email: `${username}@example.com`, password: PASSWORD },
    token: null,
  });
  return String(body["access_token"]);
}

function request({ method, path }: Pick<Operation, "method" | "path">, sent: Sent = {}): Promise<Response> {
  const { token = admin, body, headers } = sent;
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(sent.path?.[name] ?? randomUUID()));
  return fetch(`${toolyard.url}${filled}${sent.query ?? ""}`, {
    method,
    headers: {
      ...(token !== null && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { "content-type": "application/json" }),
      ...headers,
    },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
}

/** Sends what is documented and holds the answer to it. */
async function send(id: string, sent: Sent = {}): Promise<Answered> {
  const operation = contract.operation(id);
  const response = await request(operation, sent);
  const { status, headers } = response;
  return { status, headers, body: await contract.check(operation, response) };
}

const newTool = (more: object = {}) => ({
  name: "A tool",
  description: "made in a test",
  launch: {
    stdio: { command: "node", args: ["/srv/server.mjs"], env: [{ name: "KEY", value: "s3cret", secret: true }] },
  },
  ...more,
});
const newDocument = {
  title: "Notes",
  content: "Penguins fly under water.",
  content_type: "text/plain",
  tags: ["notes"],
};

async function createTool(): Promise<string> {
  return String((await send("CreateTool", { body: newTool() })).body["id"]);
}

describe("every operation succeeds, as documented", () => {
  const told: Record<string, string> = {};
  const keep = (name: string, { body }: Answered, field = "id") => (told[name] = String(body[field]));

  /** In order: what one makes, another uses. By the operation's id. */
  const walk: Record<string, () => Promise<Answered>> = {
    async Register() {
      const username = `walker-${randomUUID().slice(0, 8)}`;
      told["username"] = username;
      return send("Register", {
        body: { username, email: `${username}@example.com`, password: PASSWORD },
        token: null,
      });
    },
    async Login() {
      const answered = await send("Login", { body: { username: told["username"], password: PASSWORD }, token: null });
      keep("token", answered, "access_token");
      keep("refresh", answered, "refresh_token");
      return answered;
    },
    async RefreshSession() {
      const answered = await send("RefreshSession", { body: { refresh_token: told["refresh"] }, token: null });
      keep("token", answered, "access_token");
      return answered;
    },
    CreateStreamTicket: () => send("CreateStreamTicket", { token: told["token"] ?? "" }),
    async CreateApiKey() {
      const answered = await send("CreateApiKey", {
        body: { name: "ci", scopes: ["READ"], expires_at: "2030-01-01T00:00:00Z" },
        token: told["token"] ?? "",
      });
      told["key"] = (answered.body["api_key"] as { id: string }).id;
      return answered;
    },
    ApiKeys: () => send("ApiKeys", { token: told["token"] ?? "", query: "?limit=5" }),
    RevokeApiKey: () => send("RevokeApiKey", { path: { key_id: told["key"] ?? "" }, token: told["token"] ?? "" }),
    Logout: () => send("Logout", { token: told["token"] ?? "" }),
    async CreateTool() {
      const answered = await send("CreateTool", { body: newTool({ tags: ["walk"] }) });
      expect(answered.headers.get("location"), JSON.stringify(answered.body)).toBe(
        `/api/v1/mcps/${keep("tool", answered)}`,
      );
      expect(JSON.stringify(answered.body)).not.toContain("s3cret");
      return answered;
    },
    Tools: () => send("Tools", { query: "?limit=3&offset=0&tag=walk&search=tool&include_deleted=true" }),
    Tool: () => send("Tool", { path: { tool_id: told["tool"] ?? "" } }),
    UpdateTool: () =>
      send("UpdateTool", {
        path: { tool_id: told["tool"] ?? "" },
        body: { description: "changed" },
        headers: { "if-match": '"1"' },
      }),
    ToolHistory: () => send("ToolHistory", { path: { tool_id: told["tool"] ?? "" } }),
    ShareTool: () =>
      send("ShareTool", {
        path: { tool_id: told["tool"] ?? "", user_id: told["username"] ?? "" },
        body: { access: "USE" },
      }),
    async ToolShares() {
      const answered = await send("ToolShares", { path: { tool_id: told["tool"] ?? "" } });
      expect(answered.body).toMatchObject({ total: 1, items: [{ access: "USE" }] });
      return answered;
    },
    MyTools: () => send("MyTools", { query: "?limit=1" }),
    SharedWithMe: () => send("SharedWithMe", { token: viewer }),
    UnshareTool: () => send("UnshareTool", { path: { tool_id: told["tool"] ?? "", user_id: told["username"] ?? "" } }),
    async UploadDocument() {
      const answered = await send("UploadDocument", { body: { ...newDocument, tool_id: told["tool"] } });
      keep("document", answered);
      return answered;
    },
    Documents: () => send("Documents", { query: `?tool_id=${told["tool"]}` }),
    Document: () => send("Document", { path: { doc_id: told["document"] ?? "" } }),
    async SearchDocuments() {
      const answered = await send("SearchDocuments", { body: { query: "penguins", limit: 5 } });
      expect(answered.body).toMatchObject({ total: 1, items: [{ document: { id: told["document"] } }], limit: 5 });
      return answered;
    },
    DeleteDocument: () => send("DeleteDocument", { path: { doc_id: told["document"] ?? "" } }),
    async AnalyzeFeasibility() {
      const answered = await send("AnalyzeFeasibility", {
        body: { tool_id: told["tool"], requirements: ["It reads files."] },
      });
      keep("task", answered, "task_id");
      return answered;
    },
    SuggestImprovements: () => send("SuggestImprovements", { body: { tool_id: told["tool"] } }),
    GenerateConfig: () => send("GenerateConfig", { body: { tool_id: told["tool"] } }),
    async Task() {
      let answered = await send("Task", { path: { task_id: told["task"] ?? "" } });
      await expect
        .poll(async () => {
          answered = await send("Task", { path: { task_id: told["task"] ?? "" } });
          return answered.body["status"];
        })
        .toBe("SUCCEEDED");
      return answered;
    },
    async DeployTool() {
      const answered = await send("DeployTool", { body: { tool_id: await sampleTool() } });
      keep("deployment", answered);
      return answered;
    },
    Deployments: () => send("Deployments", { query: "?include_failed=true" }),
    Deployment: () => send("Deployment", { path: { deployment_id: told["deployment"] ?? "" } }),
    DeploymentHealth: () => send("DeploymentHealth", { path: { deployment_id: told["deployment"] ?? "" } }),
    StopDeployment: () => send("StopDeployment", { path: { deployment_id: told["deployment"] ?? "" } }),
    DeleteTool: () => send("DeleteTool", { path: { tool_id: told["tool"] ?? "" }, headers: { "if-match": '"2"' } }),
    async ReceiveGitHubEvent() {
      const delivery = {
        ...signedDelivery(WEBHOOK_SECRET, "ping", { zen: "Anything added dilutes everything else." }),
        token: null,
      };
      const answered = await send("ReceiveGitHubEvent", delivery);
      expect(answered.body).toMatchObject({ event: "ping", accepted: true });
      const again = await send("ReceiveGitHubEvent", delivery);
      expect(again).toMatchObject({ status: 202, body: { accepted: false } });
      expect(await send("ReceiveGitHubEvent", { ...delivery, headers: {} })).toMatchObject({ status: 401 });
      return answered;
    },
    Health: () => send("Health", { token: null }),
    Liveness: () => send("Liveness", { token: null }),
    Readiness: () => send("Readiness", { token: null }),
    async OpenApi() {
      const answered = await send("OpenApi", { token: null });
      const headers = { "if-none-match": answered.headers.get("etag") ?? "" };
      expect((await send("OpenApi", { token: null, headers })).status).toBe(304);
      return answered;
    },
  };
  /** They need a repository or a template, and have tests of their own. */
  const ELSEWHERE = /GitHub|Repository|Template|Server/;

  async function sampleTool(): Promise<string> {
    const { body } = await send("Tools", { query: "?search=everything" });
    return (body["items"] as { id: string }[])[0]?.id ?? "";
  }

  test.each(Object.keys(walk))("%s", async (id) => {
    const answered = await walk[id]?.();
    const success = Object.keys(contract.operation(id).responses).find((status) => status.startsWith("2"));
    expect(answered?.status, JSON.stringify(answered?.body)).toBe(Number(success));
  });

  test("no operation is left out", () => {
    const missing = contract.operations.filter(({ id }) => !(id in walk) && !ELSEWHERE.test(id)).map(({ id }) => id);
    expect(missing, "add them to `walk` in tests/e2e/rest.test.ts").toEqual([]);
  });
});

describe("every operation", () => {
  /** They are no operations on the graph, and care for no credential; probes may send any query. */
  const APART = /^(ReceiveGitHubEvent|Health|Liveness|Readiness|OpenApi)$/;
  const each = () => contract.operations.filter(({ id }) => !APART.test(id));
  /** A body that has all that is required. */
  function bodyOf({ id }: Operation): unknown {
    return (
      {
        Register: { username: "abc", email: "a@example.com", password: PASSWORD },
        Login: { username: "abc", password: PASSWORD },
        RefreshSession: { refresh_token: "x" },
        CreateApiKey: { name: "k", scopes: ["READ"] },
        CreateTool: newTool(),
        UpdateTool: { name: "x" },
        ShareTool: { access: "VIEW" },
        UploadDocument: newDocument,
        SearchDocuments: { query: "x" },
        AnalyzeFeasibility: { description: "x", requirements: ["y"] },
        SuggestImprovements: { tool_id: randomUUID() },
        GenerateConfig: { description: "x" },
        ConnectRepository: { tool_id: randomUUID(), owner: "o", repository: "r" },
        DeployTool: { tool_id: randomUUID() },
        ImportServer: { json: {} },
      } as Record<string, unknown>
    )[id];
  }
  const sentOf = (operation: Operation): Sent => (operation.body === null ? {} : { body: bodyOf(operation) ?? {} });

  test("refuses other methods and names its own, also to OPTIONS", async () => {
    for (const { path } of contract.operations) {
      const methods = contract.methodsOf(path);
      for (const method of ["PATCH", "GET", "PUT"].filter((one) => !methods.includes(one))) {
        const response = await request({ method, path });
        expect(response.status, `${method} ${path}`).toBe(405);
        for (const own of methods) expect(response.headers.get("allow"), path).toContain(own);
        expect(await response.json()).toMatchObject({ status: 405, code: "BAD_USER_INPUT" });
      }
      const options = await request({ method: "OPTIONS", path }, { token: null });
      expect(options.status, path).toBe(204);
      for (const own of methods) expect(options.headers.get("allow"), path).toContain(own);
    }
  });

  test("that is a GET has a HEAD, with the same status and no body", async () => {
    for (const operation of contract.operations.filter(({ method }) => method === "GET")) {
      const get = await request(operation);
      const head = await request({ ...operation, method: "HEAD" });
      expect(head.status, operation.id).toBe(get.status);
      expect(head.headers.get("content-type"), operation.id).toBe(get.headers.get("content-type"));
      expect(await head.text()).toBe("");
    }
  });

  test("but those without need a credential, and a good one", async () => {
    for (const operation of each().filter(({ isOpen }) => !isOpen))
      for (const token of [null, "not-a-token"]) {
        const response = await request(operation, { ...sentOf(operation), token });
        expect(response.status, operation.id).toBe(401);
        expect(response.headers.get("www-authenticate")).toMatch(/^Bearer/);
        expect(await contract.check(operation, response)).toMatchObject({
          code: "UNAUTHENTICATED",
          ...(token === null && { detail: expect.stringContaining("`Authorization: Bearer ") }),
        });
      }
  });

  test("that changes something of others refuses a viewer", async () => {
    const ownToAnyone =
      /^(Register|Login|RefreshSession|Logout|CreateStreamTicket|CreateApiKey|RevokeApiKey|SearchDocuments)$/;
    for (const operation of each().filter(({ id, method }) => method !== "GET" && !ownToAnyone.test(id))) {
      const answered = await send(operation.id, { ...sentOf(operation), token: viewer });
      expect(answered, operation.id).toMatchObject({ status: 403, body: { code: "FORBIDDEN" } });
    }
  });

  test("about a thing that is not there says so", async () => {
    for (const operation of each().filter(({ id, path }) => path.includes("{") && !/Template|Repository/.test(id)))
      for (const name of [randomUUID(), "..%2f..", "__proto__", "x".repeat(3_000)]) {
        const param = /\{(\w+)\}/.exec(operation.path)?.[1] ?? "";
        const answered = await send(operation.id, { ...sentOf(operation), path: { [param]: name } });
        expect(answered, `${operation.id} ${name}`).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
      }
  });

  test("with a body refuses what is none, of another type, encoded, or with fields that it does not know", async () => {
    for (const operation of each().filter(({ body }) => body !== null)) {
      const { id } = operation;
      // Without one, nothing is changed.
      const none = operation.body?.["required"] === undefined ? [] : [""];
      const deep = `{"a":${"[".repeat(20_000)}${"]".repeat(20_000)}}`;
      for (const body of ["{", ...none, "[]", "null", '{"a":1,}', '{"role":"ADMIN","__proto__":{"x":1}}', deep])
        expect(
          await send(id, {
            body,
            headers: { "content-type": "application/json", "idempotency-key": randomUUID() },
          }),
          `${id} ${body.slice(0, 40)}`,
        ).toMatchObject({
          status: 422,
          body: { code: "BAD_USER_INPUT" },
        });
      for (const headers of [{ "content-type": "text/plain" }, { "content-encoding": "gzip" }])
        expect((await send(id, { body: "{}", headers })).status, id).toBe(415);
    }
  });

  test("without a body refuses one", async () => {
    for (const operation of each().filter(({ body, method }) => body === null && method !== "GET")) {
      expect((await send(operation.id, { body: { role: "ADMIN" } })).status, operation.id).toBe(422);
      const headers = { "content-type": "text/plain" };
      expect((await send(operation.id, { body: "role", headers })).status, operation.id).toBe(415);
    }
  });

  test("refuses over-long texts as bad input, in each of its fields", async () => {
    for (const operation of each().filter(({ body }) => body !== null)) {
      const properties = (operation.body?.["properties"] ?? {}) as Record<string, { type?: unknown }>;
      for (const [name, schema] of Object.entries(properties)) {
        if (![schema.type].flat().includes("string")) continue;
        const { status } = await send(operation.id, {
          body: { ...(bodyOf(operation) as object), [name]: "x".repeat(300_000) },
          path: { tool_id: randomUUID() },
        });
        expect([200, 201, 202, 401, 404, 412, 413, 422], `${operation.id} ${name}`).toContain(status);
      }
    }
  });

  test("refuses queries that it does not know", async () => {
    for (const operation of each().filter(({ method }) => method === "GET"))
      expect((await send(operation.id, { query: "?role=ADMIN" })).status, operation.id).toBe(422);
  });

  test("is there with a slash at its path's end and without, as everything else is", async () => {
    const told = async (response: Response) => ({
      status: response.status,
      ...((await response.json()) as { code?: string; detail?: string }),
      request_id: null,
    });
    // Without a credential nothing is changed.
    for (const { method, path, id } of each().filter((one) => one.id !== "Register")) {
      const other = path.endsWith("/") ? path.slice(0, -1) : `${path}/`;
      const sent = { path: Object.fromEntries([...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => [name, "x"])) };
      const [one, two] = [path, other].map((each) => request({ method, path: each }, { ...sent, token: null }));
      expect(await told(await two!), id).toEqual(await told(await one!));
    }
    for (const path of [
      "/health",
      "/health/live",
      "/metrics",
      "/.well-known/jwks.json",
      "/api/openapi.json",
      "/api/docs",
    ])
      expect((await fetch(`${toolyard.url}${path}/`)).status, path).toBe((await fetch(toolyard.url + path)).status);
    const tools = await request({ method: "GET", path: "/api/v1/mcps/" });
    expect(await tools.json()).toHaveProperty("items");
  });

  test("refuses a body that is too large, before it is read", async () => {
    const body = JSON.stringify(newTool({ description: "x".repeat(11 * 1_048_576) }));
    expect((await send("CreateTool", { body })).status).toBe(413);
    expect(
      (await send("Register", { body: JSON.stringify({ username: "x".repeat(300_000) }), token: null })).status,
    ).toBe(413);
  });
});

test("more API keys than a page has are all listed", async () => {
  const owner = await register(`owner-${randomUUID().slice(0, 8)}`);
  const page = async (query: string) => {
    const { body } = await send("ApiKeys", { token: owner, query });
    return { ...body, items: (body["items"] as { name: string }[]).map(({ name }) => name) };
  };
  const names = Array.from({ length: 103 }, (_, n) => `key-${n}`);
  for (const name of names) await send("CreateApiKey", { token: owner, body: { name, scopes: ["READ"] } });
  const newest = names.toReversed();
  expect(await page("")).toEqual({ items: newest.slice(0, 20), total: 103, limit: 20, offset: 0 });
  expect(await page("?limit=100")).toEqual({ items: newest.slice(0, 100), total: 103, limit: 100, offset: 0 });
  expect(await page("?limit=100&offset=100")).toEqual({
    items: newest.slice(100),
    total: 103,
    limit: 100,
    offset: 100,
  });
  expect(await page("?offset=103")).toMatchObject({ items: [], total: 103 });
});

test("a place in a user's own JSON is told in their words, the way there in REST's", async () => {
  const config_schema = { type: "object", properties: { camelCase: { type: "nonsense" } } };
  const { status, body } = await send("CreateTool", { body: newTool({ config_schema }) });
  expect([status, JSON.stringify(body["problems"])]).toEqual([422, expect.stringContaining("config_schema")]);
  expect(JSON.stringify(body["problems"])).toContain("camelCase");
});

describe("a document as a file", () => {
  const upload = (form: FormData, more: Sent = {}) => {
    const { path, method } = contract.operation("UploadDocument");
    return fetch(`${toolyard.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${more.token ?? admin}`, ...more.headers },
      body: form,
    });
  };
  const check = async (response: Response) => ({
    status: response.status,
    body: await contract.check(contract.operation("UploadDocument"), response),
  });
  function formOf(fields: readonly (readonly [string, string])[], file: Blob | null, name = "notes.md"): FormData {
    const form = new FormData();
    for (const [field, value] of fields) form.append(field, value);
    if (file) form.append("file", file, name);
    return form;
  }

  test("is kept with its name, its type and its fields, and can be found", async () => {
    const tool = await createTool();
    const form = formOf(
      [
        ["tags", "birds"],
        ["tags", "a, b"],
        ["tool_id", tool],
        ["metadata", '{"camelCase":{"snake_case":12345678901234567890}}'],
      ],
      new Blob(["# Ostriches\n\nThey r\u00fcn."]),
    );
    const { status, body } = await check(await upload(form));
    expect(body).toMatchObject({
      title: "notes.md",
      content_type: "text/markdown",
      tags: ["birds", "a, b"],
      tool_id: tool,
      metadata: { camelCase: {} },
    });
    expect(status).toBe(201);
    expect((await send("Document", { path: { doc_id: String(body["id"]) } })).body["content"]).toBe(
      "# Ostriches\n\nThey r\u00fcn.",
    );
    const titled = formOf(
      [
        ["title", "Of mine"],
        ["tags", '["x","y"]'],
      ],
      new Blob(["{}"], { type: "application/json" }),
      "../../etc/x",
    );
    expect((await check(await upload(titled))).body).toMatchObject({
      title: "Of mine",
      content_type: "application/json",
      tags: ["x", "y"],
    });
    expect((await check(await upload(formOf([], new Blob(["x"]), "../../etc/passwd.txt")))).body).toMatchObject({
      title: "passwd.txt",
      content_type: "text/plain",
    });
  });

  test("that is sent again under its Idempotency-Key is kept once, whatever its boundary is", async () => {
    const headers = { "idempotency-key": randomUUID() };
    const form = () => formOf([["title", "Once"]], new Blob(["once"]));
    const first = await check(await upload(form(), { headers }));
    expect(await check(await upload(form(), { headers }))).toEqual(first);
    expect((await check(await upload(formOf([["title", "Once"]], new Blob(["twice"])), { headers }))).status).toBe(422);
  });

  test.each<[string, () => FormData, number, string]>([
    ["no file", () => formOf([["title", "x"]], null), 422, "file"],
    ["an unknown field", () => formOf([["role", "ADMIN"]], new Blob(["x"])), 422, ""],
    ["a field that the file has", () => formOf([["content", "x"]], new Blob(["x"])), 422, "content"],
    ["metadata that is not JSON", () => formOf([["metadata", "{"]], new Blob(["x"])), 422, "metadata"],
    [
      "a field twice that is no list",
      () =>
        formOf(
          [
            ["title", "x"],
            ["title", "y"],
          ],
          new Blob(["x"]),
        ),
      422,
      "title",
    ],
    ["a file that is not UTF-8", () => formOf([], new Blob([new Uint8Array([0xff, 0xfe])])), 422, "content"],
  ])("with %s is refused, by place", async (_what, form, status, path) => {
    const { body, ...answered } = await check(await upload(form()));
    expect({ ...answered, body }).toMatchObject({ status, body: { problems: [{ path }] } });
    // The place is said once.
    expect(body["detail"]).not.toMatch(/^(\w+): \1 /);
  });

  test("that is too large, or in too many parts, is refused", async () => {
    const large = new Blob(["x".repeat(11 * 1_048_576)]);
    expect((await check(await upload(formOf([], large)))).status).toBe(413);
    const many = Array.from({ length: 101 }, (_, n) => ["tags", `t${n}`] as const);
    expect((await check(await upload(formOf(many, new Blob(["x"]))))).status).toBe(413);
    expect((await check(await upload(formOf([["metadata", "x".repeat(70_000)]], new Blob(["x"]))))).status).toBe(413);
    const two = formOf([], new Blob(["x"]));
    two.append("file", new Blob(["y"]), "second.txt");
    expect((await check(await upload(two))).status).toBe(413);
  });

  test("that is no form, or ends early, is refused; other routes take none", async () => {
    const { path } = contract.operation("UploadDocument");
    const post = (body: string, type: string, to = path) =>
      fetch(`${toolyard.url}${to}`, {
        method: "POST",
        headers: { authorization: `Bearer ${admin}`, "content-type": type },
        body,
      });
    for (const type of ["multipart/form-data", "text/plain"])
      expect(await check(await post("x", type))).toMatchObject({
        status: 415,
        body: { detail: "Send the body as application/json, or multipart/form-data with its boundary." },
      });
    expect((await check(await post("x", "multipart/form-data; x"))).status).toBe(422);
    expect(
      (
        await check(
          await post("--b\r\ncontent-disposition: form-data; name=title\r\n\r\nx", "multipart/form-data; boundary=b"),
        )
      ).status,
    ).toBe(422);
    expect((await check(await post("", "multipart/form-data; boundary=b"))).status).toBe(422);
    expect((await post("--b--", "multipart/form-data; boundary=b", "/api/v1/mcps")).status).toBe(415);
  });
});

describe("a tool's version", () => {
  test("is its ETag, which a GET need not send again, and by which PUT and DELETE change only what the client has seen", async () => {
    const path = { tool_id: await createTool() };
    const got = await send("Tool", { path });
    const first = got.headers.get("etag") ?? "";
    expect(first).toMatch(/^"1-/);
    expect((await send("Tool", { path, headers: { "if-none-match": first } })).status).toBe(304);
    const put = (tag: string, description: string) =>
      send("UpdateTool", { path, body: { description }, headers: { "if-match": tag } });
    const second = (await put(first, "second")).headers.get("etag") ?? "";
    expect(second).toMatch(/^"2-/);
    expect(await put(first, "late")).toMatchObject({ status: 412, body: { code: "PRECONDITION_FAILED" } });
    const remove = (tag: string) => send("DeleteTool", { path, headers: { "if-match": tag } });
    for (const stale of ['"1"', '"3"', first, "nonsense"])
      expect(await remove(stale)).toMatchObject({ status: 412, body: { unmet: [{ gate: "If-Match" }] } });
    for (const [unlike, advice] of [
      ["2", '`If-Match: "2"`.'],
      ['W/"2-x"', '`If-Match: "2-x"`.'],
      ["nonsense", "as it was answered"],
      ['"1", "2"', "Send one ETag"],
    ] as const)
      expect((await remove(unlike)).body["detail"]).toContain(advice);
    expect((await send("Tool", { path })).body).toMatchObject({ description: "second", deleted_at: null });
    expect((await remove('"2"')).status).toBe(204);
    expect((await send("Tool", { path, headers: { "if-none-match": second } })).body["deleted_at"]).toMatch(/Z$/);
  });

  test("has another ETag for whom the answer is another, and changes go by the version in it", async () => {
    const launch = { stdio: { command: "node", args: ["/srv/server.mjs"], env: [{ name: "MODE", value: "fast" }] } };
    const path = { tool_id: String((await send("CreateTool", { body: newTool({ launch }) })).body["id"]) };
    const viewersTag = (await send("Tool", { path, token: viewer })).headers.get("etag") ?? "";
    expect((await send("Tool", { path, headers: { "if-none-match": viewersTag } })).status).toBe(200);
    const change = { body: { description: "other" }, headers: { "if-match": viewersTag } };
    expect((await send("UpdateTool", { path, ...change })).status).toBe(200);
  });
});

describe("Idempotency-Key", () => {
  const keyed = (key: string, more: Sent = {}): Sent => ({
    body: newTool({ tags: [key] }),
    ...more,
    headers: { "idempotency-key": key, ...more.headers },
  });
  const countOf = async (tag: string) => (await send("Tools", { query: `?tag=${tag}` })).body["total"];

  test("of what was made before is answered as before, and makes nothing", async () => {
    const key = randomUUID();
    const first = await send("CreateTool", keyed(key));
    expect(first.headers.has("idempotency-replayed")).toBe(false);
    const again = await send("CreateTool", keyed(key));
    expect(again).toMatchObject({ status: 201, body: first.body });
    for (const name of ["location", "etag"]) expect(again.headers.get(name)).toBe(first.headers.get(name));
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(again.headers.get("x-request-id")).not.toBe(first.headers.get("x-request-id"));
    expect(await countOf(key)).toBe(1);
  });

  test("of many at once makes one thing", async () => {
    const key = randomUUID();
    const answers = await Promise.all([1, 2, 3, 4, 5, 6].map(() => send("CreateTool", keyed(key))));
    expect(new Set(answers.map(({ body }) => body["id"])).size).toBe(1);
    expect(answers.filter(({ headers }) => headers.has("idempotency-replayed"))).toHaveLength(5);
    expect(await countOf(key)).toBe(1);
  });

  test("is done, although the client that sent it left, and its answer is there for it", async () => {
    const key = randomUUID();
    const leaving = new AbortController();
    const sent = keyed(key);
    const gone = fetch(`${toolyard.url}/api/v1/mcps`, {
      method: "POST",
      headers: { authorization: `Bearer ${admin}`, "content-type": "application/json", ...sent.headers },
      body: JSON.stringify(sent.body),
      signal: leaving.signal,
    }).catch(() => null);
    const again = send("CreateTool", sent);
    leaving.abort();
    await gone;
    expect((await again).status).toBe(201);
    expect((await send("CreateTool", sent)).body["id"]).toBe((await again).body["id"]);
    expect(await countOf(key)).toBe(1);
  });

  test("with another body is refused; refusals are kept as well, but none that invites to try again", async () => {
    const key = randomUUID();
    await send("CreateTool", keyed(key));
    expect(await send("CreateTool", keyed(key, { body: newTool() }))).toMatchObject({
      status: 422,
      body: { problems: [{ path: "Idempotency-Key" }] },
    });
    const wrong = keyed(randomUUID(), { body: newTool({ name: "" }) });
    const refused = await send("CreateTool", wrong);
    const again = await send("CreateTool", wrong);
    expect(again).toMatchObject({ status: 422, body: refused.body });
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    const forbidden = keyed(randomUUID(), { token: viewer });
    for (let n = 0; n < 2; n++) {
      const { status, headers } = await send("CreateTool", forbidden);
      expect([status, headers.has("idempotency-replayed")]).toEqual([403, false]);
    }
  });

  test("is its sender's own: another user's, or an API key's with fewer rights, is another key", async () => {
    const key = randomUUID();
    const body = { name: "shared", scopes: ["READ", "WRITE"] };
    const mine = await send("CreateApiKey", keyed(key, { body }));
    const theirs = await send("CreateApiKey", keyed(key, { body, token: viewer }));
    expect(theirs).toMatchObject({ status: 201 });
    expect(theirs.headers.has("idempotency-replayed")).toBe(false);
    expect(theirs.body["secret"]).not.toBe(mine.body["secret"]);
    const byKey = await send("CreateApiKey", keyed(key, { body, token: String(mine.body["secret"]) }));
    expect(byKey.headers.has("idempotency-replayed")).toBe(false);
  });

  test("keeps no secret in the open, and its answers over a restart", async () => {
    const key = randomUUID();
    const sent = keyed(key, { body: { name: "kept", scopes: ["READ"] } });
    const first = await send("CreateApiKey", sent);
    const { dataDir } = toolyard;
    await toolyard.kill();
    for (const file of (await readdir(dataDir)).filter((name) => name.startsWith("idempotency.sqlite")))
      expect((await readFile(`${dataDir}/${file}`)).includes(String(first.body["secret"]))).toBe(false);
    toolyard = await toolyard.restart();
    const again = await send("CreateApiKey", sent);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
  });
});

test("a page of an allowed origin may read what REST says in headers", async () => {
  const response = await request(contract.operation("Tools"), { headers: { origin: toolyard.url } });
  for (const name of ["ETag", "Location", "Idempotency-Replayed", "RateLimit"])
    expect(response.headers.get("access-control-expose-headers")).toContain(name);
});

test("REST and the graph show the same", async () => {
  const id = await createTool();
  const { tool } = await graphqlClient(toolyard.url, admin).query<{ tool: object }>(
    "query ($id: ID) { tool(id: $id) { id slug name description tags } }",
    { id },
  );
  expect((await send("Tool", { path: { tool_id: id } })).body).toMatchObject(tool);
});

test("docs/rest.md, pasted as it stands", async () => {
  const page = await readFile(join(import.meta.dirname, "../../docs/rest.md"), "utf8");
  const [, pasted = ""] = /<!-- paste:begin -->([\s\S]*)<!-- paste:end -->/.exec(page) ?? [];
  const script = [...pasted.matchAll(/^```sh\n([\s\S]*?)^```$/gm)]
    .map(([, block = ""]) => block)
    .join("\n")
    .replaceAll("http://127.0.0.1:4000", toolyard.url)
    .replaceAll("data/admin-password", join(toolyard.dataDir, "admin-password"))
    .replaceAll("/tmp/quartz.md", join(toolyard.dataDir, "quartz.md"));
  const { stdout } = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", script]);
  for (const shown of ['"slug":"clock"', '"title":"quartz.md"', '"snippet":', '"slug":"calendar"', "anywhere"])
    expect(stdout).toContain(shown);
  expect(stdout).not.toContain('"slug":"calendar-2"');
});
