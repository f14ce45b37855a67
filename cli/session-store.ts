import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { lockFolder } from "@toolyard/storage/folder-lock.ts";
import { messageOf, systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { z } from "zod";

const session = z.object({
  username: z.string(),
  accessToken: z.string(),
  refreshToken: z.string(),
  /** Epoch ms. */
  expiresAt: z.number(),
});
type StoredSession = z.infer<typeof session>;

const stored = z.object({
  /** Where the last login was: the default of all commands. */
  current: z.string().nullable(),
  sessions: z.record(z.string(), session),
});

/** The logins at each address, in one file of the user's, mode 0600. */
export interface SessionStore {
  readonly file: string;
  /** The address of the last login, or null. */
  current(): Promise<string | null>;
  get(url: string): Promise<StoredSession | null>;
  /** Null forgets it. */
  set(url: string, session: StoredSession | null): Promise<void>;
  /** Runs alone among all that use this file: a refresh token is good once. */
  alone<Result>(work: () => Promise<Result>): Promise<Result>;
}

/** Longer than a refresh may take. */
const LOCK_WAIT_MS = 40_000;

/** Reports a failure to save with a way out. */
async function explained<Result>(folder: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!["EACCES", "EROFS", "EPERM", "ENOTDIR", "EEXIST", "ENOSPC"].includes(systemCodeOf(error) ?? "")) throw error;
    throw new Error(
      `Your session cannot be kept in ${folder} (${messageOf(error)}). Set XDG_CONFIG_HOME to a folder of yours, or give a token by TOOLYARD_TOKEN.`,
      { cause: error },
    );
  }
}

/** @param folder Made, for its owner alone, when something is kept. */
export function createSessionStore({ folder }: { folder: string }): SessionStore {
  const file = join(folder, "sessions.json");

  async function read(): Promise<z.infer<typeof stored>> {
    const nobody = { current: null, sessions: {} };
    try {
      const parsed = stored.safeParse(JSON.parse(await readFile(file, "utf8")));
      return parsed.success ? parsed.data : nobody;
    } catch (error) {
      // Its whole content can be had again by logging in.
      if (systemCodeOf(error) === "ENOENT" || error instanceof SyntaxError) return nobody;
      throw error;
    }
  }

  return {
    file,
    current: async () => (await explained(folder, read)).current,
    get: async (url) => (await explained(folder, read)).sessions[url] ?? null,
    set: (url, kept) =>
      explained(folder, async () => {
        const { [url]: _before, ...others } = (await read()).sessions;
        const sessions = kept === null ? others : { ...others, [url]: kept };
        await mkdir(folder, { recursive: true, mode: 0o700 });
        const temporary = `${file}.${randomUUID()}`;
        try {
          const handle = await open(temporary, "wx", 0o600);
          {
            await using _closing = { [Symbol.asyncDispose]: () => handle.close() };
            await handle.writeFile(`${JSON.stringify({ current: kept === null ? null : url, sessions }, null, 2)}\n`);
          }
          await rename(temporary, file);
        } finally {
          await rm(temporary, { force: true });
        }
      }),
    async alone(work) {
      const lock = await explained(folder, () => lockFolder(folder, { waitMs: LOCK_WAIT_MS }));
      try {
        return await work();
      } finally {
        lock.release();
      }
    },
  };
}
