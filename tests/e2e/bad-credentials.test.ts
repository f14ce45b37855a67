/** Who comes with a credential that is not good any more: they may log in, and are refused everything else. */
import { createHash } from "node:crypto";
import { createTokenSigner } from "@toolyard/service-kit";
import { graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { createClient } from "graphql-ws";
import { SubscriptionClient } from "subscriptions-transport-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

const SECRET_KEY = "the secret key of a Toolyard that is only there for tests";
const LOGIN = 'mutation ($p: String!) { login(username: "admin", password: $p) { accessToken user { username } } }';
const WATCH = "subscription { deploymentEvents { sequence } }";

let toolyard: RunningToolyard;
/** Authorization headers, each bad in its own way. */
const bad: Record<string, string> = {};
let password: string;

beforeAll(async () => {
  toolyard = await startToolyard({ env: { SECRET_KEY, BATCH_LIMIT: "10", INTROSPECTION: "true" } });
  password = toolyard.adminPassword;
  const good = await logIn(toolyard.url, "admin", password);
  const { me } = await graphqlClient(toolyard.url, good).query<{ me: { id: string } }>("{ me { id } }");
  const forge = async (secretKey: string, issuedAt: number) => {
    const signer = createTokenSigner({ secretKey });
    const facts = { userId: me.id, role: "ADMIN" as const, scopes: ["READ" as const], passwordAt: null, issuedAt };
    return (await signer.accessToken(facts)).token;
  };
  const { createApiKey } = await graphqlClient(toolyard.url, good).query<{
    createApiKey: { secret: string; apiKey: { id: string } };
  }>('mutation { createApiKey(input: { name: "k", scopes: [READ] }) { secret apiKey { id } } }');
  await graphqlClient(toolyard.url, good).query("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", {
    id: createApiKey.apiKey.id,
  });
  const ended = await logIn(toolyard.url, "admin", password);
  await graphqlClient(toolyard.url, ended).query("mutation { logout }");
  Object.assign(bad, {
    expired: `Bearer ${await forge(SECRET_KEY, Date.now() - 3_600_000)}`,
    "another installation's": `Bearer ${await forge("another installation's secret key, as long as one", Date.now())}`,
    revoked: `Bearer ${ended}`,
    "a revoked API key": `Bearer ${createApiKey.secret}`,
    malformed: "Bearer rubbish",
    "of another scheme": "Basic YWRtaW46YWRtaW4=",
  });
});
afterAll(() => toolyard[Symbol.asyncDispose]());

const kinds = ["expired", "another installation's", "revoked", "a revoked API key", "malformed", "of another scheme"];

interface Reply {
  data?: Record<string, unknown> | null;
  errors?: { message: string; extensions: { code: string } }[];
}

async function post(authorization: string, body: unknown, headers: Record<string, string> = {}) {
  const response = await fetch(`${toolyard.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization, ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  // The test knows what it asked.
  const reply = (text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : {}) as Reply & Reply[];
  return { status: response.status, challenge: response.headers.get("www-authenticate"), text, reply };
}

describe.each(kinds)("a credential that is %s", (kind) => {
  const credential = () => bad[kind] ?? "";

  test("does not keep its sender from logging in, registering, refreshing and asking what there is", async () => {
    const login = await post(credential(), { query: LOGIN, variables: { p: password } });
    expect(login.reply.data?.["login"]).toMatchObject({ accessToken: expect.any(String), user: { username: "admin" } });
    const name = `user-${kind.replace(/\W/g, "-")}`;
    const register = await post(credential(), {
      query: "mutation ($i: RegisterInput!) { ...r } fragment r on Mutation { register(input: $i) { refreshToken } }",
      variables: { i: { username: name, email: `${name}@example.com`, password: "a rather long secret of theirs" } },
    });
    const { refreshToken } = (register.reply.data?.["register"] ?? {}) as { refreshToken: string };
    const refreshed = await post(credential(), {
      query: "mutation ($t: String!) { __typename refreshSession(refreshToken: $t) { user { username } } }",
      variables: { t: refreshToken },
    });
    expect(refreshed.reply.data).toEqual({ __typename: "Mutation", refreshSession: { user: { username: name } } });
    expect(
      (await post(credential(), { query: "{ __typename ... { __schema { queryType { name } } } }" })).reply,
    ).toEqual({
      data: { __typename: "Query", __schema: { queryType: { name: "Query" } } },
    });
  });

  test("is refused with 401 for whatever has another field", async () => {
    for (const query of [
      "{ me { username } }",
      "{ __typename me { username } }",
      "{ __typename ...f } fragment f on Query { tools { totalCount } }",
      "mutation { logout }",
      'mutation { login(username: "admin", password: "x") { accessToken } logout }',
      "{ noSuchField }",
      "{ this is not GraphQL",
      WATCH,
    ]) {
      const { status, challenge, reply } = await post(credential(), { query });
      expect({ query, status, challenge }).toEqual({ query, status: 401, challenge: 'Bearer realm="toolyard"' });
      expect(reply.errors?.[0]?.extensions.code).toBe("UNAUTHENTICATED");
    }
    const tooLong = JSON.stringify({ query: `{ __typename } #${" ".repeat(300_000)}` });
    expect((await post(credential(), tooLong)).status).toBe(401);
    expect((await post(credential(), "not JSON")).status).toBe(401);
  });
});

describe("a bad credential", () => {
  test("in a batch lets pass what logs in, and only that", async () => {
    const asked = [{ query: LOGIN, variables: { p: password } }, { query: "{ me { username } }" }];
    const { status, reply } = await post(bad["expired"] ?? "", asked);
    expect(status).toBe(200);
    expect(reply[0]?.data?.["login"]).toBeTruthy();
    expect(reply[1]).toMatchObject({ errors: [{ extensions: { code: "UNAUTHENTICATED" } }] });
    expect((await post(bad["expired"] ?? "", [asked[1], asked[1]])).status).toBe(401);
  });

  test("lets a persisted login pass, and is refused with another operation's hash", async () => {
    const extensionsOf = (query: string) => ({
      persistedQuery: { version: 1, sha256Hash: createHash("sha256").update(query).digest("hex") },
    });
    const variables = { p: password };
    const first = await post(bad["revoked"] ?? "", { extensions: extensionsOf(LOGIN), variables });
    expect(first.reply.errors?.[0]?.extensions.code).toBe("PERSISTED_QUERY_NOT_FOUND");
    await post(bad["revoked"] ?? "", { query: LOGIN, extensions: extensionsOf(LOGIN), variables });
    const third = await post(bad["revoked"] ?? "", { extensions: extensionsOf(LOGIN), variables });
    expect(third.reply.data?.["login"]).toBeTruthy();
    const me = "{ me { username } }";
    await graphqlClient(toolyard.url).send(me);
    await post("", { query: me, extensions: extensionsOf(me) });
    expect((await post(bad["revoked"] ?? "", { extensions: extensionsOf(me) })).status).toBe(401);
  });

  test.each([
    "text/event-stream",
    "application/json;q=0.9, text/event-stream",
    "multipart/mixed;subscriptionSpec=1.0, application/json",
  ])("is treated alike where the answer is asked for as %s", async (accept) => {
    const login = await post(bad["malformed"] ?? "", { query: LOGIN, variables: { p: password } }, { accept });
    expect(login.text).toContain("accessToken");
    for (const query of ["{ me { username } }", WATCH])
      expect((await post(bad["malformed"] ?? "", { query }, { accept })).status).toBe(401);
  });

  test("counts as none: its sender has an anonymous caller's new operations", async () => {
    let limited: Awaited<ReturnType<typeof post>> | null = null;
    for (let n = 0; n < 200 && limited === null; n += 1) {
      const answer = await post(bad["malformed"] ?? "", { query: `{ t${n}: __typename }` });
      if (answer.status === 429) limited = answer;
    }
    expect(limited?.reply.errors?.[0]).toMatchObject({
      message: expect.stringMatching(/without a credential/),
      extensions: { code: "RATE_LIMITED" },
    });
  });
});

describe("on a socket, a bad credential", () => {
  const url = () => `${toolyard.url.replace("http", "ws")}/graphql`;

  test.each(["expired", "malformed", "revoked"])(
    "(%s) is refused so that graphql-ws does not try again",
    async (kind) => {
      let connections = 0;
      const client = createClient({
        url: url(),
        webSocketImpl: WebSocket,
        retryAttempts: 3,
        retryWait: () => Promise.resolve(),
        connectionParams: { authorization: bad[kind] },
        on: { opened: () => void (connections += 1) },
      });
      const ended = Promise.withResolvers<unknown>();
      const sink = { next: () => undefined, error: ended.resolve, complete: () => ended.resolve(null) };
      client.subscribe({ query: WATCH }, sink);
      expect(await ended.promise).toMatchObject({ code: 4401, reason: expect.stringMatching(/\w/) });
      expect(connections).toBe(1);
      await client.dispose();
    },
  );

  test("lets its sender log in by graphql-ws, and closes soon where they do not", async () => {
    const closed = Promise.withResolvers<unknown>();
    const client = createClient({
      url: url(),
      webSocketImpl: WebSocket,
      lazy: false,
      connectionParams: { authorization: bad["expired"] },
      onNonLazyError: closed.resolve,
    });
    for await (const { data } of client.iterate<{ login: unknown }>({ query: LOGIN, variables: { p: password } }))
      expect(data?.login).toMatchObject({ accessToken: expect.any(String) });
    expect(await closed.promise).toMatchObject({ code: 4401 });
    await client.dispose();
  });

  test("lets its sender log in by the older protocol, and is told what is wrong for anything else", async () => {
    const refused = Promise.withResolvers<unknown>();
    const closed = Promise.withResolvers<number>();
    class Socket extends WebSocket {
      constructor(address: string, protocols: string[]) {
        super(address, protocols);
        this.once("close", (code) => closed.resolve(code));
      }
    }
    const client = new SubscriptionClient(
      url(),
      {
        connectionParams: { authorization: bad["expired"] },
        connectionCallback(error) {
          if (error) refused.resolve(error);
        },
      },
      Socket,
    );
    const login = await new Promise((resolve, reject) =>
      client.request({ query: LOGIN, variables: { p: password } }).subscribe({ next: resolve, error: reject }),
    );
    expect(login).toMatchObject({ data: { login: { accessToken: expect.any(String) } } });
    client.request({ query: WATCH }).subscribe({});
    expect(await refused.promise).toMatchObject({ extensions: { code: "UNAUTHENTICATED" } });
    expect(await closed.promise).toBe(4401);
    client.close();
  });
});
