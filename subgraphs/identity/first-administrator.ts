import { randomBytes } from "node:crypto";
import { newId } from "@toolyard/service-kit";
import type { IdentityConfig } from "./config.ts";
import type { IdentityStore } from "./identity-store.ts";
import type { KeptPassword } from "./kept-password.ts";
import type { PasswordHasher } from "./password-hash.ts";

export interface FirstAdministrator {
  /** Whether this call made the account. */
  created: boolean;
  /** Of the account that this call made. */
  userId: string | null;
  /** An administrator who can log in; ADMIN_USERNAME, if that is one. */
  username: string;
  /** Shown once: only when this call made the account with a password of its own making. */
  generatedPassword: string | null;
  /** Where the generated password is kept, as long as it is `username`'s. */
  passwordFile: string | null;
  /** Sentences about variables that do nothing, since there are accounts already. */
  notes: string[];
}

/** Makes the first administrator when there is no user at all. Safe to run twice, also in two processes at once. */
export async function ensureFirstAdministrator(options: {
  store: IdentityStore;
  hasher: PasswordHasher;
  config: Pick<IdentityConfig, "adminUsername" | "adminPassword">;
  kept: KeptPassword;
  now: () => number;
}): Promise<FirstAdministrator> {
  const { store, hasher, config, kept, now } = options;
  if ((await store.countUsers()) > 0) return standingAdministrator(options);
  const generated = config.adminPassword === null ? randomBytes(18).toString("base64url") : null;
  const passwordHash = await hasher.hash(config.adminPassword ?? generated ?? "");
  const userId = newId();
  const created = await store.transaction(async (tx) => {
    if ((await tx.countUsers()) > 0) return false;
    await tx.insertUser({
      id: userId,
      username: config.adminUsername,
      email: null,
      role: "ADMIN",
      disabled: false,
      passwordHash,
      passwordExpiresAt: null,
      createdAt: now(),
    });
    // Within the transaction, slow as it is: an account whose password is nowhere would shut its owner out for good, and of two
    // processes that start at once only the one that makes the account may write the file.
    if (generated !== null) await kept.keep(generated);
    return true;
  });
  if (!created) return standingAdministrator(options);
  return {
    created,
    userId,
    username: config.adminUsername,
    generatedPassword: generated,
    passwordFile: generated === null ? null : kept.file,
    notes: [],
  };
}

/** Logs who can log in when there are accounts, and which variables then have no effect. */
async function standingAdministrator(options: {
  store: IdentityStore;
  hasher: PasswordHasher;
  config: Pick<IdentityConfig, "adminUsername" | "adminPassword">;
  kept: KeptPassword;
}): Promise<FirstAdministrator> {
  const { store, hasher, config, kept } = options;
  const named = await store.findUserByName(config.adminUsername);
  const first = await store.findFirstAdministrator();
  const candidates = [...(named?.role === "ADMIN" && !named.disabled ? [named] : []), ...(first ? [first] : [])];
  // An earlier version left the file there when the password was changed.
  const owner = await kept.ownerAmong(candidates);
  const administrator = owner ?? candidates[0];
  const username = administrator?.username ?? config.adminUsername;
  const notes: string[] = [];
  if (named === null && administrator) {
    const names = config.adminPassword === null ? "ADMIN_USERNAME is" : "ADMIN_USERNAME and ADMIN_PASSWORD are";
    notes.push(
      `${names} passed over: there are accounts already, and none of them is ${config.adminUsername}. ${username} is an administrator.`,
    );
  } else if (
    named &&
    config.adminPassword !== null &&
    !(await hasher.verify(config.adminPassword, named.passwordHash))
  ) {
    notes.push(
      `ADMIN_PASSWORD is passed over: ${named.username} has another password already. A new one: npm run reset-password -- ${named.username}`,
    );
  }
  return {
    created: false,
    userId: null,
    username,
    generatedPassword: null,
    passwordFile: owner ? kept.file : null,
    notes,
  };
}
