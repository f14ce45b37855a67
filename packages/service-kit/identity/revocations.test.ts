import { expect, test } from "vitest";
import { createCaller } from "./caller.ts";
import { createRevocationList, type CredentialRevocation } from "./revocations.ts";
import { ACCESS_TOKEN_SECONDS } from "./tokens.ts";

const none = { tokenId: null, apiKeyId: null, userId: null };
const userWith = (credential: NonNullable<Parameters<typeof createCaller>[0]["credential"]>) =>
  createCaller({
    kind: "user",
    subject: "user:1",
    role: "DEVELOPER",
    scopes: [],
    servicePermissions: [],
    credential,
    toolIds: null,
    expiresAt: null,
  });

test.each<[string, Partial<CredentialRevocation>]>([
  ["a token", { tokenId: "token" }],
  ["an API key", { apiKeyId: "key" }],
])("the revocation of %s is remembered as long as an access token is good, and no longer", (_, given) => {
  let now = 1_000;
  const list = createRevocationList({ now: () => now });
  const caller = given.apiKeyId
    ? userWith({ type: "api-key", apiKeyId: "key" })
    : userWith({ type: "access-token", tokenId: "token", issuedAt: 0, passwordAt: null });
  list.add({ at: now, ...none, ...given });
  now += ACCESS_TOKEN_SECONDS * 1_000;
  list.add({ at: now, ...none, tokenId: "another", apiKeyId: null });
  expect(list.isRevoked(caller)).toBe(true);
  now += 61_000;
  list.add({ at: now, ...none, tokenId: "a third" });
  expect(list.isRevoked(caller)).toBe(false);
});
