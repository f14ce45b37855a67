import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The variables that name servers which keep data in DATA_DIR's place. */
export type DataServer = "DATABASE_URL" | "MONGODB_URL";

/** The folder in DATA_DIR that has a file for each server which keeps data of it, by the name of its variable. */
const NOTES = "servers";

/** What an installation does that is to have no MongoDB any more. */
export const WITHOUT_MONGODB =
  "To go on without MongoDB, make a backup with it (`npm run backup`) and restore that without it.";

export const noteOf = (dataDir: string, server: DataServer): string => join(dataDir, NOTES, server);

export const isNoted = (dataDir: string, server: DataServer): boolean => existsSync(noteOf(dataDir, server));

/** Notes that a server keeps data of DATA_DIR: without its variable nothing starts there any more. */
export async function noteServer(dataDir: string, server: DataServer): Promise<void> {
  if (isNoted(dataDir, server)) return;
  await mkdir(join(dataDir, NOTES), { recursive: true, mode: 0o700 });
  const text = `The server of ${server} keeps data of this DATA_DIR. While this file is here, Toolyard does not start without ${server}.\n`;
  await writeFile(noteOf(dataDir, server), text, { mode: 0o600, flush: true });
}
