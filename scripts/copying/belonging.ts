import { requireOneInstallation } from "@toolyard/subgraph-host/one-installation.ts";
import { openInstallationMarks, requireNoMongodb } from "@toolyard/storage/installation-mark.ts";
import { takeMysqlMark } from "@toolyard/storage/mysql/installation-mark.ts";
import { noteServer } from "@toolyard/storage/server-notes.ts";
import { connectMongodb, storesOf, type Installation } from "../installation.ts";

/**
 * For commands that only look, or work on what is there: nothing is marked. Those that have files to themselves ask once they have them, since it opens them.
 * @throws ConfigError where the installation's MongoDB is another's, or is not named
 */
export async function requireBelonging(installation: Installation): Promise<void> {
  await using marks = await openInstallationMarks(installation);
  if (!installation.mongodb) {
    await requireNoMongodb(marks);
    return;
  }
  const mongodb = await connectMongodb(installation.mongodb);
  try {
    await requireOneInstallation({ marks, mongodb, adopt: false });
  } finally {
    await mongodb.close();
  }
}

/** Where an installation has its rows before a move: in files, unless a server had them already. */
export function beforeMove(from: Installation, to: Installation): Installation {
  const isMoved = storesOf(from).some(({ isEmbeddedOnly }) => !isEmbeddedOnly);
  return { ...(isMoved ? from : to), mongodb: to.mongodb };
}

/**
 * Marks servers, before anything is copied to them, as those of one installation; files whose rows go to a database hand theirs on.
 * @param from Null where they have none: a backup is of no installation
 * @throws ConfigError where one belongs to another
 */
export async function beginBelonging(from: Installation | null, to: Installation): Promise<void> {
  if (!to.mongodb) return;
  const mongodb = await connectMongodb(to.mongodb);
  try {
    if (from && to.database && !beforeMove(from, to).database) {
      await using marks = await openInstallationMarks(from);
      await requireOneInstallation({ marks, mongodb });
      await takeMysqlMark(to.database, (await marks.begin()).id);
    }
    await using marks = await openInstallationMarks(to);
    await requireOneInstallation({ marks, mongodb });
  } finally {
    await mongodb.close();
  }
}

/** Notes that servers have all that was copied to them: without them nothing starts from here on. */
export async function noteBelonging(to: Installation): Promise<void> {
  if (to.database) await noteServer(to.dataDir, "DATABASE_URL");
  if (!to.mongodb) return;
  await using marks = await openInstallationMarks(to);
  await marks.pair();
  // Documents were files of DATA_DIR.
  await noteServer(to.dataDir, "MONGODB_URL");
}
