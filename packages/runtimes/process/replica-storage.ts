import { createHash } from "node:crypto";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
} from "node:fs";
import { join, relative } from "node:path";
import type { ReplicaSpec } from "../runtime.ts";
import { statusOf } from "./paths.ts";
import { isBeingRemoved, removeTree } from "./tree-removal.ts";

type Whose = Pick<ReplicaSpec, "userId" | "deploymentId" | "replicaId">;

/** The storage that one replica keeps over restarts. */
interface Kept {
  /** Seen as the home folder, in a sandbox. */
  home: string;
  /** Has npm and uv keep what they fetch in its folders. */
  environment: Record<string, string>;
  /** All that it writes to, `home` too. */
  folders: string[];
}

/**
 * Home folders and package caches, outside of replicas' own folders because they outlive a process. Caches hold programs, and whoever writes to one has
 * a say in what is run from it: each deployment has its own, for all its replicas, which run the same. uv locks its cache; npm (before 11.6) does not
 * lock the folder that `npx` installs into, so each replica has its own of these.
 */
export interface ReplicaStorage {
  /** Makes the folders. */
  prepare(whose: Whose): Kept;
  /** Folders to which only this replica writes. */
  ownFolders(replicaId: string): string[];
  /** Where the caches of a user's deployments are. */
  cachesOf(user: string): string;
  /** Removes the storage that only this replica uses. Its deployment may be started again, for which the cache stays. */
  remove(whose: Whose): Promise<void>;
  /** Removes the caches of deployments that none of `present` belongs to and that were not used since `before`, or are empty (both epoch ms). */
  removeUnused(present: readonly Whose[], at: { now: number; before: number }): Promise<void>;
  /** The folders in which all of that lies. */
  parents(): string[];
}

export function createReplicaStorage(options: {
  /** The folder of homes, where servers keep data. Absolute path. */
  homes: string;
  /** Where the caches are: their contents can be fetched again. Absolute path. */
  caches: string;
  hostEnv: Record<string, string | undefined>;
}): ReplicaStorage {
  const { homes, caches, hostEnv } = options;
  const homeOf = (replicaId: string): string => join(homes, folderName(replicaId));
  const cacheOf = (replicaId: string): string => join(caches, "replicas", folderName(replicaId));
  const ownFolders = (replicaId: string): string[] => [homeOf(replicaId), cacheOf(replicaId)];
  const users = join(caches, "users");
  const cachesOf = (user: string): string => join(users, folderName(user));
  const sharedFolder = ({ userId, deploymentId }: Whose): string => join(cachesOf(userId), folderName(deploymentId));
  return {
    ownFolders,
    cachesOf,
    prepare(whose) {
      const { replicaId } = whose;
      const own = cacheOf(replicaId);
      const shared = sharedFolder(whose);
      const [home, npm, store] = [homeOf(replicaId), join(own, "npm"), join(shared, "npm")];
      // Where an earlier version had it.
      const earlier = join(own, "home");
      if (statusOf(earlier) && !statusOf(home)) {
        mkdirSync(homes, { recursive: true, mode: 0o700 });
        renameSync(earlier, home);
      }
      const environment: Record<string, string> = {
        npm_config_cache: npm,
        UV_CACHE_DIR: join(shared, "uv"),
        // `uvx` opens it even where it installs nothing there.
        UV_TOOL_DIR: join(shared, "uv-tools"),
      };
      // Pythons that uv has already are used where they are; it can only fetch one where it may write.
      const pythons = hostEnv["UV_PYTHON_INSTALL_DIR"] ?? join(hostEnv["HOME"] ?? "/", ".local/share/uv/python");
      if (!statusOf(pythons)) {
        environment["UV_PYTHON_INSTALL_DIR"] = join(shared, "uv-python");
      }
      const folders = [home, store, ...Object.values(environment)];
      for (const folder of folders) mkdirSync(folder, { recursive: true, mode: 0o700 });
      // Relative: in a copy it must not lead to the original's.
      linkTo(relative(npm, store), join(npm, "_cacache"));
      noteUse(shared);
      return { home, environment, folders };
    },
    async remove(whose) {
      if (statusOf(sharedFolder(whose))) noteUse(sharedFolder(whose));
      await Promise.all(ownFolders(whose.replicaId).map(removeTree));
    },
    async removeUnused(present, { now, before }) {
      const used = new Set(present.flatMap((each) => [cachesOf(each.userId), sharedFolder(each)]));
      for (const user of foldersIn(users)) {
        for (const folder of foldersIn(user)) {
          // An earlier version had one cache for all of a user's replicas.
          const isUsed = used.has(OF_DEPLOYMENT.test(folder) ? folder : user);
          const limit = isEmpty(folder) ? Math.max(before, now - STARTING_MS) : before;
          if (!isUsed && (statusOf(folder)?.mtimeMs ?? 0) < limit) await removeTree(folder);
        }
      }
    },
    parents: () => [homes, join(caches, "replicas"), users, ...foldersIn(users)],
  };
}

function linkTo(target: string, link: string): void {
  const found = lstatSync(link, { throwIfNoEntry: false });
  if (found?.isSymbolicLink() && readlinkSync(link) !== target) unlinkSync(link);
  else if (found) return;
  symlinkSync(target, link);
}

/** A replica that is being started has used its caches by then, or is present. */
const STARTING_MS = 60_000;

/** Whether nothing was ever fetched into a deployment's caches. */
function isEmpty(folder: string): boolean {
  return foldersIn(folder).every((cache) => statusOf(cache)?.isDirectory() && readdirSync(cache).length === 0);
}

const OF_DEPLOYMENT = /\/[0-9a-f]{32}$/;

function noteUse(folder: string): void {
  const now = new Date();
  utimesSync(folder, now, now);
}

function foldersIn(folder: string): string[] {
  const names = statusOf(folder) ? readdirSync(folder).filter((name) => !isBeingRemoved(name)) : [];
  return names.map((name) => join(folder, name));
}

/** Ids come from other services: whatever is in them, they name one folder. */
function folderName(id: string): string {
  return createHash("sha256").update(id).digest("hex").slice(0, 32);
}
