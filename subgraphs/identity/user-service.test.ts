import { createRevocationList, createServiceCaller, createUserCaller, type Caller } from "@toolyard/service-kit";
import { codeOf, dataOf, executeOn, subscribeOn } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ADMIN_PASSWORD, startIdentity, verifierService, type Identity } from "./identity-fixture.ts";

const SET_ROLE = "mutation ($id: ID!, $role: Role!) { setUserRole(userId: $id, role: $role) { role } }";
const SET_DISABLED =
  "mutation ($id: ID!, $disabled: Boolean!) { setUserDisabled(userId: $id, disabled: $disabled) { disabled } }";
const RESET = "mutation ($id: ID!) { resetPassword(userId: $id) }";
const USERS = `query ($first: Int, $after: String, $offset: Int, $search: String) {
  users(first: $first, after: $after, offset: $offset, search: $search)
    { totalCount pageInfo { hasNextPage endCursor } edges { cursor node { username email role } } }
}`;

let identity: Identity;
let admin: Caller;
beforeAll(async () => {
  identity = await startIdentity();
  admin = await identity.admin();
});
afterAll(() => identity[Symbol.asyncDispose]());

describe("reading users", () => {
  test("takes a login", async () => {
    for (const query of ["{ me { id } }", '{ user(id: "x") { id } }', "{ users { totalCount } }"]) {
      expect(await codeOf(identity.subgraph, query)).toBe("UNAUTHENTICATED");
    }
    expect(await codeOf(identity.subgraph, "{ users { totalCount } }", {}, createUserCaller("x", "DEVELOPER"))).toBe(
      "FORBIDDEN",
    );
  });

  test("shows the name to everybody, email and API keys to the user and administrators", async () => {
    const { user, accessToken } = await identity.register("reader");
    const self = await identity.callerOf(accessToken);
    const other = await identity.callerOf((await identity.register("reader2")).accessToken);
    const query = "query ($id: ID!) { user(id: $id) { username email apiKeys { id } apiKeyCount } }";
    const whole = { user: { username: "reader", email: "reader@example.com", apiKeys: [], apiKeyCount: 0 } };
    expect(await dataOf(identity.subgraph, query, { id: user.id }, self)).toEqual(whole);
    expect(await dataOf(identity.subgraph, query, { id: user.id }, admin)).toEqual(whole);
    const { data, errors } = await executeOn(identity.subgraph, query, { id: user.id }, other);
    expect(data).toEqual({ user: { username: "reader", email: null, apiKeys: null, apiKeyCount: null } });
    expect(errors).toMatchObject(
      ["apiKeys", "apiKeyCount"].map((field) => ({ code: "FORBIDDEN", path: ["user", field] })),
    );
  });

  test("completes other subgraphs' references, for services too, without what is private", async () => {
    const { user } = await identity.register("referenced");
    const query = `query ($r: [_Any!]!) { _entities(representations: $r) { ... on User { username email } } }`;
    const r = [
      { __typename: "User", id: user.id },
      { __typename: "User", id: "nobody" },
    ];
    const service = createServiceCaller("proxy", []);
    expect(await dataOf(identity.subgraph, query, { r }, service)).toEqual({
      _entities: [{ username: "referenced", email: null }, null],
    });
    expect(await codeOf(identity.subgraph, query, { r })).toBe("UNAUTHENTICATED");
  });

  test("pages newest first and finds by part of name or email, taking wildcards literally", async () => {
    for (const name of ["paged_1", "paged_2", "paged.3"]) await identity.register(name);
    type Users = {
      users: { totalCount: number; pageInfo: { endCursor: string }; edges: { node: { username: string } }[] };
    };
    const list = async (variables: Record<string, unknown>) => {
      const { users } = await dataOf<Users>(identity.subgraph, USERS, variables, admin);
      return { ...users, names: users.edges.map(({ node }) => node.username) };
    };
    const first = await list({ first: 2, search: "PAGED" });
    expect(first).toMatchObject({ totalCount: 3, names: ["paged.3", "paged_2"], pageInfo: { hasNextPage: true } });
    expect((await list({ first: 2, search: "PAGED", after: first.pageInfo.endCursor })).names).toEqual(["paged_1"]);
    expect((await list({ search: "paged_" })).names).toEqual(["paged_2", "paged_1"]);
    expect((await list({ search: "%" })).names).toEqual([]);
    expect((await list({ search: "PAGED_1@EXAMPLE" })).names).toEqual(["paged_1"]);
    expect(await codeOf(identity.subgraph, USERS, { first: 101 }, admin)).toBe("BAD_USER_INPUT");
  });
});

describe("roles and disabling", () => {
  test("a change of role ends the user's sessions, so that no token says otherwise", async () => {
    const { user, accessToken } = await identity.register("promoted");
    expect(await dataOf(identity.subgraph, SET_ROLE, { id: user.id, role: "DEVELOPER" }, admin)).toEqual({
      setUserRole: { role: "DEVELOPER" },
    });
    expect((await identity.introspect(accessToken)).active).toBe(false);
    const caller = await identity.callerOf((await identity.login("promoted")).accessToken);
    expect(caller).toMatchObject({ role: "DEVELOPER", scopes: ["READ", "WRITE", "INVOKE"] });
  });

  test("ends tokens that were issued by a clock that has been set back since", async () => {
    await using installation = await startIdentity();
    installation.advance(120_000);
    const { user, accessToken } = await installation.register("ahead");
    const caller = await installation.callerOf(accessToken);
    installation.advance(-120_000);
    await dataOf(installation.subgraph, SET_ROLE, { id: user.id, role: "DEVELOPER" }, await installation.admin());
    const query = 'subscription { credentialsRevoked(after: "0") { at userId } }';
    type Revoked = { credentialsRevoked: { at: string; userId: string } };
    await using stream = await subscribeOn<Revoked>(installation.subgraph, query, {}, verifierService);
    const { value } = await stream.next();
    const { at, userId } = value.data.credentialsRevoked;
    const list = createRevocationList();
    list.add({ at: Date.parse(at), userId, tokenId: null, apiKeyId: null });
    expect(list.isRevoked(caller)).toBe(true);
  });

  test("setting what is already so ends nothing", async () => {
    const { user, accessToken } = await identity.register("unchanged");
    await dataOf(identity.subgraph, SET_ROLE, { id: user.id, role: "VIEWER" }, admin);
    await dataOf(identity.subgraph, SET_DISABLED, { id: user.id, disabled: false }, admin);
    expect((await identity.introspect(accessToken)).active).toBe(true);
  });

  test("a disabled user's credentials stop working, and API keys work again once enabled", async () => {
    const { user, accessToken } = await identity.register("paused");
    const caller = await identity.callerOf(accessToken);
    const create = 'mutation { createApiKey(input: { name: "k", scopes: [READ] }) { secret } }';
    type Created = { createApiKey: { secret: string } };
    const { secret } = (await dataOf<Created>(identity.subgraph, create, {}, caller)).createApiKey;
    await dataOf(identity.subgraph, SET_DISABLED, { id: user.id, disabled: true }, admin);
    expect((await identity.introspect(accessToken)).active).toBe(false);
    expect((await identity.introspect(secret)).active).toBe(false);
    expect(await codeOf(identity.subgraph, create, {}, caller)).toBe("UNAUTHENTICATED");
    await dataOf(identity.subgraph, SET_DISABLED, { id: user.id, disabled: false }, admin);
    expect((await identity.introspect(accessToken)).active).toBe(false);
    expect((await identity.introspect(secret)).active).toBe(true);
  });

  test("are for administrators, and for users there are", async () => {
    const developer = await identity.user("just.a.developer", "DEVELOPER");
    const variables = { id: developer.userId, role: "ADMIN" };
    expect(await codeOf(identity.subgraph, SET_ROLE, variables, developer)).toBe("FORBIDDEN");
    expect(await codeOf(identity.subgraph, SET_ROLE, { id: "x", role: "VIEWER" }, admin)).toBe("NOT_FOUND");
    expect(await codeOf(identity.subgraph, RESET, { id: developer.userId }, developer)).toBe("FORBIDDEN");
  });

  test("an administrator who was demoted a moment ago changes nothing more", async () => {
    const second = await identity.user("second.admin", "ADMIN");
    const { user } = await identity.register("victim");
    await dataOf(identity.subgraph, SET_ROLE, { id: second.userId, role: "VIEWER" }, admin);
    for (const [query, variables] of [
      [SET_ROLE, { id: second.userId, role: "ADMIN" }],
      [SET_DISABLED, { id: user.id, disabled: true }],
      [RESET, { id: user.id }],
    ] as const) {
      expect(await codeOf(identity.subgraph, query, variables, second)).toBe("UNAUTHENTICATED");
    }
  });
});

describe("the last administrator", () => {
  test("can be neither demoted nor disabled, however many try at once", async () => {
    await using installation = await startIdentity();
    const first = await installation.admin();
    expect(await codeOf(installation.subgraph, SET_ROLE, { id: first.userId, role: "VIEWER" }, first)).toBe("CONFLICT");
    expect(await codeOf(installation.subgraph, SET_DISABLED, { id: first.userId, disabled: true }, first)).toBe(
      "CONFLICT",
    );
    const second = await installation.user("second", "ADMIN");
    // Each demotes the other, and both are asked at once.
    const codes = await Promise.all([
      codeOf(installation.subgraph, SET_ROLE, { id: second.userId, role: "VIEWER" }, first),
      codeOf(installation.subgraph, SET_DISABLED, { id: first.userId, disabled: true }, second),
    ]);
    expect(codes.filter((code) => code === null)).toHaveLength(1);
    const left = codes[0] === null ? installation.login("admin", ADMIN_PASSWORD) : installation.login("second");
    const { role } = await installation.callerOf((await left).accessToken);
    expect(role).toBe("ADMIN");
  });

  test("is not a disabled one: those do not count", async () => {
    await using installation = await startIdentity();
    const first = await installation.admin();
    const second = await installation.user("second", "ADMIN");
    await dataOf(installation.subgraph, SET_DISABLED, { id: second.userId, disabled: true }, first);
    expect(await codeOf(installation.subgraph, SET_ROLE, { id: first.userId, role: "VIEWER" }, first)).toBe("CONFLICT");
  });
});

describe("resetting a password", () => {
  const reset = async (id: string) =>
    (await dataOf<{ resetPassword: string }>(identity.subgraph, RESET, { id }, admin)).resetPassword;
  const CHANGE = "mutation ($current: String!, $new: String!) { changePassword(current: $current, new: $new) }";

  test("gives a password that logs in once and is then replaced", async () => {
    const { user, refreshToken, accessToken } = await identity.register("forgetful");
    const password = await reset(user.id);
    await expect(identity.login("forgetful")).rejects.toThrow("UNAUTHENTICATED");
    expect((await identity.introspect(accessToken)).active).toBe(false);
    const refresh = "mutation ($t: String!) { refreshSession(refreshToken: $t) { expiresIn } }";
    expect(await codeOf(identity.subgraph, refresh, { t: refreshToken })).toBe("UNAUTHENTICATED");
    const session = await identity.login("forgetful", password);
    await expect(identity.login("forgetful", password)).rejects.toThrow("UNAUTHENTICATED");
    const variables = { current: password, new: "my own again, long enough" };
    await dataOf(identity.subgraph, CHANGE, variables, await identity.callerOf(session.accessToken));
    await identity.login("forgetful", variables.new);
    await identity.login("forgetful", variables.new);
  });

  test("ends the user's API keys, and nobody else's", async () => {
    const CREATE = 'mutation { createApiKey(input: { name: "k", scopes: [READ, WRITE] }) { secret } }';
    const keyOf = async (username: string) => {
      const { accessToken, user } = await identity.register(username);
      const caller = await identity.callerOf(accessToken);
      const { createApiKey } = await dataOf<{ createApiKey: { secret: string } }>(
        identity.subgraph,
        CREATE,
        {},
        caller,
      );
      return { user, secret: createApiKey.secret };
    };
    const taken = await keyOf("taken.over");
    const other = await keyOf("not.taken.over");
    await reset(taken.user.id);
    expect((await identity.introspect(taken.secret)).active).toBe(false);
    expect((await identity.introspect(other.secret)).active).toBe(true);
  });

  test("gives a password that logs one in of two who try at once", async () => {
    const { user } = await identity.register("double");
    const password = await reset(user.id);
    const attempts = await Promise.allSettled([identity.login("double", password), identity.login("double", password)]);
    expect(attempts.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  test("gives a password that is good for a day", async () => {
    const { user } = await identity.register("late");
    const password = await reset(user.id);
    identity.advance(24 * 3_600_000);
    await expect(identity.login("late", password)).rejects.toThrow("UNAUTHENTICATED");
    admin = await identity.admin();
  });

  test("of an administrator takes a password entered in the last quarter of an hour, as does making one", async () => {
    const { user } = await identity.register("candidate");
    const variables = { id: user.id, role: "ADMIN" };
    identity.advance(16 * 60_000);
    const { errors } = await executeOn(identity.subgraph, SET_ROLE, variables, admin);
    expect(errors[0]).toMatchObject({ code: "FORBIDDEN", message: expect.stringContaining("within 15 minutes") });
    expect(await codeOf(identity.subgraph, RESET, { id: admin.userId }, admin)).toBe("FORBIDDEN");
    expect(await codeOf(identity.subgraph, RESET, { id: user.id }, admin)).toBeNull();
    admin = await identity.admin();
    expect(await codeOf(identity.subgraph, SET_ROLE, variables, admin)).toBeNull();
  });
});
