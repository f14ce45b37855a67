import { randomBytes, randomUUID } from "node:crypto";
import { mkdir, open, rename } from "node:fs/promises";
import { join } from "node:path";
import { newId } from "@toolyard/service-kit";
import type { IdentityConfig } from "./config.ts";
import type { IdentityStore } from "./identity-store.ts";
import type { PasswordHasher } from "./password-hash.ts";

export interface FirstAdministrator {
  /** Whether this call made the account. */
  created: boolean;
  /** Of the account that this call made. */
  userId: string | null;
  username: string;
  /** Shown once: only when this call made the account with a password of its own making. */
  generatedPassword: string | null;
  /** Where that password is kept, mode 0600. */
  passwordFile: string | null;
}

/** Makes the first administrator when there is no user at all. Safe to run twice, also in two processes at once. */
export async function ensureFirstAdministrator(options: {
  store: IdentityStore;
  hasher: PasswordHasher;
  config: Pick<IdentityConfig, "adminUsername" | "adminPassword">;
  dataDir: string;
  now: () => number;
}): Promise<FirstAdministrator> {
  const { store, hasher, config, dataDir, now } = options;
  const nothing: FirstAdministrator = {
    created: false,
    userId: null,
    username: config.adminUsername,
    generatedPassword: null,
    passwordFile: null,
  };
  if ((await store.countUsers()) > 0) return nothing;
  const generated = config.adminPassword === null ? randomBytes(18).toString("base64url") : null;
  const passwordHash = await hasher.hash(config.adminPassword ?? generated ?? "");
  const passwordFile = join(dataDir, "admin-password");
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
    if (generated !== null) await writeAtomically(passwordFile, `${generated}\n`);
    return true;
  });
  if (!created) return nothing;
  return {
    created,
    userId,
    username: config.adminUsername,
    generatedPassword: generated,
    passwordFile: generated === null ? null : passwordFile,
  };
}

async function writeAtomically(file: string, text: string): Promise<void> {
  await mkdir(join(file, ".."), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${randomUUID()}`;
  {
    const handle = await open(temporary, "wx", 0o600);
    await using _closing = { [Symbol.asyncDispose]: () => handle.close() };
    await handle.writeFile(text);
    await handle.sync();
  }
  await rename(temporary, file);
}
