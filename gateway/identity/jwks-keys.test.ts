import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { SignJWT, exportJWK, generateKeyPair, jwtVerify, type JWK } from "jose";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createJwksAuthenticator } from "./jwks-authentication.ts";
import { createJwksKeys, type JwksKeysOptions } from "./jwks-keys.ts";

interface Key {
  kid: string;
  jwk: JWK;
  token(): Promise<string>;
}

async function newKey(kid: string): Promise<Key> {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  return {
    kid,
    jwk: { ...(await exportJWK(publicKey)), kid, alg: "ES256" },
    token: () => new SignJWT().setProtectedHeader({ alg: "ES256", kid }).setSubject("ada").sign(privateKey),
  };
}

/** The issuer: what it answers with, and how often it was asked. */
let keys: Key[] = [];
let isDown = false;
let fetches = 0;
let server: Server;
let url: string;
beforeEach(async () => {
  keys = [await newKey("k1")];
  isDown = false;
  fetches = 0;
  server = createServer((_request, response) => {
    fetches++;
    response.statusCode = isDown ? 500 : 200;
    response.end(JSON.stringify({ keys: keys.map(({ jwk }) => jwk) }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server's address is never a pipe's string.
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function subject(options: Partial<JwksKeysOptions> = {}) {
  const getKey = createJwksKeys({ url, minIntervalMs: 0, ...options });
  return async (token: string) => (await jwtVerify(token, getKey)).payload.sub;
}

test("a key that was added is found when the first token names it", async () => {
  const verify = subject();
  expect(await verify(await keys[0]!.token())).toBe("ada");
  keys.push(await newKey("k2"));
  expect(await verify(await keys[1]!.token())).toBe("ada");
});

test("tokens that name keys of their own do not make the issuer be asked each time", async () => {
  const verify = subject({ minIntervalMs: 60_000 });
  await verify(await keys[0]!.token());
  for (let i = 0; i < 20; i++) await expect(verify(await (await newKey(`k${i}`)).token())).rejects.toThrow();
  expect(fetches).toBe(1);
});

test("while the issuer cannot be reached, keys known before are used and others may come yet", async () => {
  const verify = subject({ maxAgeMs: 0 });
  const known = keys[0]!;
  await verify(await known.token());
  isDown = true;
  expect(await verify(await known.token())).toBe("ada");
  await expect(verify(await (await newKey("k2")).token())).rejects.toThrow(/Expected 200 OK/);
  isDown = false;
  keys = [await newKey("k3")];
  expect(await verify(await keys[0]!.token())).toBe("ada");
  await expect(verify(await known.token())).rejects.toThrow(/no applicable key/);
});

test("an issuer that is down from the start is not asked for every token, and used once it is up", async () => {
  const clock = { now: 0 };
  const verify = subject({ minIntervalMs: 2_000, now: () => clock.now });
  isDown = true;
  for (let i = 0; i < 5; i++) await expect(verify(await keys[0]!.token())).rejects.toThrow();
  expect(fetches).toBe(1);
  isDown = false;
  clock.now += 2_000;
  expect(await verify(await keys[0]!.token())).toBe("ada");
});

test("a caller is told an outage from a token that is not accepted", async () => {
  const authenticator = createJwksAuthenticator({ jwksUrl: url, issuer: null, audience: null });
  isDown = true;
  await expect(authenticator.authenticate(`Bearer ${await keys[0]!.token()}`)).rejects.toMatchObject({
    code: "UPSTREAM_UNAVAILABLE",
  });
  await expect(authenticator.authenticate("Bearer a.b.c")).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
});
