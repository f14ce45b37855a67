import type { Caller } from "@toolyard/service-kit";
import { codeOf, dataOf, executeOn } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startIdentity, type Identity } from "./identity-fixture.ts";

const KEY = "id name prefix scopes toolIds createdAt lastUsedAt expiresAt revokedAt";
const CREATE = `mutation ($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret apiKey { ${KEY} } } }`;
const REVOKE = `mutation ($id: ID!) { revokeApiKey(id: $id) { ${KEY} } }`;

interface Created {
  createApiKey: {
    secret: string;
    apiKey: { id: string; prefix: string; scopes: string[]; toolIds: string[] | null; lastUsedAt: string | null };
  };
}

let identity: Identity;
let developer: Caller;
beforeAll(async () => {
  identity = await startIdentity();
  developer = await identity.user("developer", "DEVELOPER");
});
afterAll(() => identity[Symbol.asyncDispose]());

async function create(caller: Caller, input: Record<string, unknown> = {}) {
  const whole = { name: "laptop", scopes: ["READ", "INVOKE"], ...input };
  return (await dataOf<Created>(identity.subgraph, CREATE, { input: whole }, caller)).createApiKey;
}
const createCode = (caller: Caller, input: Record<string, unknown>) =>
  codeOf(identity.subgraph, CREATE, { input: { name: "laptop", scopes: ["READ"], ...input } }, caller);

describe("making an API key", () => {
  test("answers it once; what is kept does not contain it", async () => {
    const { secret, apiKey } = await create(developer);
    expect(secret).toMatch(/^ty_[0-9a-f-]{36}_[\w-]{43}$/);
    expect(apiKey).toMatchObject({ name: "laptop", scopes: ["READ", "INVOKE"], revokedAt: null, expiresAt: null });
    expect(secret.startsWith(`${apiKey.prefix}_`)).toBe(true);
    const listed = await dataOf(identity.subgraph, `{ me { apiKeys { ${KEY} } } }`, {}, developer);
    expect(JSON.stringify(listed)).toContain(apiKey.id);
    expect(JSON.stringify(listed)).not.toContain(secret.slice(-43));
  });

  test("refuses a name, scopes or an end that make no sense, with what to do", async () => {
    const input = { name: " ", scopes: [], expiresAt: new Date(identity.now() - 1).toISOString() };
    const { errors } = await executeOn(identity.subgraph, CREATE, { input }, developer);
    expect(errors[0]?.extensions.problems).toEqual([
      { path: "input.name", message: "must not be empty" },
      { path: "input.scopes", message: "must name at least one scope" },
      { path: "input.expiresAt", message: "must be in the future" },
    ]);
    expect(await codeOf(identity.subgraph, CREATE, { input })).toBe("UNAUTHENTICATED");
  });

  test("with scopes that the role lacks gives none of them, until an administrator gives the role", async () => {
    const viewer = await identity.user("viewer", "VIEWER");
    const { secret } = await create(viewer, { scopes: ["READ", "WRITE", "INVOKE", "ADMIN"] });
    expect(await identity.introspect(secret)).toMatchObject({ role: "VIEWER", scopes: ["READ", "WRITE", "INVOKE"] });
    const query = "mutation ($id: ID!) { setUserRole(userId: $id, role: ADMIN) { id } }";
    await dataOf(identity.subgraph, query, { id: viewer.userId }, await identity.admin());
    expect(await identity.introspect(secret)).toMatchObject({
      role: "ADMIN",
      scopes: ["READ", "WRITE", "INVOKE", "ADMIN"],
    });
  });
});

describe("an API key that is limited to tools", () => {
  test("names them by id, each once, and says them to verifiers", async () => {
    const { secret, apiKey } = await create(developer, { toolIds: ["one", "other-id", "one-id"] });
    expect(apiKey.toolIds).toEqual(["one-id", "other-id"]);
    expect(await identity.introspect(secret)).toMatchObject({ active: true, toolIds: ["one-id", "other-id"] });
    const whole = await create(developer, { toolIds: null });
    expect(await identity.introspect(whole.secret)).toMatchObject({ active: true, toolIds: null });
  });

  test.each([
    [["one", "nothing"], "input.toolIds.1", 'there is no tool "nothing"'],
    [[], "input.toolIds", "must name at least one tool; leave it out for a key that is for all"],
    [Array<string>(51).fill("one"), "input.toolIds", "must name at most 50 tools"],
    [[""], "input.toolIds.0", "must not be empty"],
  ])("is not made of %j", async (toolIds, path, message) => {
    const input = { name: "limited", scopes: ["READ"], toolIds };
    const { errors } = await executeOn(identity.subgraph, CREATE, { input }, developer);
    expect(errors[0]?.extensions.problems).toEqual([{ path, message }]);
  });

  test("has nothing to do with accounts and credentials, but may end itself", async () => {
    const administrator = await identity.admin();
    const { secret, apiKey } = await create(administrator, { scopes: ["WRITE", "ADMIN"], toolIds: ["one"] });
    const key = await identity.callerOfKey(secret);
    for (const operation of [
      "{ me { id } }",
      `{ user(id: "${administrator.userId}") { id } }`,
      "{ users { totalCount } }",
      "mutation { logout }",
      "mutation { createStreamTicket { ticket } }",
      'mutation { createApiKey(input: { name: "wider", scopes: [READ] }) { secret } }',
      'mutation { createApiKey(input: { name: "same", scopes: [READ], toolIds: ["one"] }) { secret } }',
      'mutation { changePassword(current: "x", new: "long enough as it is") }',
      `mutation { setUserRole(userId: "${developer.userId}", role: ADMIN) { id } }`,
      `mutation { setUserDisabled(userId: "${developer.userId}", disabled: true) { id } }`,
      `mutation { resetPassword(userId: "${developer.userId}") }`,
      'mutation { revokeApiKey(id: "laptop") { id } }',
    ])
      expect([operation, await codeOf(identity.subgraph, operation, {}, key)]).toEqual([operation, "FORBIDDEN"]);
    expect(await codeOf(identity.subgraph, REVOKE, { id: apiKey.id }, key)).toBeNull();
    expect((await identity.introspect(secret)).active).toBe(false);
  });
});

describe("an API key", () => {
  test("stops at its end", async () => {
    await using later = await startIdentity();
    const caller = await later.callerOf((await later.register("ada")).accessToken);
    const input = { name: "short", scopes: ["READ"], expiresAt: new Date(later.now() + 60_000).toISOString() };
    const { secret } = (await dataOf<Created>(later.subgraph, CREATE, { input }, caller)).createApiKey;
    expect((await later.introspect(secret)).active).toBe(true);
    later.advance(60_000);
    expect((await later.introspect(secret)).active).toBe(false);
  });

  test("makes no other keys, changes no password, does not log out, unless it has the scope ADMIN", async () => {
    const key = await identity.callerOfKey((await create(developer, { scopes: ["READ", "WRITE"] })).secret);
    expect(await createCode(key, {})).toBe("FORBIDDEN");
    const change = 'mutation { changePassword(current: "x", new: "long enough as it is") }';
    expect(await codeOf(identity.subgraph, change, {}, key)).toBe("FORBIDDEN");
    expect(await codeOf(identity.subgraph, "mutation { logout }", {}, key)).toBe("FORBIDDEN");
  });

  test("with the scope ADMIN makes keys within its scopes and its end only", async () => {
    const admin = await identity.admin();
    const expiresAt = identity.now() + 3_600_000;
    const { secret } = await create(admin, {
      scopes: ["WRITE", "ADMIN"],
      expiresAt: new Date(expiresAt).toISOString(),
    });
    const key = { ...(await identity.callerOfKey(secret)), expiresAt };
    const at = (ms: number) => new Date(ms).toISOString();
    expect(await createCode(key, { scopes: ["INVOKE"], expiresAt: at(expiresAt) })).toBe("FORBIDDEN");
    expect(await createCode(key, { scopes: ["WRITE"] })).toBe("FORBIDDEN");
    expect(await createCode(key, { scopes: ["WRITE"], expiresAt: at(expiresAt + 1) })).toBe("FORBIDDEN");
    expect(await createCode(key, { scopes: ["WRITE"], expiresAt: at(expiresAt) })).toBeNull();
  });

  test("of an administrator opens no way to sessions by password", async () => {
    const admin = await identity.admin();
    const { secret } = await create(admin, { scopes: ["READ", "WRITE", "ADMIN"] });
    const key = await identity.callerOfKey(secret);
    const { user } = await identity.register("sock.puppet");
    const setRole = "mutation ($id: ID!, $role: Role!) { setUserRole(userId: $id, role: $role) { role } }";
    const reset = "mutation ($id: ID!) { resetPassword(userId: $id) }";
    expect(await codeOf(identity.subgraph, setRole, { id: user.id, role: "ADMIN" }, key)).toBe("FORBIDDEN");
    expect(await codeOf(identity.subgraph, setRole, { id: user.id, role: "DEVELOPER" }, key)).toBeNull();
    expect(await codeOf(identity.subgraph, reset, { id: admin.userId }, key)).toBe("FORBIDDEN");
  });

  test("without the scope READ reads nothing", async () => {
    const key = await identity.callerOfKey((await create(developer, { scopes: ["INVOKE"] })).secret);
    expect(await codeOf(identity.subgraph, "{ me { id } }", {}, key)).toBe("FORBIDDEN");
    expect(await codeOf(identity.subgraph, "mutation { createStreamTicket { ticket } }", {}, key)).toBe("FORBIDDEN");
  });

  test("says when it was last used, written once a minute and not while anyone waits", async () => {
    const { secret, apiKey } = await create(developer);
    const lastUsedAt = async () => {
      type Keys = { me: { apiKeys: { id: string; lastUsedAt: string | null }[] } };
      const { me } = await dataOf<Keys>(identity.subgraph, "{ me { apiKeys { id lastUsedAt } } }", {}, developer);
      return me.apiKeys.find(({ id }) => id === apiKey.id)?.lastUsedAt ?? null;
    };
    await identity.introspect(secret);
    expect(await lastUsedAt()).toBeNull();
    await expect.poll(lastUsedAt).not.toBeNull();
  });
});

test("API keys have pages, by the newest before one or by how many to skip, and are counted over all of them", async () => {
  const owner = await identity.user("owner-of-keys", "DEVELOPER");
  const ids: string[] = [];
  for (let n = 0; n < 4; n++) ids.unshift((await create(owner)).apiKey.id);
  const page = async (args: string) => {
    type Page = { me: { apiKeys: { id: string }[]; apiKeyCount: number } };
    const { me } = await dataOf<Page>(identity.subgraph, `{ me { apiKeys${args} { id } apiKeyCount } }`, {}, owner);
    return [me.apiKeys.map(({ id }) => ids.indexOf(id)), me.apiKeyCount];
  };
  expect(await page("")).toEqual([[0, 1, 2, 3], 4]);
  expect(await page("(first: 2, offset: 1)")).toEqual([[1, 2], 4]);
  expect(await page(`(first: 2, after: "${ids[2]}")`)).toEqual([[3], 4]);
  for (const args of ["(first: 0)", "(first: 101)", "(offset: -1)"])
    expect(await codeOf(identity.subgraph, `{ me { apiKeys${args} { id } } }`, {}, owner)).toBe("BAD_USER_INPUT");
});

describe("revoking an API key", () => {
  test("ends it at once; again changes nothing", async () => {
    const { secret, apiKey } = await create(developer);
    const first = await dataOf<{ revokeApiKey: { revokedAt: string } }>(
      identity.subgraph,
      REVOKE,
      { id: apiKey.id },
      developer,
    );
    expect(first.revokeApiKey.revokedAt).not.toBeNull();
    expect((await identity.introspect(secret)).active).toBe(false);
    identity.advance(1000);
    expect(await dataOf(identity.subgraph, REVOKE, { id: apiKey.id }, developer)).toEqual(first);
  });

  test("is for its owner and administrators; to others it does not exist", async () => {
    const { secret, apiKey } = await create(developer);
    const stranger = await identity.user("stranger", "DEVELOPER");
    expect(await codeOf(identity.subgraph, REVOKE, { id: apiKey.id }, stranger)).toBe("NOT_FOUND");
    expect(await codeOf(identity.subgraph, REVOKE, { id: "nothing" }, stranger)).toBe("NOT_FOUND");
    expect(await codeOf(identity.subgraph, REVOKE, { id: apiKey.id })).toBe("UNAUTHENTICATED");
    expect(await codeOf(identity.subgraph, REVOKE, { id: apiKey.id }, await identity.admin())).toBeNull();
    expect((await identity.introspect(secret)).active).toBe(false);
  });

  test("may be done by the key itself, whatever its scopes, but not to another", async () => {
    const { secret, apiKey } = await create(developer, { scopes: ["INVOKE"] });
    const other = await create(developer, { scopes: ["READ", "WRITE"] });
    const key = await identity.callerOfKey(secret);
    expect(await codeOf(identity.subgraph, REVOKE, { id: apiKey.id }, await identity.callerOfKey(other.secret))).toBe(
      "FORBIDDEN",
    );
    expect(await codeOf(identity.subgraph, REVOKE, { id: apiKey.id }, key)).toBeNull();
    expect(await codeOf(identity.subgraph, REVOKE, { id: apiKey.id }, key)).toBe("UNAUTHENTICATED");
  });
});
