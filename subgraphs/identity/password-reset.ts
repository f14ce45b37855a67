import { randomBytes } from "node:crypto";
import { stat } from "node:fs/promises";
import { createInProcessBus } from "@toolyard/events";
import { badInput, type Logger, ToolyardError, preconditionFailed } from "@toolyard/service-kit";
import { lockFolder, openDatabase, storeOptions, timeOf, type StorePlace } from "@toolyard/storage";
import { storeMigrations } from "@toolyard/storage/store-migrations.ts";
import { passwordProblem } from "./account-rules.ts";
import { entities, migrationsFolder } from "./database.ts";
import { createSqlIdentityStore } from "./identity-store.sql.ts";
import type { IdentityWrites, User } from "./identity-store.ts";
import { createKeptPassword } from "./kept-password.ts";
import { createPasswordHasher } from "./password-hash.ts";
import { createRevocationLog, type RevocationLog } from "./revocation-log.ts";
import { noSuchUser } from "./user-reference.ts";

/** 144 random bits: nobody guesses it. */
export function generatePassword(): string {
  return randomBytes(18).toString("base64url");
}

/** Sets another password without proof of the old one: all sessions and API keys of the user end. */
export async function replacePassword(
  { tx, revocations, now }: { tx: IdentityWrites; revocations: RevocationLog; now: () => number },
  userId: string,
  change: Pick<User, "passwordHash" | "passwordExpiresAt">,
): Promise<void> {
  await tx.updateUser(userId, change);
  // An intruder may have made keys to come back with. Verifiers learn of their end by the user's revocation.
  await tx.revokeApiKeysOf(userId, now());
  await revocations.revokeUser(tx, userId, now());
}

/**
 * Resets a password by who may write to DATA_DIR, or knows DATABASE_URL, which is more than any credential: nobody has to be logged in. Toolyard
 * may run on it or not; one that runs sees what is revoked within half a second.
 * @param password Null: one is made.
 * @throws ToolyardError PRECONDITION_FAILED where there are no accounts, or of another version, or of another user of the system; NOT_FOUND; BAD_USER_INPUT
 */
export async function resetPasswordOnHost(options: {
  place: StorePlace;
  username: string;
  password: string | null;
  logger: Logger;
}): Promise<{ username: string; password: string; disabled: boolean }> {
  const { place, username, logger } = options;
  const { dataDir } = place;
  await using closing = new AsyncDisposableStack();
  const tables = storeOptions(place, { name: "identity", entities, migrationsFolder });
  if (!("file" in tables) && (await (await storeMigrations(tables)).run()).length === 0)
    throw noAccounts("in the database of DATABASE_URL: Toolyard was never started on it.");
  // Where nobody has it, nobody starts meanwhile; who has it is only written beside.
  const lock = "file" in tables ? await lockOwn(dataDir, tables.file) : null;
  closing.defer(() => lock?.release());
  const database = await openDatabase({ ...tables, migrate: lock !== null });
  closing.defer(() => database.close());
  const store = createSqlIdentityStore({ database });
  const at = await timeOf(database);
  const now = () => at;
  const revocations = createRevocationLog({ database, bus: createInProcessBus(), logger, now });
  closing.defer(() => revocations.close());
  const hasher = createPasswordHasher();

  const user = await store.findUserByName(username);
  if (!user) throw await noSuchUser(store, username);
  const wrong = options.password === null ? null : passwordProblem(options.password, user);
  if (wrong !== null) throw badInput([{ path: "", message: `The password ${wrong}.` }]);
  const password = options.password ?? generatePassword();
  const passwordHash = await hasher.hash(password);
  await store.transaction((tx) =>
    replacePassword({ tx, revocations, now }, user.id, { passwordHash, passwordExpiresAt: null }),
  );
  await createKeptPassword({ dataDir, hasher, logger }).forget(user.passwordHash);
  return { username: user.username, password, disabled: user.disabled };
}

/** @returns null where Toolyard runs on the folder. @throws ToolyardError PRECONDITION_FAILED where it is another user's */
async function lockOwn(dataDir: string, file: string): Promise<Awaited<ReturnType<typeof lockFolder>> | null> {
  const found = await stat(file).catch(() => null);
  if (!found) throw noAccounts(`in ${dataDir}. Say by DATA_DIR where Toolyard's data is.`);
  const self = process.getuid?.();
  if (self !== undefined && self !== found.uid) {
    // Files that another system user makes beside the database would shut Toolyard out.
    throw preconditionFailed(
      "file-owner",
      `${file} is of the user with the id ${found.uid}: do this as that user, as in: sudo -u '#${found.uid}' …`,
    );
  }
  return lockFolder(dataDir, { waitMs: 0 }).catch((error: unknown) => {
    if (error instanceof ToolyardError && error.code === "CONFLICT") return null;
    throw error;
  });
}

const noAccounts = (where: string): ToolyardError =>
  preconditionFailed("data-directory", `There are no accounts ${where}`);
