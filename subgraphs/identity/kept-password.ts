import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, systemCodeOf, type Logger } from "@toolyard/service-kit";
import type { User } from "./identity-store.ts";
import type { PasswordHasher } from "./password-hash.ts";

/**
 * The first administrator's generated password in DATA_DIR, mode 0600, for who has not seen the banner. It is there as long as it is right:
 * whoever changes that password takes the file away.
 */
export interface KeptPassword {
  readonly file: string;
  /** All of it or nothing, and on the disk when this returns. */
  keep(password: string): Promise<void>;
  /** Whether a file is there, and has this user's password. */
  isOf(user: Pick<User, "passwordHash">): Promise<boolean>;
  /** Removes what is there. Never throws: the log says what is left. */
  remove(): Promise<void>;
  /** Removes what is there if it is the password that this was the hash of. Never throws. */
  forget(passwordHash: string): Promise<void>;
}

/** Longer than any that is made. */
const MAX_LENGTH = 1_024;

export function createKeptPassword(options: {
  dataDir: string;
  hasher: PasswordHasher;
  logger: Pick<Logger, "warn">;
}): KeptPassword {
  const { dataDir, hasher, logger } = options;
  const file = join(dataDir, "admin-password");

  async function isOf({ passwordHash }: Pick<User, "passwordHash">): Promise<boolean> {
    let text: string;
    try {
      text = await readFile(file, "utf8");
    } catch (error) {
      if (systemCodeOf(error) === "ENOENT") return false;
      throw error;
    }
    return text.length <= MAX_LENGTH && hasher.verify(text.trim(), passwordHash);
  }

  async function attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      logger.warn({ file, reason: messageOf(error) }, "a password that is no longer right could not be removed");
    }
  }

  return {
    file,
    isOf,
    async keep(password) {
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      const temporary = `${file}.${randomUUID()}`;
      {
        const handle = await open(temporary, "wx", 0o600);
        await using _closing = { [Symbol.asyncDispose]: () => handle.close() };
        await handle.writeFile(`${password}\n`);
        await handle.sync();
      }
      await rename(temporary, file);
    },
    remove: () => attempt(() => rm(file, { force: true })),
    forget: (passwordHash) =>
      attempt(async () => {
        if (await isOf({ passwordHash })) await rm(file, { force: true });
      }),
  };
}
