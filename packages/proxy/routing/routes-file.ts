import { open, rename, type FileHandle } from "node:fs/promises";
import { setImmediate as nextTurn } from "node:timers/promises";
import { systemCodeOf, type Sealer } from "@toolyard/service-kit";
import { routeTableSchema, type RouteTable } from "@toolyard/routes";
import type { Applied } from "./routes.ts";

/**
 * The route table on disk, sealed, mode 0600: what a proxy begins with until the control plane answers. A line for each part of the
 * table and each change since, so that a change costs what it is and not what the table is; now and then it is written anew. It may lack the
 * last moments, which the control plane tells again.
 */
export interface RoutesFile {
  /** What `Routes.apply` takes, in order. Ends early where a line does not open or is not whole. */
  read(): AsyncGenerator<RouteTable>;
  /** Notes what came of `Routes.apply`, to be written a moment later. */
  note(table: RouteTable, applied: Applied): void;
  /** Writes what is noted. */
  flush(): Promise<void>;
  /** Writes what is noted, and closes. */
  close(): Promise<void>;
}

const WRITE_AFTER_MS = 100;
/** It is written anew when the changes in it take more than this, and more than the table did. */
const MIN_CHANGES_BYTES = 256 * 1024;
const CONTEXT = "routes.json";

/** @param options.parts The table as it is, as `Routes.parts` gives it. */
export function createRoutesFile(options: {
  path: string;
  sealer: Sealer;
  parts: () => Iterable<RouteTable> | null;
  onError: (error: unknown) => void;
}): RoutesFile {
  const { path, sealer, parts, onError } = options;
  let file: FileHandle | null = null;
  let tableBytes = 0;
  let changesBytes = 0;
  let noted: RouteTable[] = [];
  /** What is on disk does not lead to the table that there is: it is written anew, not added to. */
  let isStale = true;
  let timer: NodeJS.Timeout | null = null;
  let writing: Promise<void> = Promise.resolve();

  const lineOf = (table: RouteTable): string => `${sealer.seal(JSON.stringify(table), CONTEXT)}\n`;

  async function append(): Promise<void> {
    if (!file) return;
    const changes = noted;
    noted = [];
    for (const table of changes) {
      const line = lineOf(table);
      await file.appendFile(line);
      changesBytes += line.length;
    }
    await file.datasync();
  }

  /** In a file of its own until it is whole. A proxy that is still draining may write the same: the last to do so has the name. */
  async function rewrite(table: Iterable<RouteTable>): Promise<void> {
    // What is noted from here on is added behind it, whether it is in it or not.
    noted = [];
    isStale = false;
    await release();
    const next = `${path}.${process.pid}.next`;
    const handle = await open(next, "w", 0o600);
    try {
      tableBytes = changesBytes = 0;
      for (const part of table) {
        const line = lineOf(part);
        await handle.appendFile(line);
        tableBytes += line.length;
        await nextTurn();
      }
      await handle.datasync();
      await rename(next, path);
    } catch (error) {
      await handle.close();
      throw error;
    }
    file = handle;
  }

  async function release(): Promise<void> {
    const handle = file;
    file = null;
    await handle?.close();
  }

  async function write(): Promise<void> {
    try {
      const isLong = changesBytes > Math.max(MIN_CHANGES_BYTES, tableBytes);
      const table = file === null || isStale || isLong ? parts() : null;
      if (table) await rewrite(table);
      if (noted.length > 0) await append();
    } catch (error) {
      isStale = true;
      onError(error);
    }
  }

  async function flush(): Promise<void> {
    if (timer) {
      clearTimeout(timer);
      timer = null;
      writing = writing.then(write);
    }
    await writing;
  }

  return {
    async *read() {
      const handle = await openIfThere(path);
      if (!handle) return;
      try {
        for await (const line of handle.readLines()) {
          const table = parseLine(line, sealer);
          if (!table) return;
          yield table;
        }
      } finally {
        await handle.close();
      }
    },
    note(table, applied) {
      if (applied === "NOTHING") return;
      if (applied === "TABLE") isStale = true;
      else if (table.routes.length + table.removed.length > 0) noted.push(table);
      else return;
      timer ??= setTimeout(() => void flush(), WRITE_AFTER_MS).unref();
    },
    flush,
    async close() {
      await flush();
      await release();
    },
  };
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return null;
    throw error;
  }
}

/** Null for what another version or credential wrote, and for what is damaged. */
function parseLine(line: string, sealer: Sealer): RouteTable | null {
  try {
    const parsed = routeTableSchema.safeParse(JSON.parse(sealer.open(line, CONTEXT)));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}
