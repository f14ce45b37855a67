import { createCaller, type Caller, type Scope } from "@toolyard/service-kit";
import { codeOf, dataOf } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PASSWORD, startIdentity, type Identity } from "./identity-fixture.ts";

/** Every mutation by what it takes; null: no credential, since it brings its own. */
const MUTATIONS: Record<string, { text: string; takes: Scope | null }> = {
  register: {
    text: `mutation { register(input: { username: "x", email: "x", password: "x" }) { expiresIn } }`,
    takes: null,
  },
  login: { text: `mutation { login(username: "nobody", password: "x") { expiresIn } }`, takes: null },
  refreshSession: { text: `mutation { refreshSession(refreshToken: "x") { expiresIn } }`, takes: null },
  logout: { text: "mutation { logout }", takes: "WRITE" },
  changePassword: {
    text: `mutation { changePassword(current: "${PASSWORD}", new: "another one, long enough") }`,
    takes: "WRITE",
  },
  createApiKey: { text: `mutation { createApiKey(input: { name: "k", scopes: [READ] }) { secret } }`, takes: "WRITE" },
  revokeApiKey: { text: "mutation ($key: ID!) { revokeApiKey(id: $key) { id } }", takes: "WRITE" },
  createStreamTicket: { text: "mutation { createStreamTicket { ticket } }", takes: "WRITE" },
  setUserRole: { text: "mutation ($user: ID!) { setUserRole(userId: $user, role: VIEWER) { id } }", takes: "ADMIN" },
  setUserDisabled: {
    text: "mutation ($user: ID!) { setUserDisabled(userId: $user, disabled: true) { id } }",
    takes: "ADMIN",
  },
  resetPassword: { text: "mutation ($user: ID!) { resetPassword(userId: $user) }", takes: "ADMIN" },
};

let identity: Identity;
let session: Caller;
let ids: { user: string; key: string; keySecret: string };
beforeAll(async () => {
  identity = await startIdentity();
  session = await identity.user("ada", "ADMIN");
  const key = `mutation { createApiKey(input: { name: "k", scopes: [READ, WRITE, INVOKE, ADMIN] }) { secret apiKey { id } } }`;
  const { createApiKey } = await dataOf<{ createApiKey: { secret: string; apiKey: { id: string } } }>(
    identity.subgraph,
    key,
    {},
    session,
  );
  const { user } = await identity.register("grace");
  ids = { user: user.id, key: createApiKey.apiKey.id, keySecret: createApiKey.secret };
});
afterAll(() => identity[Symbol.asyncDispose]());

const variablesOf = (text: string) => ({
  ...(text.includes("$key") && { key: ids.key }),
  ...(text.includes("$user") && { user: ids.user }),
});

test("the table has every mutation of the schema", () => {
  const fields = identity.subgraph.schema.getMutationType()?.getFields() ?? {};
  expect(Object.keys(MUTATIONS).toSorted()).toEqual(Object.keys(fields).toSorted());
});

/** Each way of coming with fewer scopes than one's role has. */
const lessened: Record<string, (scopes: Scope[]) => Promise<Caller>> = {
  "an access token": async (scopes) => createCaller({ ...session, scopes }),
  "an API key": async (scopes) =>
    createCaller({ ...session, scopes, credential: { type: "api-key", apiKeyId: ids.key } }),
};

describe.each(Object.entries(MUTATIONS).filter(([, { takes }]) => takes !== null))("%s", (_, { text, takes }) => {
  test.each(Object.keys(lessened))("is refused to %s without the scope, whatever others it has", async (kind) => {
    const others = (["READ", "WRITE", "INVOKE", "ADMIN"] as const).filter((scope) => scope !== takes);
    for (const scopes of [[], ["READ" as const], others]) {
      const caller = await lessened[kind]?.(scopes);
      expect(await codeOf(identity.subgraph, text, variablesOf(text), caller)).toBe("FORBIDDEN");
    }
  });

  test("is refused to stream tickets, of a session and of a key", async () => {
    const key = await identity.callerOfKey(ids.keySecret);
    for (const maker of [session, key]) {
      // As the gateway makes a caller of a ticket: its maker's credential, for reading.
      const ticket = createCaller({ ...maker, scopes: ["READ"] });
      expect(await codeOf(identity.subgraph, text, variablesOf(text), ticket)).toBe("FORBIDDEN");
    }
  });

  test("is refused to the anonymous", async () => {
    expect(await codeOf(identity.subgraph, text, variablesOf(text))).toBe("UNAUTHENTICATED");
  });
});

test("nothing of all that was done", async () => {
  expect((await identity.introspect(ids.keySecret)).active).toBe(true);
  await identity.login("grace");
  await identity.login("ada");
});
