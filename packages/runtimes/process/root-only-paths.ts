import { lstatSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";

/**
 * What a sandbox has to cover where Toolyard runs as root. Its replicas have no capability then, but root is still the owner
 * of much: of kernel settings that have the kernel start programs, of the host's password hashes and keys.
 */
export interface RootOnlyPaths {
  /** Of /proc: to be seen, but not written. */
  readOnly: string[];
  /** Not to be seen. */
  hidden: string[];
}

const KERNEL = ["/sys/firmware", "/sys/kernel/debug", "/sys/kernel/security", "/sys/kernel/tracing"];
/** Looked through down to these depths. Elsewhere lies what launches may name. */
const SYSTEM: [folder: string, depth: number][] = [
  ["/boot", 1],
  ["/etc", 3],
  ["/var/backups", 2],
  ["/var/log", 2],
  ["/var/spool", 2],
];
const READ_BY_ALL = 0o004;
const WRITTEN_BY_OWNER = 0o200;

export function rootOnlyPaths(): RootOnlyPaths {
  const proc = entriesOf("/proc").filter(({ name }) => !/^\d+$/.test(name));
  const [open, closed] = [
    proc.filter(({ mode }) => mode & READ_BY_ALL),
    proc.filter(({ mode }) => !(mode & READ_BY_ALL)),
  ];
  return {
    readOnly: open.filter(({ isFolder, mode }) => isFolder || mode & WRITTEN_BY_OWNER).map(({ path }) => path),
    hidden: [
      ...closed.map(({ path }) => path),
      ...KERNEL.filter((path) => lstatSync(path, { throwIfNoEntry: false })),
      ...SYSTEM.flatMap(([folder, depth]) => closedBelow(folder, depth)),
    ],
  };
}

function closedBelow(folder: string, depth: number): string[] {
  return entriesOf(folder).flatMap(({ path, mode, isFolder }) => {
    if (!(mode & READ_BY_ALL)) return [path];
    return isFolder && depth > 1 ? closedBelow(path, depth - 1) : [];
  });
}

/** Files and folders in a folder; no links, which lead to what is judged by itself. */
function entriesOf(folder: string): { name: string; path: string; mode: number; isFolder: boolean }[] {
  try {
    return readdirSync(folder).flatMap((name) => {
      const path = join(folder, name);
      const status = lstatSync(path, { throwIfNoEntry: false });
      if (!status || !(status.isFile() || status.isDirectory())) return [];
      return [{ name, path, mode: status.mode, isFolder: status.isDirectory() }];
    });
  } catch (error) {
    if (systemCodeOf(error) === null) throw error;
    // Not there, or closed to this process: then to its replicas, too.
    return [];
  }
}
