import { ToolyardError, type Caller } from "@toolyard/service-kit";
import type { IdentityReads, User } from "./identity-store.ts";

/** As for approving a release. */
const RECENT_PASSWORD_MS = 15 * 60_000;

/**
 * The caller's account, if caller and credential still stand within this transaction: a verifier may have believed them a
 * moment too long, and nothing that outlasts the credential may come of that.
 * @throws ToolyardError UNAUTHENTICATED for anonymous, FORBIDDEN for a service, UNAUTHENTICATED when revoked or disabled.
 */
export async function requireCurrentAccount(store: IdentityReads, caller: Caller): Promise<User> {
  if (caller.kind === "anonymous") throw unauthenticated("Log in first: send `Authorization: Bearer <access token>`.");
  if (caller.userId === null) throw new ToolyardError("FORBIDDEN", "Only users may do this; a service has no account.");
  const user = await store.findUser(caller.userId);
  if (!user || user.disabled) throw unauthenticated("This account is disabled or does not exist.");
  const { credential } = caller;
  if (credential?.type === "access-token") {
    const session = await store.findSessionOfAccessToken(credential.tokenId);
    if (!session || session.revokedAt !== null) throw unauthenticated("This session has ended: log in again.");
  }
  if (credential?.type === "api-key") {
    const key = await store.findApiKey(credential.apiKeyId);
    if (!key || key.revokedAt !== null) throw unauthenticated("This API key was revoked.");
  }
  return user;
}

/** For an administrator's actions: the role may have been withdrawn a moment ago. @throws ToolyardError */
export async function requireCurrentAdministrator(store: IdentityReads, caller: Caller): Promise<User> {
  caller.require("user:admin");
  const user = await requireCurrentAccount(store, caller);
  if (user.role !== "ADMIN") throw new ToolyardError("FORBIDDEN", "You are no longer an administrator.");
  return user;
}

/** For actions that an API key must never do. @throws ToolyardError FORBIDDEN */
export function requireSession(caller: Caller, action: string): void {
  if (caller.credential?.type === "api-key") {
    throw new ToolyardError("FORBIDDEN", `An API key may not ${action}: log in by password and use the access token.`);
  }
}

/**
 * For what would open a way to sessions by password that the caller could not open with their own: the caller's must be recent.
 * Otherwise the holder of an administrator's old token or key could make a fresh one.
 * @throws ToolyardError FORBIDDEN
 */
export function requireRecentPassword(caller: Caller, action: string, now: number): void {
  requireSession(caller, action);
  const passwordAt = caller.credential?.type === "access-token" ? caller.credential.passwordAt : null;
  if (passwordAt !== null && now - passwordAt < RECENT_PASSWORD_MS) return;
  throw new ToolyardError("FORBIDDEN", `To ${action}, log in by password again and do it within 15 minutes.`);
}

function unauthenticated(message: string): ToolyardError {
  return new ToolyardError("UNAUTHENTICATED", message);
}
