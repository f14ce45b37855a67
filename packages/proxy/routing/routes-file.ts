import { open, rename, rm, type FileHandle } from "node:fs/promises";
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { systemCodeOf, type Sealer } from "@toolyard/service-kit";
import { routeTableSchema, type RouteTable } from "@toolyard/routes";
import type { Applied } from "./routes.ts";

/**
 * The route table on disk, sealed, mode 0600: a proxy begins with it until the control plane answers. It has a line for each part of the
 * table and each change since, so that a write costs as much as the change and not as the table; now and then it is written anew. It may lack the
 * last moments, which the control plane sends again.
 */
export interface RoutesFile {
  /** The arguments of `Routes.apply`, in order. Ends early at a line that does not open or is not whole. */
  read(): AsyncGenerator<RouteTable>;
  /** Queues the outcome of `Routes.apply`, to be written a moment later. */
  note(table: RouteTable, applied: Applied): void;
  /** Writes the queued lines. */
  flush(): Promise<void>;
  /** Writes the queued lines, and closes. */
  close(): Promise<void>;
}

const WRITE_AFTER_MS = 100;
/** After a failure, as of a full disk. */
const RETRY_MS = 5_000;
/** It is written anew when the changes in it take more than this, and more than the table did. */
const MIN_CHANGES_BYTES = 256 * 1024;
const CONTEXT = "routes.json";

/** @param options.parts The current table, as of `Routes.parts`. */
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
  /** The file does not lead to the current table: it is written anew, not added to. */
  let isStale = true;
  let isFailing = false;
  let isClosed = false;
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

  /** Written to a temporary file until it is whole. A proxy that is still draining may do the same: the last one gets the name. */
  async function rewrite(table: Iterable<RouteTable>): Promise<void> {
    // Lines queued from here on are appended, even if their change is in it already.
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
        await yieldToEventLoop();
      }
      await handle.datasync();
      await rename(next, path);
    } catch (error) {
      await handle.close();
      await rm(next, { force: true });
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
      isFailing = false;
    } catch (error) {
      isStale = true;
      if (!isFailing) onError(error);
      isFailing = true;
      if (!isClosed) writeAfter(RETRY_MS);
    }
  }

  function writeAfter(ms: number): void {
    timer ??= setTimeout(() => void flush(), ms).unref();
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
      writeAfter(WRITE_AFTER_MS);
    },
    flush,
    async close() {
      isClosed = true;
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

/** Null for a line of another version or credential, and for a damaged one. */
function parseLine(line: string, sealer: Sealer): RouteTable | null {
  try {
    const parsed = routeTableSchema.safeParse(JSON.parse(sealer.open(line, CONTEXT)));
    return parsed.success ? parsed.data : null;
  } catch {
    return null;
  }
}
