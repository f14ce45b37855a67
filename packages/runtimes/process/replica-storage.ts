import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readlinkSync, renameSync, symlinkSync, unlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { statusOf } from "./paths.ts";
import { removeTree } from "./tree-removal.ts";

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
 * Home folders and package caches, outside of replicas' own folders because they outlive a process. Replicas of one user
 * never read the cache of another user's: it holds programs. uv locks its cache; npm (before 11.6) does not
 * lock the folder that `npx` installs into, so each replica has its own, and those of one user share only npm's store of
 * packages, which is addressed by content.
 */
export interface ReplicaStorage {
  /** Makes the folders. `user` is whose deployment it is. */
  prepare(user: string, replicaId: string): Kept;
  /** Folders to which only this replica writes. */
  ownFolders(replicaId: string): string[];
  /** Folders to which all replicas of a user write. */
  sharedFolder(user: string): string;
  /** Removes the storage that only this replica uses. */
  remove(replicaId: string): Promise<void>;
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
  const sharedFolder = (user: string): string => join(caches, "users", folderName(user));
  return {
    ownFolders,
    sharedFolder,
    prepare(user, replicaId) {
      const own = cacheOf(replicaId);
      const shared = sharedFolder(user);
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
      return { home, environment, folders };
    },
    async remove(replicaId) {
      await Promise.all(ownFolders(replicaId).map(removeTree));
    },
  };
}

function linkTo(target: string, link: string): void {
  const found = lstatSync(link, { throwIfNoEntry: false });
  if (found?.isSymbolicLink() && readlinkSync(link) !== target) unlinkSync(link);
  else if (found) return;
  symlinkSync(target, link);
}

/** Ids come from other services: whatever is in them, they name one folder. */
function folderName(id: string): string {
  return createHash("sha256").update(id).digest("hex").slice(0, 32);
}
