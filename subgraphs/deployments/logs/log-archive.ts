import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ReplicaLogLine } from "@toolyard/runtimes/runtime.ts";
import { systemCodeOf } from "@toolyard/service-kit";
import { z } from "zod";

/** The last output of ended processes, kept when the runtime forgets them. Below DATA_DIR, where no sandboxed replica can write. */
export interface LogArchive {
  /** Keeps the lines of a process, under its name, once. Known secrets must be hidden in them already. */
  keep(of: ArchivedProcess, lines: readonly ReplicaLogLine[]): Promise<void>;
  /** The last `last` lines of a deployment's ended processes, oldest first, without those in `except`, which still have theirs. */
  readLast(
    deploymentId: string,
    options: { last: number; replicaId: string | null; except: ReadonlySet<string> },
  ): Promise<ArchivedLine[]>;
  /** Removes logs that are too old, then the oldest beyond the size limit. Ends early when `signal` aborts. @returns how many */
  trim(signal?: AbortSignal): Promise<number>;
}

interface ArchivedProcess {
  deploymentId: string;
  replicaId: string;
  /** Of the process: never used again. */
  name: string;
}

export interface ArchivedLine extends ReplicaLogLine {
  replicaId: string;
}

/** As many as can be asked for at once. */
export const MAX_LINES = 1_000;
/** Of one process; in characters of JSON, the newest lines first. */
const MAX_PROCESS_CHARACTERS = 1_048_576;
/** A replica that ends again and again must not take the place of others. */
const MAX_DEPLOYMENT_BYTES = 16 * 1_048_576;
const MAX_DEPLOYMENT_PROCESSES = 64;
const MAX_BYTES = 256 * 1_048_576;

const archivedLine = z.object({
  at: z.number(),
  stream: z.enum(["STDOUT", "STDERR", "SYSTEM"]),
  text: z.string(),
});
const FILE = /^([a-z0-9-]+)\.([0-9a-z-]+)\.(\d+)\.jsonl$/i;

interface ArchivedFile {
  path: string;
  name: string;
  replicaId: string;
  /** When it was kept: all of its lines are older. */
  at: number;
  bytes: number;
}

export function createLogArchive(options: {
  /** A folder of its own, made when it is needed. */
  root: string;
  /** 0: nothing is kept. */
  retentionMs: number;
  now: () => number;
  maxBytes?: number;
}): LogArchive {
  const { root, retentionMs, now, maxBytes = MAX_BYTES } = options;
  /** Of all files; null until they were counted. */
  let total: number | null = null;
  let writing: Promise<unknown> = Promise.resolve();

  /** Writes one after the other; lines beyond the limit are counted. */
  function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = writing.then(work);
    writing = result.catch(() => undefined);
    return result;
  }

  async function remove(files: readonly ArchivedFile[]): Promise<void> {
    for (const { path, bytes } of files) {
      await rm(path, { force: true });
      if (total !== null) total -= bytes;
    }
  }

  async function trim(signal?: AbortSignal): Promise<number> {
    const all: ArchivedFile[] = [];
    let removed = 0;
    for (const deploymentId of await entriesOf(root)) {
      if (signal?.aborted) return removed;
      const files = await filesOf(join(root, deploymentId));
      const young = files.filter(({ at }) => at > now() - retentionMs);
      await remove(files.filter((file) => !young.includes(file)));
      removed += files.length - young.length;
      if (young.length === 0) await rm(join(root, deploymentId), { recursive: true, force: true });
      all.push(...young);
    }
    total = sizeOf(all);
    const oldest = beyond(all, { maxBytes, maxFiles: Infinity });
    await remove(oldest);
    return removed + oldest.length;
  }

  return {
    keep: ({ deploymentId, replicaId, name }, lines) =>
      inTurn(async () => {
        const text = newestOf(lines);
        if (retentionMs === 0 || text === "") return;
        const folder = join(root, deploymentId);
        await mkdir(folder, { recursive: true, mode: 0o700 });
        const path = join(folder, `${name}.${replicaId}.${now()}.jsonl`);
        const draft = `${path}.draft`;
        try {
          await writeFile(draft, text, { mode: 0o600 });
          await rename(draft, path);
        } catch (error) {
          // A full disk needs the room.
          await rm(draft, { force: true });
          throw error;
        }
        const files = await filesOf(folder);
        if (total !== null) total += Buffer.byteLength(text);
        await remove(files.filter((file) => file.name === name && file.path !== path));
        await remove(beyond(files, { maxBytes: MAX_DEPLOYMENT_BYTES, maxFiles: MAX_DEPLOYMENT_PROCESSES }));
        if (total === null || total > maxBytes) await trim();
      }),
    async readLast(deploymentId, { last, replicaId, except }) {
      const files = (await filesOf(join(root, deploymentId)))
        .filter((file) => replicaId === null || file.replicaId === replicaId)
        .filter((file) => !except.has(file.name) && file.at > now() - retentionMs)
        .toSorted((a, b) => b.at - a.at);
      let lines: ArchivedLine[] = [];
      for (const file of files) {
        // Nothing that was kept before then is among the last.
        if (lines.length >= last && file.at < (lines[0]?.at ?? 0)) break;
        lines = [...(await linesOf(file)), ...lines].toSorted((a, b) => a.at - b.at).slice(-last);
      }
      return lines;
    },
    trim: (signal) => inTurn(() => trim(signal)),
  };
}

/** As JSON, a line each; no more than one process may have. */
function newestOf(lines: readonly ReplicaLogLine[]): string {
  const kept: string[] = [];
  let characters = 0;
  for (const { at, stream, text } of lines.slice(-MAX_LINES).toReversed()) {
    const line = `${JSON.stringify({ at, stream, text })}\n`;
    characters += line.length;
    if (characters > MAX_PROCESS_CHARACTERS) break;
    kept.unshift(line);
  }
  return kept.join("");
}

/** The oldest logs beyond the limit. */
function beyond(files: readonly ArchivedFile[], most: { maxBytes: number; maxFiles: number }): ArchivedFile[] {
  let left = 0;
  return files
    .toSorted((a, b) => b.at - a.at)
    .filter(({ bytes }, index) => {
      left += bytes;
      return left > most.maxBytes || index >= most.maxFiles;
    });
}

function sizeOf(files: readonly ArchivedFile[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

async function filesOf(folder: string): Promise<ArchivedFile[]> {
  const files: ArchivedFile[] = [];
  for (const entry of await entriesOf(folder)) {
    const [, name, replicaId, at] = FILE.exec(entry) ?? [];
    const path = join(folder, entry);
    const bytes = (await stat(path).catch(absent))?.size;
    if (name !== undefined && replicaId !== undefined && bytes !== undefined)
      files.push({ path, name, replicaId, at: Number(at), bytes });
  }
  return files;
}

async function linesOf({ path, replicaId }: ArchivedFile): Promise<ArchivedLine[]> {
  // It may be trimmed just now.
  const text = (await readFile(path, "utf8").catch(absent)) ?? "";
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => ({ ...archivedLine.parse(JSON.parse(line)), replicaId }));
}

async function entriesOf(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(absent)) ?? [];
}

function absent(error: unknown): null {
  if (systemCodeOf(error) === "ENOENT" || systemCodeOf(error) === "ENOTDIR") return null;
  throw error;
}
