import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { statusOf } from "./paths.ts";
import { removeTree } from "./tree-removal.ts";

/** What one replica keeps over restarts. */
export interface Kept {
  /** Seen as the home folder, in a sandbox. */
  home: string;
  /** Has npm and uv keep what they fetch in its folders. */
  environment: Record<string, string>;
  /** All that it writes to, `home` too. */
  folders: string[];
}

/**
 * Home folders and package caches, outside of replicas' own folders because they outlive a process. What one user's
 * replicas fetch is never read by another user's: a cache holds programs. uv locks its cache; npm (before 11.6) does not
 * lock the folder that `npx` installs into, so each replica has its own, and those of one user share only npm's store of
 * packages, which is addressed by content.
 */
export interface ReplicaStorage {
  /** Makes the folders. `user` is whose deployment it is. */
  prepare(user: string, replicaId: string): Kept;
  /** What only this replica writes to. */
  ownFolder(replicaId: string): string;
  /** What all replicas of a user write to. */
  sharedFolder(user: string): string;
  /** Removes what is one replica's alone. */
  remove(replicaId: string): Promise<void>;
}

export function createReplicaStorage(options: {
  /** Absolute path. */
  root: string;
  hostEnv: Record<string, string | undefined>;
}): ReplicaStorage {
  const { root, hostEnv } = options;
  const ownFolder = (replicaId: string): string => join(root, "replicas", folderName(replicaId));
  const sharedFolder = (user: string): string => join(root, "users", folderName(user));
  return {
    ownFolder,
    sharedFolder,
    prepare(user, replicaId) {
      const own = ownFolder(replicaId);
      const shared = sharedFolder(user);
      const [home, npm, store] = [join(own, "home"), join(own, "npm"), join(shared, "npm")];
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
      const link = join(npm, "_cacache");
      if (!lstatSync(link, { throwIfNoEntry: false })) symlinkSync(store, link);
      return { home, environment, folders };
    },
    remove: (replicaId) => removeTree(ownFolder(replicaId)),
  };
}

/** Ids come from other services: whatever is in them, they name one folder. */
function folderName(id: string): string {
  return createHash("sha256").update(id).digest("hex").slice(0, 32);
}
