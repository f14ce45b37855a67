import { createTokenSigner, createTokenVerifier, type Caller } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { createAuthenticator } from "./authenticator.ts";
import type { Introspection } from "./introspection.ts";

const secretKeys = ["s".repeat(40)];
const signer = createTokenSigner({ secretKey: secretKeys[0] ?? "" });
const active: Introspection = {
  active: true,
  subject: "u1",
  role: "DEVELOPER",
  scopes: ["READ"],
  toolIds: null,
  expiresAt: null,
  apiKeyId: "k1",
  tokenId: null,
  issuedAt: null,
};

function setUp(answer: () => Promise<Introspection> = async () => active) {
  const clock = { now: Date.now() };
  const asked: string[] = [];
  const { authenticate, ...authenticator } = createAuthenticator({
    takesTickets: true,
    verifier: createTokenVerifier({ keys: { secretKeys } }),
    introspect: (credential) => {
      asked.push(credential);
      return answer();
    },
    now: () => clock.now,
  });
  const concerned: ((caller: Caller) => boolean)[] = [];
  authenticator.onRevoked((isConcerned) => concerned.push(isConcerned));
  return {
    // An error that is thrown at once rejects, too.
    authenticator: { ...authenticator, authenticate: async (header?: string) => authenticate(header) },
    authenticate,
    asked,
    clock,
    isRevoked: (caller: Caller) => concerned.some((isConcerned) => isConcerned(caller)),
  };
}
const accessToken = () => signer.accessToken({ userId: "u1", role: "DEVELOPER", scopes: ["READ"], passwordAt: null });
const none = { tokenId: null, apiKeyId: null, userId: null };

test("no header is anonymous; anything but a bearer credential is refused", async () => {
  const { authenticator } = setUp();
  expect((await authenticator.authenticate(undefined)).kind).toBe("anonymous");
  for (const header of ["Basic abc", "Bearer", "Bearer a b", "ty_1_2"]) {
    await expect(authenticator.authenticate(header)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  }
});

test("an API key is asked for once in thirty seconds", async () => {
  const { authenticator, asked, clock } = setUp();
  for (let call = 0; call < 3; call++)
    expect(await authenticator.authenticate("Bearer ty_k1_secret")).toMatchObject({
      userId: "u1",
      credential: { apiKeyId: "k1" },
    });
  expect(asked).toHaveLength(1);
  clock.now += 30_001;
  await authenticator.authenticate("Bearer ty_k1_secret");
  expect(asked).toHaveLength(2);
});

test("a stream ticket is asked for every time, since it is good once", async () => {
  const { authenticator, asked } = setUp();
  await authenticator.authenticate("Bearer tyt_t1_secret");
  await authenticator.authenticate("Bearer tyt_t1_secret");
  expect(asked).toHaveLength(2);
});

test("a ticket ends with the access token that it was made with", async () => {
  const { authenticator, isRevoked } = setUp(async () => ({ ...active, apiKeyId: null, tokenId: "t9", issuedAt: 5 }));
  const caller = await authenticator.authenticate("Bearer tyt_t1_secret");
  expect(caller.credential).toMatchObject({ type: "access-token", tokenId: "t9", passwordAt: null });
  authenticator.revoke({ ...none, at: Date.now(), tokenId: "t9" });
  expect(isRevoked(caller)).toBe(true);
});

test("an inactive key is refused", async () => {
  const { authenticator } = setUp(async () => ({
    active: false,
    subject: null,
    role: null,
    scopes: [],
    toolIds: null,
    expiresAt: null,
    apiKeyId: null,
    tokenId: null,
    issuedAt: null,
  }));
  await expect(authenticator.authenticate("Bearer ty_k1_secret")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});

const inactive = { ...active, active: false, subject: null };

test("a key that is not good is asked for once in a while, however often it is sent", async () => {
  const { authenticator, asked, clock } = setUp(async () => inactive);
  const attempts = async (count: number) => {
    for (let n = 0; n < count; n++)
      await expect(authenticator.authenticate("Bearer ty_k1_secret")).rejects.toMatchObject({
        code: "UNAUTHENTICATED",
      });
  };
  await attempts(100);
  expect(asked).toHaveLength(1);
  clock.now += 3_001;
  await attempts(100);
  expect(asked).toHaveLength(2);
});

test("of many unknown keys at once a bounded number is asked for, and one of them that many send once", async () => {
  const answer = Promise.withResolvers<Introspection>();
  const { authenticator, asked } = setUp(() => answer.promise);
  const outcomes = Promise.allSettled(
    Array.from({ length: 1_000 }, (_, n) => authenticator.authenticate(`Bearer ty_k${n >> 1}_secret`)),
  );
  answer.resolve(inactive);
  const codes = (await outcomes).map((outcome) => (outcome.status === "rejected" ? outcome.reason.code : null));
  expect(asked).toHaveLength(64);
  expect(codes.filter((code) => code === "UNAUTHENTICATED")).toHaveLength(128);
  expect(codes.filter((code) => code === "RATE_LIMITED")).toHaveLength(872);
});

test("nobody is asked for what is longer than a key", async () => {
  const { authenticator, asked } = setUp();
  const long = authenticator.authenticate(`Bearer ty_k1_${"x".repeat(10_000)}`);
  await expect(long).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  expect(asked).toHaveLength(0);
});

test("a revoked token, key or user is refused at once though it was known to be good", async () => {
  const { authenticator } = setUp();
  const { token, tokenId } = await accessToken();
  expect((await authenticator.authenticate(`Bearer ${token}`)).userId).toBe("u1");
  authenticator.revoke({ ...none, at: Date.now(), tokenId });
  await expect(authenticator.authenticate(`Bearer ${token}`)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });

  await authenticator.authenticate("Bearer ty_k1_secret");
  authenticator.revoke({ ...none, at: Date.now(), apiKeyId: "k1" });
  await expect(authenticator.authenticate("Bearer ty_k1_secret")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });

  const { token: another } = await accessToken();
  authenticator.revoke({ ...none, at: Date.now(), userId: "u1" });
  await expect(authenticator.authenticate(`Bearer ${another}`)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});

test("a user's revocation makes their API keys be asked for again", async () => {
  const { authenticator, asked } = setUp();
  await authenticator.authenticate("Bearer ty_k1_secret");
  authenticator.revoke({ ...none, at: Date.now(), userId: "u1" });
  await authenticator.authenticate("Bearer ty_k1_secret");
  expect(asked).toHaveLength(2);
});

test("an answer that a revocation overtook is not believed", async () => {
  const answers = [Promise.withResolvers<Introspection>(), Promise.withResolvers<Introspection>()];
  const { authenticator, asked } = setUp(() => answers[asked.length - 1]!.promise);
  const first = authenticator.authenticate("Bearer ty_k1_secret");
  authenticator.revoke({ ...none, at: Date.now(), userId: "somebody else" });
  authenticator.revoke({ ...none, at: Date.now(), userId: "u1" });
  answers[0]!.resolve(active);
  answers[1]!.resolve({ ...active, role: "VIEWER" });
  expect(await first).toMatchObject({ role: "VIEWER" });
  expect(asked).toHaveLength(2);
  await authenticator.authenticate("Bearer ty_k1_secret");
  expect(asked).toHaveLength(2);
});

test("a ticket that a revocation overtook is refused, since it is used up", async () => {
  const answer = Promise.withResolvers<Introspection>();
  const { authenticator, asked } = setUp(() => answer.promise);
  const first = authenticator.authenticate("Bearer tyt_t1_secret");
  authenticator.revoke({ ...none, at: Date.now(), userId: "u1" });
  answer.resolve(active);
  await expect(first).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  expect(asked).toHaveLength(1);
});

test("revocations that overtake every answer leave nothing to believe", async () => {
  const { authenticator, asked } = setUp(async () => {
    queueMicrotask(() => authenticator.revoke({ ...none, at: Date.now(), userId: "u1" }));
    return active;
  });
  await expect(authenticator.authenticate("Bearer ty_k1_secret")).rejects.toMatchObject({
    code: "UPSTREAM_UNAVAILABLE",
  });
  expect(asked.length).toBeLessThan(5);
});

test("a known credential is answered at once, and no promise is made for it", async () => {
  const { authenticate } = setUp();
  const { token } = await accessToken();
  for (const credential of [token, "ty_k1_secret"]) {
    const caller = await authenticate(`Bearer ${credential}`);
    expect(authenticate(`Bearer ${credential}`)).toBe(caller);
  }
});

test("one access token is verified once, however many send it at once", async () => {
  const { token } = await accessToken();
  const { authenticator } = setUp();
  const callers = await Promise.all(Array.from({ length: 5 }, () => authenticator.authenticate(`Bearer ${token}`)));
  expect(new Set(callers).size).toBe(1);
});

test("where tickets are not taken, identity is not asked for one, so that it is not used up", async () => {
  const asked: string[] = [];
  const { authenticate } = createAuthenticator({
    verifier: createTokenVerifier({ keys: { secretKeys } }),
    introspect: async (credential) => (asked.push(credential), active),
  });
  await expect(authenticate("Bearer tyt_t1_secret")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  expect(asked).toEqual([]);
});

test("while identity is away a key stays good for an hour after its last answer, and never beyond its end", async () => {
  let isAway = false;
  let expiresAt: number | null = null;
  const { authenticator, asked, clock } = setUp(async () => {
    // The code of a refusal of the service that asks: no judgement of the credential.
    if (isAway) throw Object.assign(new Error("away"), { code: "UNAUTHENTICATED" });
    return { ...active, expiresAt };
  });
  const key = () => authenticator.authenticate("Bearer ty_k1_secret");
  const away = { code: "UPSTREAM_UNAVAILABLE" };
  await key();
  isAway = true;
  clock.now += 59 * 60_000;
  expect(await key()).toMatchObject({ userId: "u1" });
  await key();
  expect(asked).toHaveLength(2);
  await expect(authenticator.authenticate("Bearer ty_k2_secret")).rejects.toMatchObject(away);
  clock.now += 60_001;
  await expect(key()).rejects.toMatchObject(away);

  isAway = false;
  expiresAt = clock.now + 45_000;
  await key();
  isAway = true;
  clock.now = expiresAt - 1;
  expect(await key()).toMatchObject({ userId: "u1" });
  clock.now += 1;
  await expect(key()).rejects.toMatchObject(away);
});

test("a revoked key is not good because identity is away", async () => {
  let isAway = false;
  const { authenticator } = setUp(async () => {
    if (isAway) throw new Error("away");
    return active;
  });
  await authenticator.authenticate("Bearer ty_k1_secret");
  isAway = true;
  authenticator.revoke({ ...none, at: Date.now() - 3 * 3_600_000, apiKeyId: "k1" });
  await expect(authenticator.authenticate("Bearer ty_k1_secret")).rejects.toMatchObject({
    code: "UPSTREAM_UNAVAILABLE",
  });
});

test("a key that identity does not name, so that it could not be revoked, is refused", async () => {
  const { authenticator } = setUp(async () => ({ ...active, apiKeyId: null }));
  await expect(authenticator.authenticate("Bearer ty_k1_secret")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});

test("where revocations may have been missed, every user's credential is verified again and their streams end", async () => {
  const { authenticator, authenticate, asked, isRevoked } = setUp();
  const { token } = await accessToken();
  const callers = [
    await authenticator.authenticate(`Bearer ${token}`),
    await authenticator.authenticate("Bearer ty_k1_s"),
  ];
  authenticator.revokeUnknown();
  expect(callers.map(isRevoked)).toEqual([true, true]);
  expect(authenticate(`Bearer ${token}`)).toBeInstanceOf(Promise);
  await authenticator.authenticate("Bearer ty_k1_s");
  expect(asked).toHaveLength(2);
});

test("keys that changed make tokens be verified again, and keys of users not be asked for", async () => {
  const { authenticator, authenticate, asked } = setUp();
  const { token } = await accessToken();
  await authenticator.authenticate(`Bearer ${token}`);
  await authenticator.authenticate("Bearer ty_k1_s");
  authenticator.forgetTokens();
  expect(authenticate(`Bearer ${token}`)).toBeInstanceOf(Promise);
  await authenticator.authenticate("Bearer ty_k1_s");
  expect(asked).toHaveLength(1);
});
