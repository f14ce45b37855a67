import { unwatchFile, watchFile } from "node:fs";

/** Files that are looked at, one set after the other. */
export interface FileWatch {
  /** Looks at these from now on, and at no others. */
  follow(files: Iterable<string>): void;
  close(): void;
}

/**
 * Calls back when a file has changed, came or went. Looks at the files themselves and not at their folders' notices: those do not come from
 * every file system, and not for a link that is pointed elsewhere, as Kubernetes does with what it mounts.
 */
export function createFileWatch(options: { onChange: () => void; intervalMs: number }): FileWatch {
  const { onChange, intervalMs } = options;
  const followed = new Set<string>();
  // Its own: others in this process may watch the same file.
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
        watchFile(file, { interval: intervalMs, persistent: false }, listener);
        followed.add(file);
      }
    },
    close() {
      this.follow([]);
    },
  };
}
