import { unwatchFile, watchFile } from "node:fs";

/** How often files are looked at. */
const CHECK_MS = 500;
/** How long they must rest: their writer may not be done, or may write several. */
export const SETTLE_MS = 100;

/** Watches files, one set after the other. */
export interface FileWatch {
  /** Watches these from now on, and no others. */
  follow(files: Iterable<string>): void;
  close(): void;
}

/**
 * Calls back when a file has changed, came or went. Checks the files themselves rather than notices of their folders: those do not come
 * from every file system, nor for a link that is pointed elsewhere, as Kubernetes does with its mounts.
 */
export function createFileWatch({ onChange }: { onChange: () => void }): FileWatch {
  const followed = new Set<string>();
  // A watcher of its own: others in this process may watch the same file.
  const listener = () => onChange();
  return {
    follow(files) {
      const wanted = new Set(files);
      for (const file of followed) {
        if (wanted.has(file)) continue;
        unwatchFile(file, listener);
        followed.delete(file);
      }
      for (const file of wanted) {
        if (followed.has(file)) continue;
        watchFile(file, { interval: CHECK_MS, persistent: false }, listener);
        followed.add(file);
      }
    },
    close() {
      this.follow([]);
    },
  };
}
