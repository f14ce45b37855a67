import { SignJWT, decodeJwt } from "jose";
import { expect, test } from "vitest";
import { callerData, createServiceCaller, createUserCaller } from "./caller.ts";
import { ToolyardError } from "../errors/errors.ts";
import { deriveSigningKeys } from "./keys.ts";
import { createSealer } from "./sealing.ts";
import { createCallerHeaderVerifier, createTokenSigner, createTokenVerifier } from "./tokens.ts";

const secretKey = "a".repeat(40);
const otherKey = "b".repeat(40);
const signer = createTokenSigner({ secretKey });
const verifier = createTokenVerifier({ keys: { secretKeys: [secretKey] } });
const refused = expect.objectContaining({ code: "UNAUTHENTICATED" });

test("an access token comes back as the caller it was made for, by secret key and by public keys", async () => {
  const { token, tokenId } = await signer.accessToken({
    userId: "u1",
    role: "DEVELOPER",
    scopes: ["READ", "INVOKE"],
    passwordAt: 1_700_000_000_000,
  });
  for (const each of [verifier, createTokenVerifier({ keys: await signer.jwks() })]) {
    expect(await each.verify(token)).toMatchObject({
      kind: "user",
      userId: "u1",
      role: "DEVELOPER",
      scopes: ["READ", "INVOKE"],
      credential: { type: "access-token", tokenId, passwordAt: 1_700_000_000_000 },
    });
  }
});

test("a token of another installation, a changed one and rubbish are refused with a reason", async () => {
  const { token } = await createTokenSigner({ secretKey: otherKey }).accessToken({
    userId: "u1",
    role: "ADMIN",
    scopes: [],
    passwordAt: null,
  });
  await expect(verifier.verify(token)).rejects.toEqual(refused);
  const { token: own } = await signer.accessToken({ userId: "u1", role: "VIEWER", scopes: [], passwordAt: null });
  const [header, payload = "", signature] = own.split(".");
  const forged = Buffer.from(payload, "base64url").toString().replace("VIEWER", "ADMIN");
  await expect(
    verifier.verify([header, Buffer.from(forged).toString("base64url"), signature].join(".")),
  ).rejects.toEqual(refused);
  await expect(verifier.verify("rubbish")).rejects.toEqual(refused);
});

test("an expired token and one without a signature are refused", async () => {
  const { kid, privateKey } = deriveSigningKeys(secretKey, "token-signing");
  const claims = { sub: "u1", role: "ADMIN", scopes: ["READ"], jti: "j", iat_ms: 1 };
  const expired = await new SignJWT(claims)
    .setProtectedHeader({ alg: "EdDSA", kid })
    .setIssuer("toolyard")
    .setAudience("toolyard")
    .setExpirationTime(1)
    .sign(privateKey);
  await expect(verifier.verify(expired)).rejects.toThrow(/expired/);
  const none = `${Buffer.from(JSON.stringify({ alg: "none" })).toString("base64url")}.${Buffer.from(JSON.stringify({ ...claims, exp: 4e9, iss: "toolyard", aud: "toolyard" })).toString("base64url")}.`;
  await expect(verifier.verify(none)).rejects.toEqual(refused);
});

test("a token of a clock that was set back since is refused, since revocations would not reach it", async () => {
  const user = { userId: "u1", role: "ADMIN", scopes: [], passwordAt: null } as const;
  const issued = (aheadMs: number) => signer.accessToken({ ...user, issuedAt: Date.now() + aheadMs });
  await expect(verifier.verify((await issued(3_600_000)).token)).rejects.toMatchObject({
    code: "UNAUTHENTICATED",
    message: expect.stringContaining("clock") as unknown,
  });
  expect(await verifier.verify((await issued(30_000)).token)).toMatchObject({ userId: "u1" });
});

test("a key from before a rotation still verifies while it is named", async () => {
  const { token } = await createTokenSigner({ secretKey: otherKey }).accessToken({
    userId: "u1",
    role: "ADMIN",
    scopes: [],
    passwordAt: null,
  });
  const rotating = createTokenVerifier({ keys: { secretKeys: [secretKey, otherKey] } });
  expect((await rotating.verify(token)).userId).toBe("u1");
});

test("a service's token is a service with just its permissions; a user named like one is not", async () => {
  const service = await verifier.verify(await signer.serviceToken("proxy", ["internal:routes"], 60));
  expect(service).toMatchObject({ kind: "service", subject: "service:proxy", servicePermissions: ["internal:routes"] });
  const { token } = await signer.accessToken({
    userId: "service:proxy",
    role: "ADMIN",
    scopes: ["ADMIN"],
    passwordAt: null,
  });
  await expect(verifier.verify(token)).rejects.toEqual(refused);
});

test("the caller header carries a caller between processes and is no access token, nor the other way round", async () => {
  const verifyHeader = createCallerHeaderVerifier({ secretKeys: [secretKey], audience: "tools" });
  for (const caller of [
    createUserCaller("u1", "ADMIN"),
    createServiceCaller("deployments", ["internal:sealed-launch"]),
  ]) {
    const header = await signer.callerHeader(caller, "tools", { clientAddress: "192.0.2.1", isMutation: true });
    const data = callerData(caller);
    expect(await verifyHeader(header)).toMatchObject({ caller: data, clientAddress: "192.0.2.1", isMutation: true });
    await expect(verifier.verify(header)).rejects.toEqual(refused);
  }
  const { token } = await signer.accessToken({ userId: "u1", role: "ADMIN", scopes: [], passwordAt: null });
  await expect(verifyHeader(token)).rejects.toEqual(refused);
});

test("a caller header is taken as long as the hosts' clocks are no more than five minutes apart, and else the clocks are named as the cause", async () => {
  let aheadMs = 0;
  const now = () => Date.now() + aheadMs;
  const told: [number, boolean][] = [];
  const watch = { note: (ms: number, isRefused: boolean) => void told.push([ms, isRefused]), health: () => [] };
  const verifyHeader = createCallerHeaderVerifier({ secretKeys: [secretKey], audience: "tools", now, watch });
  const header = await createTokenSigner({ secretKey }).callerHeader(createUserCaller("u1", "ADMIN"), "tools");
  for (const borneMs of [0, 120_000, -120_000, 295_000, -295_000]) {
    aheadMs = borneMs;
    expect((await verifyHeader(header)).caller.userId).toBe("u1");
    expect(told.at(-1)).toEqual([expect.closeTo(-borneMs, -4), false]);
  }
  for (const refusedMs of [335_000, -310_000, 7_200_000, -7_200_000]) {
    aheadMs = refusedMs;
    await expect(verifyHeader(header)).rejects.toMatchObject({
      code: "UPSTREAM_UNAVAILABLE",
      message: expect.stringMatching(/clocks of tools's host and of the gateway .* \d+ s apart/) as unknown,
    });
    expect(told.at(-1)).toEqual([expect.closeTo(-refusedMs, -4), true]);
  }
  // Whoever has no key learns nothing of the clocks, and nobody is told of theirs.
  const count = told.length;
  const forged = await createTokenSigner({ secretKey: otherKey, now }).callerHeader(
    createUserCaller("u1", "ADMIN"),
    "tools",
  );
  const [head, claims] = header.split(".");
  for (const wrong of [
    forged,
    `${head}.${claims}.${forged.split(".")[2]}`,
    await signer.callerHeader(createUserCaller("u1", "ADMIN"), "identity"),
  ])
    await expect(verifyHeader(wrong)).rejects.toEqual(refused);
  expect(told).toHaveLength(count);
});

test("what is judged by another clock than this host's is signed by it, too", async () => {
  const now = () => Date.now() + 7_200_000;
  const there = createTokenSigner({ secretKey, now });
  const { token } = await there.accessToken({ userId: "u1", role: "VIEWER", scopes: [], passwordAt: null });
  await expect(verifier.verify(token)).rejects.toEqual(refused);
  expect((await createTokenVerifier({ keys: { secretKeys: [secretKey] }, now }).verify(token)).userId).toBe("u1");
  const { token: old } = await signer.accessToken({ userId: "u1", role: "VIEWER", scopes: [], passwordAt: null });
  await expect(createTokenVerifier({ keys: { secretKeys: [secretKey] }, now }).verify(old)).rejects.toThrow(/expired/);
  const header = await there.callerHeader(createUserCaller("u1", "ADMIN"), "tools");
  const verifyHeader = createCallerHeaderVerifier({ secretKeys: [secretKey], audience: "tools", now });
  expect((await verifyHeader(header)).caller.userId).toBe("u1");
});

test("a caller header is worth nothing at another part than the one it was signed for, and is signed for half a minute", async () => {
  const parts = ["gateway", "identity", "tools", "toolyard", "toolyard-part:tools", ""];
  for (const signedFor of parts) {
    const header = await signer.callerHeader(createUserCaller("u1", "ADMIN"), signedFor);
    for (const audience of parts) {
      const outcome = createCallerHeaderVerifier({ secretKeys: [secretKey], audience })(header).then(
        ({ caller }) => caller.userId,
        (error: unknown) => (error instanceof ToolyardError ? error.code : error),
      );
      expect(await outcome).toBe(audience === signedFor ? "u1" : "UNAUTHENTICATED");
    }
    await expect(verifier.verify(header)).rejects.toEqual(refused);
  }
  const { exp, iat } = decodeJwt(await signer.callerHeader(createUserCaller("u1", "ADMIN"), "tools"));
  expect((exp ?? 0) - (iat ?? 0)).toBe(30);
});

test("a sealed value opens with its key and context only, also after a rotation", () => {
  const sealed = createSealer({ secretKey }).seal("s3cret-ü", "version-1");
  expect(sealed).not.toContain("s3cret");
  expect(createSealer({ secretKey }).open(sealed, "version-1")).toBe("s3cret-ü");
  expect(createSealer({ secretKey: otherKey, previousSecretKeys: [secretKey] }).open(sealed, "version-1")).toBe(
    "s3cret-ü",
  );
  expect(() => createSealer({ secretKey }).open(sealed, "version-2")).toThrow(/changed or moved/);
  expect(() => createSealer({ secretKey: otherKey }).open(sealed, "version-1")).toThrow(/SECRET_KEY_PREVIOUS/);
});
