import { randomUUID } from "node:crypto";
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { z } from "zod";
import { outputsOf } from "./orphans.ts";
import { readRecords, recordPaths, type ReplicaRecord } from "./replica-records.ts";

/** The name by which a DATA_DIR's replicas are known, and the folder that it was made for. */
const claim = z.object({ ownerId: z.string().regex(/^[A-Za-z0-9-]+$/), folder: z.string() });

/**
 * Whose replicas those of this DATA_DIR are: the folder's itself. One that was moved is the same folder and finds its replicas again. A copy, such
 * as a restored backup, is another, whatever lies in it: the replicas that its records tell of are the original's.
 * To be called by whoever has the folder locked.
 */
export function claimFolder(dataDir: string): string {
  const folder = identityOf(dataDir);
  const file = join(dataDir, "owner");
  const found = readClaim(file);
  if (found?.folder === folder) return found.ownerId;
  // Of before there were claims: its replicas tell by whose name they run.
  const ownerId = (found === null ? ownerOfReplicas(dataDir) : null) ?? randomUUID();
  const draft = `${file}.${randomUUID()}`;
  writeFileSync(draft, `${JSON.stringify({ ownerId, folder })}\n`, { mode: 0o600 });
  renameSync(draft, file);
  return ownerId;
}

/**
 * The folder wherever it is called from, by links or other mounts. The number alone is given again once a folder is removed, the time of its making
 * not. A device may have another number after a reboot: no replica is left then that could be lost.
 */
function identityOf(dataDir: string): string {
  const { dev, ino, birthtimeNs } = statSync(dataDir, { bigint: true });
  return `${dev}/${ino}/${birthtimeNs}`;
}

function readClaim(file: string): z.infer<typeof claim> | null {
  try {
    return claim.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT" || error instanceof SyntaxError || error instanceof z.ZodError) return null;
    throw error;
  }
}

function ownerOfReplicas(dataDir: string): string | null {
  const root = join(dataDir, "replicas");
  return readRecords(root, () => undefined).find((record) => writesInto(root, record))?.ownerId ?? null;
}

/** Whether the replica's output goes to files of this folder, and not of one that this is a copy of. */
function writesInto(root: string, { name, pid, ended }: ReplicaRecord): boolean {
  if (pid === null || ended !== null) return false;
  const { stdout, stderr } = recordPaths(root, name);
  return outputsOf(pid).some((path) => path === stdout || path === stderr);
}
