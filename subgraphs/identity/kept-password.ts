import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { messageOf, systemCodeOf, type Logger } from "@toolyard/service-kit";
import type { User } from "./identity-store.ts";
import type { PasswordHasher } from "./password-hash.ts";

/**
 * The first administrator's generated password, in a file in DATA_DIR (mode 0600) for operators who have not seen the banner. A change of
 * the password removes the file.
 */
export interface KeptPassword {
  readonly file: string;
  /** Writes the file atomically; durable when this returns. */
  keep(password: string): Promise<void>;
  /** The user among these whose password is kept. A kept password of none of them is removed. Never throws: errors are logged. */
  ownerAmong(users: readonly User[]): Promise<User | null>;
  /** Removes the kept password if it matches this hash. Never throws, either. */
  forget(passwordHash: string): Promise<void>;
}

/** Longer than any generated password. */
const MAX_LENGTH = 1_024;

export function createKeptPassword(options: {
  dataDir: string;
  hasher: PasswordHasher;
  logger: Pick<Logger, "warn">;
}): KeptPassword {
  const { dataDir, hasher, logger } = options;
  const file = join(dataDir, "admin-password");

  /** Null when there is no readable file. */
  async function read(): Promise<string | null> {
    try {
      const text = await readFile(file, "utf8");
      return text.length > MAX_LENGTH ? "" : text.trim();
    } catch (error) {
      if (systemCodeOf(error) !== "ENOENT")
        note(error, "the file for the first administrator's password cannot be read");
      return null;
    }
  }

  async function remove(): Promise<void> {
    try {
      await rm(file, { force: true });
    } catch (error) {
      note(error, "a file with an outdated password could not be removed");
    }
  }

  function note(error: unknown, message: string): void {
    logger.warn({ file, reason: messageOf(error) }, message);
  }

  return {
    file,
    async ownerAmong(users) {
      const password = await read();
      if (password === null) return null;
      for (const user of users) if (await hasher.verify(password, user.passwordHash)) return user;
      await remove();
      return null;
    },
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
    async forget(passwordHash) {
      try {
        const password = await read();
        if (password !== null && (await hasher.verify(password, passwordHash))) await remove();
      } catch (error) {
        // Too many log in at this moment; the next start looks again.
        note(error, "the kept password could not be compared with the stored one");
      }
    },
  };
}
