/** `npm run restore -- BACKUP`: DATA_DIR of a backup that is verified first. docs/backup.md says more. */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { messageOf, newId, preconditionFailed } from "@toolyard/service-kit";
import { createResealer } from "@toolyard/service-kit/identity/resealing.ts";
import { readSecretKeys } from "@toolyard/service-kit/identity/secret-key.ts";
import { givenSecretKey, parseSecretKeys } from "@toolyard/service-kit/process/process-config.ts";
import { lockMysqlDatabase } from "@toolyard/storage/mysql/server-lock.ts";
import { unopenedIn } from "@toolyard/storage/reseal.ts";
import { restore } from "@toolyard/storage/restore.ts";
import { beginBelonging, noteBelonging, requireBelonging } from "./copying/belonging.ts";
import { copyToServers } from "./copying/copy-to-servers.ts";
import { createProgress } from "./copying/progress.ts";
import { readInstallation, resealStores, storesOf, type Installation } from "./installation.ts";

const USAGE = `Usage: npm run restore -- BACKUP

Verifies the backup by its manifest and makes DATA_DIR of it, which must not be there yet, or be empty.
Where DATABASE_URL or MONGODB_URL are set, these servers take what they keep: their databases are to be empty, and no
process starts on one that has a part of it. With another SECRET_KEY than the backup's, values are sealed with that: SECRET_KEY_PREVIOUS is the backup's then,
unless the backup has it.
`;

/** Has servers take what they keep, in place of the files of a folder. */
async function toServers(to: Installation, folder: string): Promise<void> {
  if (!to.database && !to.mongodb) return;
  const lock = to.database && (await lockMysqlDatabase(to.database));
  try {
    const from = { ...to, dataDir: folder, database: null, mongodb: null };
    const restored = { ...to, dataDir: folder };
    const progress = createProgress(process.stderr);
    await beginBelonging(null, restored);
    await copyToServers({ from, to: restored, source: `restore ${newId()}`, progress, signal });
    await noteBelonging(restored);
    for (const store of storesOf(from))
      if (store.isEmbeddedOnly ? to.mongodb : to.database) await rm(join(folder, `${store.name}.sqlite`));
    say("What servers keep is there, and was compared.");
  } finally {
    await lock?.release();
  }
}

const [backup, ...others] = process.argv.slice(2);
if (backup === undefined || backup.startsWith("-") || others.length > 0) {
  process.stderr.write(USAGE);
  process.exit(2);
}
const say = (line: string) => void process.stdout.write(`${line}\n`);
const stopping = new AbortController();
const { signal } = stopping;
for (const name of ["SIGINT", "SIGTERM"] as const)
  process.on(name, () => stopping.abort(new Error("It was interrupted.")));
try {
  const to = await readInstallation();
  await requireBelonging(to);
  const { dataDir, stores } = to;
  const readKeys = parseSecretKeys(process.env);
  const ownKey = givenSecretKey(process.env);
  const hasKey = existsSync(join(backup, "secret-key"));
  if (ownKey === null && !hasKey && existsSync(backup))
    throw preconditionFailed(
      "secret-key",
      `${backup} has no key: say by SECRET_KEY with which one its values are sealed.`,
    );
  const { completeTo, names } = await restore({
    backup,
    dataDir,
    leaveOut: new Set(ownKey === null ? [] : ["secret-key", "secret-key.previous"]),
    async prepare(folder) {
      const [secretKey, ...previous] = await readKeys(folder);
      const kept = ownKey !== null && hasKey ? await readSecretKeys(resolve(backup)) : [];
      const resealer = createResealer({ secretKey, previousSecretKeys: [...previous, ...kept] });
      const found = await resealStores({ dataDir: folder, database: null, mongodb: null, stores }, resealer, {
        signal,
        say: () => undefined,
      });
      const { opened, resealed } = found;
      const { count, columns } = unopenedIn(found);
      const where = `${count} sealed values (${columns}) open with none of the keys`;
      if (count > 0 && opened === 0)
        throw preconditionFailed(
          "secret-key",
          `${where}: give SECRET_KEY_PREVIOUS the one that they were sealed with.`,
        );
      if (count > 0)
        say(
          `${where}: once SECRET_KEY_PREVIOUS has theirs too, \`npm run rotate-secrets\` seals them with SECRET_KEY.`,
        );
      say(`${opened} sealed values open.`);
      if (resealed > 0) say(`${resealed} values are sealed with SECRET_KEY now.`);
      await toServers(to, folder);
    },
    signal,
    say,
  });
  say(`${dataDir} is restored: ${names.join(", ")}.`);
  say(`Every write that was acknowledged before ${completeTo} is in it.`);
} catch (error) {
  process.stderr.write(`Nothing was restored. ${messageOf(error)}\n`);
  process.exit(1);
}
