import { argon2 } from "node:crypto";
import type { Caller } from "@toolyard/service-kit";
import { codeOf, dataOf, executeOn } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { PASSWORD, SESSION, startIdentity, type Identity, type SessionAnswer } from "./identity-fixture.ts";

const REGISTER = `mutation ($input: RegisterInput!) { register(input: $input) { ${SESSION} } }`;
const LOGIN = `mutation ($username: String!, $password: String!) { login(username: $username, password: $password) { ${SESSION} } }`;
const REFRESH = `mutation ($token: String!) { refreshSession(refreshToken: $token) { ${SESSION} } }`;
const CHANGE = "mutation ($current: String!, $new: String!) { changePassword(current: $current, new: $new) }";
const DISABLE = "mutation ($id: ID!) { setUserDisabled(userId: $id, disabled: true) { disabled } }";

// Counted, and otherwise as it is.
vi.mock(import("node:crypto"), async (load) => {
  const crypto = await load();
  return { ...crypto, argon2: vi.fn(crypto.argon2) };
});

let identity: Identity;
beforeAll(async () => {
  identity = await startIdentity();
});
afterAll(() => identity[Symbol.asyncDispose]());

const refresh = async (token: string) =>
  (await dataOf<{ refreshSession: SessionAnswer }>(identity.subgraph, REFRESH, { token })).refreshSession;
const refreshCode = (token: string) => codeOf(identity.subgraph, REFRESH, { token });

describe("registering", () => {
  test("makes a VIEWER and logs in", async () => {
    const session = await identity.register("ada");
    expect(session).toMatchObject({
      tokenType: "Bearer",
      expiresIn: 900,
      user: { username: "ada", role: "VIEWER", email: "ada@example.com" },
    });
    const caller = await identity.callerOf(session.accessToken);
    expect(caller).toMatchObject({
      kind: "user",
      userId: session.user.id,
      role: "VIEWER",
      scopes: ["READ", "WRITE", "INVOKE"],
    });
    expect(await dataOf(identity.subgraph, "{ me { username email } }", {}, caller)).toEqual({
      me: { username: "ada", email: "ada@example.com" },
    });
  });

  test("refuses a username that is taken in another case", async () => {
    await identity.register("Grace");
    const input = { username: "gRACE", email: "g@example.com", password: PASSWORD };
    expect(await codeOf(identity.subgraph, REGISTER, { input })).toBe("CONFLICT");
  });

  test("gives a username to one of many who ask at once", async () => {
    const codes = await Promise.all(
      ["race", "RACE", "Race", "rAce", "raCe"].map((username) =>
        codeOf(identity.subgraph, REGISTER, { input: { username, email: "r@example.com", password: PASSWORD } }),
      ),
    );
    expect(codes.filter((code) => code === null)).toHaveLength(1);
    expect(codes.filter((code) => code === "CONFLICT")).toHaveLength(4);
  });

  test("says everything that is wrong at once", async () => {
    const input = { username: "no spaces", email: "nowhere", password: "short" };
    const { errors } = await executeOn(identity.subgraph, REGISTER, { input });
    expect(errors[0]?.code).toBe("BAD_USER_INPUT");
    expect(errors[0]?.extensions.problems).toEqual([
      { path: "input.username", message: expect.stringContaining("3 to 64") },
      { path: "input.email", message: expect.stringContaining("email address") },
      { path: "input.password", message: "must have at least 12 characters; it has 5" },
    ]);
  });

  test("refuses the username as password, in any case", async () => {
    const input = { username: "margaret.hamilton", email: "m@example.com", password: "Margaret.Hamilton" };
    const { errors } = await executeOn(identity.subgraph, REGISTER, { input });
    expect(errors[0]?.message).toContain("must not be the username");
  });

  test.each([
    ["a common one", "password1234"],
    ["one in a row on the keyboard", "qwertyuiop12"],
    ["one repeated", "dragondragondragon"],
    ["one character", "000000000000"],
    ["one in disguise", "P4ssw0rd1234"],
    ["little more than the name", "ada.lovelace12"],
    ["the email address", "countess@example.com"],
  ])("refuses %s as password", async (_, password) => {
    const input = { username: "ada.lovelace", email: "countess@example.com", password };
    const { errors } = await executeOn(identity.subgraph, REGISTER, { input });
    expect(errors[0]).toMatchObject({
      code: "BAD_USER_INPUT",
      extensions: { problems: [{ path: "input.password", message: expect.stringMatching(/guess|email/) }] },
    });
  });

  test("is limited for each address, and then still open to others and to administrators", async () => {
    const at = Date.now();
    await using open = await startIdentity({}, () => at);
    const from = (clientAddress: string) => ({
      schema: open.subgraph.schema,
      createContext: (request: { caller: Caller; requestId: string }) =>
        open.subgraph.createContext({ ...request, clientAddress }),
    });
    const register = (n: number, address: string, caller?: Caller) =>
      codeOf(
        from(address),
        REGISTER,
        { input: { username: `crowd${n}`, email: "c@example.com", password: PASSWORD } },
        caller,
      );
    const codes: unknown[] = [];
    for (let n = 0; n < 60; n++) codes.push(await register(n, "192.0.2.1"));
    expect(codes.slice(0, 50).filter((code) => code !== null)).toEqual([]);
    expect(codes.slice(50)).toEqual(Array.from({ length: 10 }, () => "RATE_LIMITED"));
    expect(await register(100, "198.51.100.7")).toBeNull();
    expect(await register(101, "192.0.2.1", await open.admin())).toBeNull();
  });

  test("is for administrators only where it is closed", async () => {
    await using closed = await startIdentity({ REGISTRATION: "closed" });
    const input = { username: "ada", email: "ada@example.com", password: PASSWORD };
    const { errors } = await executeOn(closed.subgraph, REGISTER, { input });
    expect(errors[0]).toMatchObject({ code: "FORBIDDEN", message: expect.stringContaining("closed") });
    expect(await codeOf(closed.subgraph, REGISTER, { input }, await closed.admin())).toBeNull();
  });

  test("gives REGISTRATION_ROLE", async () => {
    await using open = await startIdentity({ REGISTRATION_ROLE: "DEVELOPER" });
    expect((await open.register("ada")).user.role).toBe("DEVELOPER");
  });
});

describe("logging in", () => {
  test("works without regard to the username's case", async () => {
    await identity.register("Barbara");
    expect((await identity.login("bARBARA")).user.username).toBe("Barbara");
  });

  test("answers alike for an unknown user and a wrong password", async () => {
    await identity.register("known");
    const password = "not the right one";
    const wrong = await executeOn(identity.subgraph, LOGIN, { username: "known", password });
    const unknown = await executeOn(identity.subgraph, LOGIN, { username: "unknown", password });
    const { requestId: _a, ...wrongExtensions } = wrong.errors[0]?.extensions ?? {};
    const { requestId: _b, ...unknownExtensions } = unknown.errors[0]?.extensions ?? {};
    expect(wrongExtensions).toEqual({ code: "UNAUTHENTICATED" });
    expect(unknownExtensions).toEqual(wrongExtensions);
    expect(unknown.errors[0]?.message).toBe(wrong.errors[0]?.message);
  });

  test("hashes alike, and as much, for an unknown user and a wrong password", async () => {
    await identity.register("somebody");
    const costsOf = async (username: string) => {
      vi.mocked(argon2).mockClear();
      await executeOn(identity.subgraph, LOGIN, { username, password: "not the right one" });
      return vi.mocked(argon2).mock.calls.map(([algorithm, { nonce: _salt, ...work }]) => ({ algorithm, ...work }));
    };
    const known = await costsOf("somebody");
    expect(known).toHaveLength(1);
    expect(await costsOf("nobody.at.all")).toEqual(known);
  });

  test("tells only who knows the password that the account is disabled", async () => {
    const { user } = await identity.register("disabled.user");
    await dataOf(identity.subgraph, DISABLE, { id: user.id }, await identity.admin());
    const attempt = (password: string) => codeOf(identity.subgraph, LOGIN, { username: user.username, password });
    expect(await attempt(PASSWORD)).toBe("FORBIDDEN");
    expect(await attempt("not the right one")).toBe("UNAUTHENTICATED");
  });

  test("is slowed down after ten failures, for this username and unknown ones alike, and recovers", async () => {
    await identity.register("guessed");
    for (const username of ["guessed", "not.there"]) {
      const attempt = (password: string) => executeOn(identity.subgraph, LOGIN, { username, password });
      for (let failure = 0; failure < 10; failure++) {
        expect((await attempt("not the right one")).errors[0]?.code).toBe("UNAUTHENTICATED");
      }
      const { errors } = await attempt(PASSWORD);
      expect(errors[0]?.code).toBe("RATE_LIMITED");
      expect(errors[0]?.extensions.retryAfterSeconds).toBeGreaterThan(0);
      expect(errors[0]?.extensions.retryAfterSeconds).toBeLessThanOrEqual(30);
    }
    await identity.register("somebody.else");
    await identity.login("somebody.else");
    identity.advance(30_000);
    await identity.login("guessed");
  });

  test("is not slowed down where RATE_LIMIT_ENABLED is false", async () => {
    await using open = await startIdentity({ RATE_LIMIT_ENABLED: "false" });
    await open.register("ada");
    const variables = { username: "ada", password: "not the right one" };
    for (let failure = 0; failure < 12; failure++) await codeOf(open.subgraph, LOGIN, variables);
    await open.login("ada");
  });
});

test("twenty right logins at once are twenty sessions", async () => {
  await identity.register("many.at.once");
  await Promise.all(Array.from({ length: 20 }, () => identity.login("many.at.once")));
});

test.each([
  ["a password", (text: string) => codeOf(identity.subgraph, LOGIN, { username: "admin", password: text })],
  ["a username", (text: string) => codeOf(identity.subgraph, LOGIN, { username: text, password: PASSWORD })],
  ["a refresh token", (text: string) => refreshCode(text)],
  [
    "what is to be a new account",
    (text: string) => codeOf(identity.subgraph, REGISTER, { input: { username: text, email: text, password: text } }),
  ],
])("%s of megabytes is refused without being worked on", async (_, send) => {
  const normalize = vi.spyOn(String.prototype, "normalize");
  onTestFinished(() => normalize.mockRestore());
  for (const text of ["a\u0315\u0300\u05ae\u0316".repeat(1_000_000), `${"a.".repeat(3_000_000)}@b`])
    expect(["UNAUTHENTICATED", "BAD_USER_INPUT"]).toContain(await send(text));
  expect(normalize.mock.contexts.filter((text) => String(text).length > 1_000)).toEqual([]);
});

describe("refreshing", () => {
  test("gives the next session, with the time of the password kept and the role as of now", async () => {
    const first = await identity.register("refresher");
    identity.advance(60_000);
    const second = await refresh(first.refreshToken);
    expect(second.refreshToken).not.toBe(first.refreshToken);
    const [before, after] = [await identity.callerOf(first.accessToken), await identity.callerOf(second.accessToken)];
    const passwordAt = (caller: typeof before) =>
      caller.credential?.type === "access-token" ? caller.credential.passwordAt : null;
    expect(passwordAt(after)).toBe(passwordAt(before));
  });

  test("with a token that was used before ends the session and its access tokens", async () => {
    const first = await identity.register("robbed");
    const second = await refresh(first.refreshToken);
    expect((await identity.introspect(second.accessToken)).active).toBe(true);
    expect(await refreshCode(first.refreshToken)).toBe("UNAUTHENTICATED");
    expect(await refreshCode(second.refreshToken)).toBe("UNAUTHENTICATED");
    expect((await identity.introspect(first.accessToken)).active).toBe(false);
    expect((await identity.introspect(second.accessToken)).active).toBe(false);
    expect((await identity.introspect((await identity.login("robbed")).accessToken)).active).toBe(true);
  });

  test("twice at once gives one session at most, and ends it", async () => {
    const { refreshToken } = await identity.register("twins");
    const answers = await Promise.all(
      [1, 2].map(() =>
        executeOn<{ refreshSession: SessionAnswer | null }>(identity.subgraph, REFRESH, { token: refreshToken }),
      ),
    );
    const next = answers.flatMap(({ data }) => data?.refreshSession ?? []);
    expect(next).toHaveLength(1);
    expect(await refreshCode(next[0]?.refreshToken ?? "")).toBe("UNAUTHENTICATED");
  });

  describe("twice from one address", () => {
    const at = (clientAddress: string) => ({
      schema: identity.subgraph.schema,
      createContext: (request: { caller: Caller; requestId: string }) =>
        identity.subgraph.createContext({ ...request, clientAddress }),
    });
    const from = async (clientAddress: string, token: string) =>
      (await executeOn<{ refreshSession: SessionAnswer | null }>(at(clientAddress), REFRESH, { token })).data
        ?.refreshSession ?? null;

    test("at once keeps both tabs logged in, each with a session to go on with", async () => {
      const { refreshToken } = await identity.register("tabs");
      const tabs = await Promise.all([from("192.0.2.1", refreshToken), from("192.0.2.1", refreshToken)]);
      for (const tab of tabs) {
        expect((await identity.introspect(tab?.accessToken ?? "")).active).toBe(true);
        identity.advance(60_000);
        const next = await from("192.0.2.1", tab?.refreshToken ?? "");
        expect((await identity.introspect(next?.accessToken ?? "")).active).toBe(true);
      }
    });

    test("after a while, or once its successor was used, ends the session", async () => {
      const late = await identity.register("late");
      const next = await from("192.0.2.1", late.refreshToken);
      identity.advance(10_000);
      expect(await from("192.0.2.1", late.refreshToken)).toBeNull();
      expect(await from("192.0.2.1", next?.refreshToken ?? "")).toBeNull();
      const stale = await identity.register("stale");
      const first = await from("192.0.2.1", stale.refreshToken);
      const second = await from("192.0.2.1", first?.refreshToken ?? "");
      expect(await from("192.0.2.1", stale.refreshToken)).toBeNull();
      expect((await identity.introspect(second?.accessToken ?? "")).active).toBe(false);
    });

    test("is nobody else's: from elsewhere it ends the session within the same second", async () => {
      const { refreshToken } = await identity.register("stolen");
      const next = await from("192.0.2.1", refreshToken);
      expect(await from("198.51.100.7", refreshToken)).toBeNull();
      expect((await identity.introspect(next?.accessToken ?? "")).active).toBe(false);
    });

    test("revives no session that has ended meanwhile", async () => {
      const { user, refreshToken, accessToken } = await identity.register("left");
      const first = await from("192.0.2.1", refreshToken);
      await dataOf(
        identity.subgraph,
        "mutation { logout }",
        {},
        await identity.callerOf(first?.accessToken ?? accessToken),
      );
      expect(await from("192.0.2.1", refreshToken)).toBeNull();
      const again = await identity.login("left");
      await from("192.0.2.1", again.refreshToken);
      await dataOf(identity.subgraph, DISABLE, { id: user.id }, await identity.admin());
      expect(await from("192.0.2.1", again.refreshToken)).toBeNull();
    });
  });

  test("is refused after thirty days, for the disabled, and with what is no refresh token", async () => {
    const { user, refreshToken, accessToken } = await identity.register("patient");
    await dataOf(identity.subgraph, DISABLE, { id: user.id }, await identity.admin());
    for (const token of [refreshToken, accessToken, "", "tyr_x", refreshToken.toUpperCase()]) {
      expect(await refreshCode(token)).toBe("UNAUTHENTICATED");
    }
    await using later = await startIdentity();
    const session = await later.register("ada");
    later.advance(30 * 24 * 3_600_000);
    expect(await codeOf(later.subgraph, REFRESH, { token: session.refreshToken })).toBe("UNAUTHENTICATED");
  });
});

test("logging out ends the session's refresh token and access tokens, and no other session", async () => {
  const first = await identity.register("leaver");
  const second = await refresh(first.refreshToken);
  const other = await identity.login("leaver");
  const caller = await identity.callerOf(second.accessToken);
  expect(await dataOf(identity.subgraph, "mutation { logout }", {}, caller)).toEqual({ logout: true });
  expect(await dataOf(identity.subgraph, "mutation { logout }", {}, caller)).toEqual({ logout: true });
  expect(await refreshCode(second.refreshToken)).toBe("UNAUTHENTICATED");
  expect((await identity.introspect(first.accessToken)).active).toBe(false);
  expect((await identity.introspect(second.accessToken)).active).toBe(false);
  expect((await identity.introspect(other.accessToken)).active).toBe(true);
  expect(await codeOf(identity.subgraph, "mutation { logout }")).toBe("UNAUTHENTICATED");
});

describe("changing the password", () => {
  const NEW = "a new one, long enough";
  const change = (caller: Awaited<ReturnType<Identity["callerOf"]>>, current: string, next: string) =>
    executeOn(identity.subgraph, CHANGE, { current, new: next }, caller);

  test("ends every session; the new password logs in, the old one does not", async () => {
    const session = await identity.register("changer");
    const other = await identity.login("changer");
    const caller = await identity.callerOf(session.accessToken);
    expect((await change(caller, PASSWORD, NEW)).data).toEqual({ changePassword: true });
    expect((await identity.introspect(session.accessToken)).active).toBe(false);
    expect(await refreshCode(other.refreshToken)).toBe("UNAUTHENTICATED");
    await expect(identity.login("changer", PASSWORD)).rejects.toThrow("UNAUTHENTICATED");
    await identity.login("changer", NEW);
    // A verifier that has not heard of it yet still sends the old caller.
    expect((await change(caller, NEW, "another new one, long")).errors[0]?.code).toBe("UNAUTHENTICATED");
  });

  test("takes the current password, and another that keeps the rules", async () => {
    const caller = await identity.callerOf((await identity.register("rule.keeper")).accessToken);
    const problems = async (current: string, next: string) =>
      (await change(caller, current, next)).errors[0]?.extensions.problems;
    expect(await problems("not the right one", NEW)).toEqual([{ path: "current", message: "is not your password" }]);
    expect(await problems(PASSWORD, "short")).toEqual([{ path: "new", message: expect.stringContaining("12") }]);
    expect(await problems(PASSWORD, PASSWORD)).toEqual([{ path: "new", message: "must not be the current password" }]);
    expect(await codeOf(identity.subgraph, CHANGE, { current: PASSWORD, new: NEW })).toBe("UNAUTHENTICATED");
  });

  test("is slowed down like logging in, so that a stolen token does not find the password", async () => {
    const caller = await identity.callerOf((await identity.register("stolen.token")).accessToken);
    for (let failure = 0; failure < 10; failure++) await change(caller, "not the right one", NEW);
    expect((await change(caller, PASSWORD, NEW)).errors[0]?.code).toBe("RATE_LIMITED");
  });
});
