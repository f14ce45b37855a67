import { createHmac, createPrivateKey, createPublicKey, randomUUID, sign, type JsonWebKey } from "node:crypto";
import { connect } from "node:net";
import { deriveSigningKeys } from "@toolyard/service-kit/identity/keys.ts";
import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

/* Attacks that everybody tries, at every door: the graph, REST, both kinds of streams, and tools at both addresses. */

const SECRET_KEY = "the secret key of a Toolyard that is only there for attacks";
const PASSWORD = "yet another phrase 4711";

let toolyard: RunningToolyard;
let admin: string;
let viewer: { token: string; id: string };

beforeAll(async () => {
  toolyard = await startToolyard({ env: { SECRET_KEY, REGISTRATION_ROLE: "VIEWER" } });
  admin = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const { register } = await graphqlClient(toolyard.url).query<{
    register: { accessToken: string; user: { id: string } };
  }>("mutation ($input: RegisterInput!) { register(input: $input) { accessToken user { id } } }", {
    input: { username: "vera", email: "vera@example.com", password: PASSWORD },
  });
  viewer = { token: register.accessToken, id: register.user.id };
});
afterAll(() => toolyard[Symbol.asyncDispose]());

const rest = (method: string, path: string, token: string | null, body?: unknown, headers: object = {}) =>
  fetch(toolyard.url + path, {
    method,
    headers: {
      ...(token !== null && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { "content-type": "application/json" }),
      ...headers,
    },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });

/** How each door answers a credential: an HTTP status; 401 for a socket that is closed with 4401. */
const doors: Record<string, (token: string) => Promise<number>> = {
  graph: async (token) => (await rest("POST", "/graphql", token, { query: "{ me { id } }" })).status,
  rest: async (token) => (await rest("GET", "/api/v1/mcps", token)).status,
  events: async (token) => {
    const answer = await rest("GET", "/events", token);
    await answer.body?.cancel();
    return answer.status;
  },
  ws: (token) =>
    new Promise((resolve) => {
      const socket = new WebSocket(`${toolyard.url.replace("http", "ws")}/ws`, {
        headers: { authorization: `Bearer ${token}` },
      });
      socket.on("open", () => socket.send('{"type":"ping"}'));
      socket.on("message", (data: Buffer) => {
        if (!data.toString().includes('"pong"')) return;
        resolve(200);
        socket.terminate();
      });
      socket.on("close", (code) => resolve(code === 4401 ? 401 : code));
      socket.on("error", () => undefined);
    }),
  "tools at the gateway": async (token) => (await rest("POST", "/mcp/none/v1/mcp", token, {})).status,
  "tools at the proxy": async (token) =>
    (await fetch(`${toolyard.proxyUrl}/mcp/none/v1/mcp`, { headers: { authorization: `Bearer ${token}` } })).status,
};
const answersTo = async (token: string) =>
  Object.fromEntries(
    await Promise.all(Object.entries(doors).map(async ([name, ask]) => [name, await ask(token)] as const)),
  );

const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
const decode = (part = "") => JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;

/** The administrator's token with another head and claims, and the signature of these. */
function forge(head: object, claims: object, signatureOf: (signed: string) => string): string {
  const [ownHead, ownClaims] = admin.split(".");
  const signed = `${encode({ ...decode(ownHead), ...head })}.${encode({ ...decode(ownClaims), ...claims })}`;
  return `${signed}.${signatureOf(signed)}`;
}

describe("a token that is forged is refused with 401 at every door:", () => {
  const own = (signed: string) =>
    sign(null, Buffer.from(signed), deriveSigningKeys(SECRET_KEY, "token-signing").privateKey).toString("base64url");
  const hmac = (secret: string | Buffer) => (signed: string) =>
    createHmac("sha256", secret).update(signed).digest("base64url");
  /** The public key, in the forms in which libraries take it for a secret. */
  async function publicKey(): Promise<{ jwk: JsonWebKey; pem: string; x: Buffer }> {
    const { keys } = (await (await fetch(`${toolyard.url}/.well-known/jwks.json`)).json()) as { keys: JsonWebKey[] };
    const jwk = keys[0] ?? {};
    const pem = createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "pem" });
    return { jwk, pem: String(pem), x: Buffer.from(jwk.x ?? "", "base64url") };
  }
  const another = () => deriveSigningKeys("another secret key, which is as long as the first", "token-signing");

  const kinds: [string, () => Promise<string> | string][] = [
    ["alg none", () => forge({ alg: "none" }, {}, () => "")],
    ["alg None, signed", () => forge({ alg: "None" }, {}, own)],
    ["no alg", () => forge({ alg: undefined }, {}, own)],
    ["signed with the public key as PEM", async () => forge({ alg: "HS256" }, {}, hmac((await publicKey()).pem))],
    ["signed with the public key's bytes", async () => forge({ alg: "HS256" }, {}, hmac((await publicKey()).x))],
    [
      "signed with the public key as a JWK",
      async () => forge({ alg: "HS256" }, {}, hmac(JSON.stringify((await publicKey()).jwk))),
    ],
    ["signed with SECRET_KEY itself", () => forge({ alg: "HS256" }, {}, hmac(SECRET_KEY))],
    [
      "that brings its own key",
      () => {
        const { privateKey } = another();
        const jwk = createPublicKey(createPrivateKey(privateKey.export({ type: "pkcs8", format: "pem" }))).export({
          format: "jwk",
        });
        const signed = (text: string) => sign(null, Buffer.from(text), privateKey).toString("base64url");
        return forge({ jwk, kid: undefined }, {}, signed);
      },
    ],
    ["whose key is a path", () => forge({ alg: "HS256", kid: "../../../../dev/null" }, {}, hmac(""))],
    ["expired", () => forge({}, { exp: Math.floor(Date.now() / 1_000) - 60 }, own)],
    ["that never expires", () => forge({}, { exp: undefined }, own)],
    ["of another audience", () => forge({}, { aud: "another" }, own)],
    ["of another issuer", () => forge({}, { iss: "https://evil.example" }, own)],
    ["of a role that is none", () => forge({}, { role: "ROOT" }, own)],
    ["with another's claims", () => forge({}, { role: "ADMIN" }, () => viewer.token.split(".")[2] ?? "")],
    ["without its signature", () => admin.split(".").slice(0, 2).join(".")],
    ["with an empty one", () => `${admin.split(".").slice(0, 2).join(".")}.`],
    ["that is four parts", () => `${admin}.${admin.split(".")[2] ?? ""}`],
  ];

  test.each(kinds)("%s", async (_what, make) => {
    const token = await make();
    const refused = Object.fromEntries(Object.keys(doors).map((name) => [name, 401]));
    expect(await answersTo(token)).toEqual(refused);
  });

  test("though the same, signed as it should be, is not", async () => {
    const answers = await answersTo(forge({}, {}, own));
    expect(answers).toMatchObject({ graph: 200, rest: 200, events: 200, ws: 200 });
    for (const status of Object.values(answers)) expect(status).not.toBe(401);
  });
});

describe("a session", () => {
  test("whose refresh token comes again by REST, after its successor was used, ends with all its tokens", async () => {
    const login = async () =>
      (await rest("POST", "/api/v1/auth/login", null, { username: "vera", password: PASSWORD })).json() as Promise<
        Record<"access_token" | "refresh_token", string>
      >;
    const refresh = async (token: string) => rest("POST", "/api/v1/auth/refresh", null, { refresh_token: token });
    const first = await login();
    const second = (await (await refresh(first.refresh_token)).json()) as typeof first;
    const third = (await (await refresh(second.refresh_token)).json()) as typeof first;
    expect((await refresh(first.refresh_token)).status).toBe(401);
    for (const { refresh_token: token } of [second, third]) expect((await refresh(token)).status).toBe(401);
    for (const { access_token: token } of [first, second, third])
      await expect.poll(async () => Object.values(await answersTo(token))).toEqual(Object.keys(doors).map(() => 401));
  });
});

test("nobody registers with a role of their own choice", async () => {
  const input = { username: "mallory", email: "mallory@example.com", password: PASSWORD, role: "ADMIN" };
  for (const key of ["role", "Role", "is_admin", "scopes", "id", "__proto__", "constructor"]) {
    const { role: _role, ...given } = input;
    const body = JSON.stringify(given).replace(/\}$/, `,"${key}":"ADMIN"}`);
    expect((await rest("POST", "/api/v1/auth/register", null, body)).status, key).toBe(422);
  }
  const { data, errors } = await graphqlClient(toolyard.url).send(
    "mutation ($input: RegisterInput!) { register(input: $input) { user { role } } }",
    { input },
  );
  expect([data, errors[0]?.extensions.code]).toEqual([undefined, "BAD_USER_INPUT"]);
  const literal = await graphqlClient(toolyard.url).send(
    `mutation { register(input: { username: "mallory", email: "m@example.com", password: "${PASSWORD}", role: ADMIN }) { user { role } } }`,
  );
  expect(literal.errors[0]?.extensions.code).toBe("GRAPHQL_VALIDATION_FAILED");
  const { users } = await graphqlClient(toolyard.url, admin).query<{ users: { totalCount: number } }>(
    '{ users(search: "mallory") { totalCount } }',
  );
  expect(users.totalCount).toBe(0);
});

test("another's API keys are neither read nor revoked, by id or by way of their owner", async () => {
  const { createApiKey, me } = await graphqlClient(toolyard.url, admin)
    .query<{
      createApiKey: { apiKey: { id: string } };
      me: { id: string };
    }>('mutation { createApiKey(input: { name: "theirs", scopes: [READ] }) { apiKey { id } } }')
    .then(async (made) => ({
      ...made,
      ...(await graphqlClient(toolyard.url, admin).query<{ me: { id: string } }>("{ me { id } }")),
    }));
  const { id } = createApiKey.apiKey;
  const theirs = graphqlClient(toolyard.url, viewer.token);
  const read = await theirs.send("query ($id: ID!) { user(id: $id) { apiKeys { edges { node { id } } } } }", {
    id: me.id,
  });
  expect(JSON.stringify(read)).not.toContain(id);
  expect(read.errors.length).toBeGreaterThan(0);
  const list = await rest("GET", "/api/v1/auth/api-keys", viewer.token);
  expect(list.status).toBe(200);
  expect(await list.text()).not.toContain(id);
  expect([403, 404]).toContain((await rest("DELETE", `/api/v1/auth/api-keys/${id}`, viewer.token)).status);
  const revoked = await theirs.send("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", { id });
  expect(["FORBIDDEN", "NOT_FOUND"]).toContain(revoked.errors[0]?.extensions.code);
  const mine = await rest("GET", "/api/v1/auth/api-keys", admin);
  expect(await mine.text()).toContain(id);
});

test("an Idempotency-Key of another route has no answer for this one", async () => {
  const key = randomUUID();
  const headers = { "idempotency-key": key };
  const made = await rest("POST", "/api/v1/auth/api-keys", admin, { name: "first", scopes: ["READ"] }, headers);
  expect(made.status).toBe(201);
  const { secret } = (await made.json()) as { secret: string };
  const other = await rest("POST", "/api/v1/mcps", admin, { name: "first", scopes: ["READ"] }, headers);
  expect(other.status).toBe(422);
  expect(await other.text()).not.toContain(secret);
});

test("a call for another host is refused at both addresses, in either place that names one", async () => {
  for (const url of [toolyard.url, toolyard.proxyUrl]) {
    const ask = (target: string, host: string) => rawGet(url, "POST", target, admin, host);
    expect(await ask("/mcp/none/v1/mcp", "evil.example")).toMatch(/^HTTP\/1\.1 403 /);
    expect(await ask("http://evil.example/mcp/none/v1/mcp", "localhost")).toMatch(/^HTTP\/1\.1 4(00|03|04) /);
    expect(await ask("/mcp/none/v1/mcp", "localhost")).toMatch(/^HTTP\/1\.1 404 /);
  }
});

/** The status line and the body that a path gets, sent as it is: `fetch` would tidy it up. */
function rawGet(url: string, method: string, path: string, token: string, host = "localhost"): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1", () =>
      socket.write(
        `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}`,
      ),
    );
    let answer = "";
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
    socket.on("error", reject).on("close", () => resolve(answer));
  });
}

describe("a path that would leave its folder finds nothing:", () => {
  const UP = [
    "../../../../etc/passwd",
    "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252f%252e%252e%252fetc%252fpasswd",
    "..%5c..%5c..%5cetc%5cpasswd",
    "..\\..\\..\\etc\\passwd",
    "%c0%ae%c0%ae%c0%af%c0%ae%c0%ae%c0%afetc%c0%afpasswd",
    "..%00/etc/passwd",
    "x%00.yaml",
    "%2fetc%2fpasswd",
    "file:%2f%2f%2fetc%2fpasswd",
    "....//....//etc/passwd",
    "..;/..;/etc/passwd",
    "%ff%fe",
  ];
  const PLACES: [string, string, string?][] = [
    ["GET", "/api/v1/mcps/*"],
    ["DELETE", "/api/v1/mcps/*"],
    ["GET", "/api/v1/knowledge/documents/*"],
    ["GET", "/api/v1/deployments/*"],
    ["GET", "/api/v1/tasks/*"],
    ["GET", "/api/templates/*/"],
    ["POST", "/api/templates/deploy/*/"],
    ["DELETE", "/api/templates/deployments/*/delete/"],
    ["GET", "/graphql/assets/*"],
    ["POST", "/mcp/*/v1/mcp"],
    ["POST", "/mcp/*"],
    ["POST", "/mcp/*/v1/mcp", "proxy"],
  ];

  test.each(PLACES)("%s %s", async (method, place, door) => {
    const url = door === "proxy" ? toolyard.proxyUrl : toolyard.url;
    for (const up of UP) {
      const answer = await rawGet(url, method, place.replace("*", up), admin);
      expect(answer, up).toMatch(/^HTTP\/1\.1 4\d\d /);
      expect(answer, up).not.toMatch(/root:|node_modules|\/tmp\//);
    }
  });

  test("an uploaded file's name is a text, whatever it says", async () => {
    for (const name of ["../../../../tmp/evil.md", "..\\..\\evil.md", "/etc/cron.d/evil.md", "a\0b.md"]) {
      const form = new FormData();
      form.append("file", new Blob(["# Evil"], { type: "text/markdown" }), name);
      const answer = await fetch(`${toolyard.url}/api/v1/knowledge/documents`, {
        method: "POST",
        headers: { authorization: `Bearer ${admin}` },
        body: form,
      });
      expect([201, 422], name).toContain(answer.status);
    }
  });
});

describe("keys of prototypes are keys like others, which nobody asked for:", () => {
  const POLLUTION = ['"__proto__":{"polluted":1}', '"constructor":{"prototype":{"polluted":1}}', '"prototype":{"a":1}'];

  test.each(POLLUTION)("%s", async (member) => {
    for (const path of ["/api/v1/auth/login", "/api/v1/mcps", "/api/v1/auth/api-keys", "/api/templates/import/"])
      expect((await rest("POST", path, admin, `{"name":"x",${member}}`)).status, path).toBe(422);
    for (const body of [
      `{"query":"{ me { id } }",${member}}`,
      `{"query":"{ me { id } }","variables":{${member}}}`,
      `{"query":"{ me { id } }","extensions":{${member}}}`,
    ])
      expect([200, 400], body).toContain((await rest("POST", "/graphql", admin, body)).status);
    const socket = new WebSocket(`${toolyard.url.replace("http", "ws")}/ws`, {
      headers: { authorization: `Bearer ${admin}` },
    });
    const answer = new Promise<string>((resolve) => socket.on("message", (data: Buffer) => resolve(data.toString())));
    socket.on("open", () => socket.send(`{"type":"subscribe",${member}}`));
    expect(JSON.parse(await answer)).toMatchObject({ type: "error", data: { code: "BAD_USER_INPUT" } });
    socket.terminate();
    expect(await rest("GET", "/api/v1/mcps?__proto__=1&constructor=1", admin)).toMatchObject({ status: 422 });
    expect(await rest("GET", "/events?__proto__=1", admin)).toMatchObject({ status: 422 });
    const { me } = await graphqlClient(toolyard.url, admin).query<{ me: object }>("{ me { id } }");
    expect(Object.keys(me)).toEqual(["id"]);
  });
});
