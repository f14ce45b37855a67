import { createRevocationList, createTokenSigner, createTokenVerifier } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { createAuthenticator, type Introspection } from "./authentication.ts";

const secretKeys = ["s".repeat(40)];
const signer = createTokenSigner({ secretKey: secretKeys[0] ?? "" });
const active: Introspection = {
  active: true,
  subject: "u1",
  role: "DEVELOPER",
  scopes: ["READ"],
  expiresAt: null,
  apiKeyId: "k1",
  tokenId: null,
  issuedAt: null,
};

function setUp(answer: () => Promise<Introspection> = async () => active) {
  const clock = { now: Date.now() };
  const asked: string[] = [];
  const authenticator = createAuthenticator({
    verifier: createTokenVerifier({ keys: { secretKeys } }),
    verifyCallerHeader: () => Promise.reject(new Error("No header is verified here.")),
    revocations: createRevocationList(),
    introspect: (credential) => {
      asked.push(credential);
      return answer();
    },
    now: () => clock.now,
  });
  return { authenticator, asked, clock };
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
  const { authenticator } = setUp(async () => ({ ...active, apiKeyId: null, tokenId: "t9", issuedAt: 5 }));
  const caller = await authenticator.authenticate("Bearer tyt_t1_secret");
  expect(caller.credential).toMatchObject({ type: "access-token", tokenId: "t9", passwordAt: null });
  authenticator.revoke({ ...none, at: Date.now(), tokenId: "t9" });
  expect(authenticator.isRevoked(caller)).toBe(true);
});

test("an inactive key is refused", async () => {
  const { authenticator } = setUp(async () => ({
    active: false,
    subject: null,
    role: null,
    scopes: [],
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

test("an answer that a revocation overtook is not kept", async () => {
  const answer = Promise.withResolvers<Introspection>();
  const { authenticator, asked } = setUp(() => answer.promise);
  const first = authenticator.authenticate("Bearer ty_k1_secret");
  authenticator.revoke({ ...none, at: Date.now(), userId: "u1" });
  answer.resolve(active);
  await first;
  await authenticator.authenticate("Bearer ty_k1_secret");
  expect(asked).toHaveLength(2);
});
