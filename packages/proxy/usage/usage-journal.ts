import { open, mkdir, readFile, readdir, rename, stat, unlink, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { newId, systemCodeOf, type Logger } from "@toolyard/service-kit";
import type { ClientInfo } from "../mcp/client-info.ts";
import type { McpFailure } from "../mcp/answer-outcome.ts";

/** One call, as `recordUsage` takes it. */
export interface UsageRecord {
  /** RFC 3339, when it began. */
  at: string;
  toolId: string;
  deploymentId: string;
  /** A template such as `/mcp/{slug}/v1/mcp`; never a caller's text. */
  endpoint: string;
  method: string;
  mcpMethod: string | null;
  mcpTool: string | null;
  /** Whether the server listed it. Null when only the outcome of this call tells. */
  mcpToolKnown: boolean | null;
  statusCode: number;
  mcpFailure: McpFailure | null;
  responseTimeMs: number;
  userId: string | null;
  client: ClientInfo | null;
  /** The API key that the caller has used. */
  apiKeyId: string | null;
}

/**
 * Usage on disk until the control plane has it. Records go to the file of the batch that is open within `writeEveryMs`, so that a killed
 * process loses next to none; a batch is sealed (and synced) when it is full or old enough. Its id is its file's name, for good.
 */
export interface UsageJournal {
  record(record: UsageRecord): void;
  /** Ids of sealed batches, the oldest first. */
  sealed(): readonly string[];
  /** The JSON of a UsageBatchInput, as bytes: as text it would be copied several times over. Null for a batch that holds nothing. */
  readBatch(id: string): Promise<Buffer | null>;
  /** The control plane has it. */
  removeBatch(id: string): Promise<void>;
  /** The control plane will never take it: set aside and counted. */
  refuseBatch(id: string): Promise<void>;
  /** `waiting`: records in memory, for which the disk has no room. */
  stats(): { batches: number; bytes: number; dropped: number; waiting: number };
  /** Writes and seals the open batch. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface UsageJournalOptions {
  directory: string;
  /** Past this many bytes on disk, records are dropped and counted. */
  maxBytes: number;
  batchRecords?: number;
  batchMs?: number;
  writeEveryMs?: number;
  onSealed: () => void;
  logger: Logger;
}

/** Records that wait in memory for a disk that does not keep up, or is full. */
const MAX_WAITING = 50_000;
/** Room for the lines that are written at once, bytes. */
const CHUNK_BYTES = 64 * 1024;
/** The most bytes that UTF-8 takes for a UTF-16 code unit. */
const BYTES_A_UNIT = 3;
/** How soon a disk is tried again that took nothing. */
const RETRY_MS = 1_000;
const NEWLINE = 0x0a;
const COMMA = 0x2c;
const NAME = /^([0-9a-f-]{36})\.(open|batch)$/;

/** Lines of a batch. Bytes, since texts that wait would be copied by young collections, and then wait for an old one. */
interface Chunk {
  bytes: Buffer;
  length: number;
  records: number;
}

/** Opens the journal; batches of an earlier run are there again. */
export async function openUsageJournal(options: UsageJournalOptions): Promise<UsageJournal> {
  const { directory, maxBytes, batchRecords = 500, batchMs = 1_000, writeEveryMs = 20, onSealed, logger } = options;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const batches = new Map<string, { bytes: number; records: number }>();
  let bytes = 0;
  let dropped = 0;
  let waiting: Chunk[] = [];
  let waitingRecords = 0;
  /** Of a chunk that was written. */
  let spare: Buffer | null = null;
  let current: { id: string; file: FileHandle; records: number; bytes: number; openedAt: number } | null = null;
  let working: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | null = null;
  let warnedAt = -Infinity;
  let isRefusing = false;

  for (const file of (await readdir(directory)).toSorted()) {
    const [, id, state] = NAME.exec(file) ?? [];
    if (id === undefined) continue;
    // Left open by a process that was killed.
    if (state === "open") await rename(join(directory, file), pathOf(id, "batch"));
    const size = (await stat(pathOf(id, "batch"))).size;
    batches.set(id, { bytes: size, records: 0 });
    bytes += size;
  }

  function pathOf(id: string, state: "open" | "batch" | "refused"): string {
    return join(directory, `${id}.${state}`);
  }

  function drop(count: number, reason: string, error?: unknown): void {
    dropped += count;
    if (performance.now() - warnedAt < 60_000) return;
    warnedAt = performance.now();
    logger.warn({ dropped, reason, err: error }, "usage records are dropped");
  }

  function schedule(afterMs: number): void {
    timer ??= setTimeout(
      () => {
        timer = null;
        void enqueue(false);
      },
      isRefusing ? RETRY_MS : afterMs,
    ).unref();
  }

  function enqueue(seals: boolean): Promise<void> {
    working = working.then(() => work(seals));
    return working;
  }

  /** Writes waiting records; seals the batch when it is full, old, or asked for. Never rejects: records that cannot be written go on waiting. */
  async function work(seals: boolean): Promise<void> {
    for (let chunk = waiting.shift(); chunk; chunk = waiting.shift()) {
      if (current && current.records + chunk.records > batchRecords) await seal();
      try {
        await append(chunk);
      } catch (error) {
        waiting = [chunk, ...waiting];
        if (!isRefusing) logger.warn({ err: error }, "usage records wait in memory: the disk does not take them");
        isRefusing = true;
        await abandon();
        schedule(RETRY_MS);
        return;
      }
      if (isRefusing) logger.info("usage records are written again");
      isRefusing = false;
      waitingRecords -= chunk.records;
      if (chunk.bytes.length === CHUNK_BYTES) spare = chunk.bytes;
      if (current && current.records >= batchRecords) await seal();
    }
    if (!current) return;
    const age = performance.now() - current.openedAt;
    if (seals || age >= batchMs) await seal();
    else schedule(batchMs - age);
  }

  async function append({ bytes: lines, length, records }: Chunk): Promise<void> {
    if (!current) {
      const id = newId();
      current = {
        id,
        file: await open(pathOf(id, "open"), "wx", 0o600),
        records: 0,
        bytes: 0,
        openedAt: performance.now(),
      };
    }
    await current.file.appendFile(lines.subarray(0, length));
    current.records += records;
    current.bytes += length;
    bytes += length;
  }

  function wait(line: string): void {
    const most = line.length * BYTES_A_UNIT + 1;
    let chunk = waiting.at(-1);
    if (!chunk || chunk.records === batchRecords || chunk.bytes.length - chunk.length < most) {
      const bytes = most <= CHUNK_BYTES && spare ? spare : Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, most));
      if (bytes === spare) spare = null;
      chunk = { bytes, length: 0, records: 0 };
      waiting.push(chunk);
    }
    chunk.length += chunk.bytes.write(line, chunk.length);
    chunk.bytes[chunk.length] = NEWLINE;
    chunk.length += 1;
    chunk.records += 1;
    waitingRecords += 1;
  }

  async function seal(): Promise<void> {
    if (!current) return;
    const { id, file, records, bytes: size } = current;
    current = null;
    try {
      await file.datasync();
      await file.close();
      await rename(pathOf(id, "open"), pathOf(id, "batch"));
      batches.set(id, { bytes: size, records });
      onSealed();
    } catch (error) {
      // It stays as it is on disk and is found at the next start.
      logger.warn({ err: error, batch: id }, "a batch of usage could not be sealed");
    }
  }

  /** After a failed write: earlier records are good, and parts of later ones are removed. */
  async function abandon(): Promise<void> {
    if (!current) return;
    const { id, file, bytes: size, records } = current;
    await file.truncate(size).catch((error: unknown) => logger.debug({ err: error }, "a batch was not shortened"));
    if (records > 0) return seal();
    current = null;
    await file.close().catch((error: unknown) => logger.debug({ err: error }, "a failed batch did not close"));
    await unlink(pathOf(id, "open")).catch((error: unknown) => logger.debug({ err: error }, "a failed batch stays"));
  }

  function forget(id: string): void {
    bytes -= batches.get(id)?.bytes ?? 0;
    batches.delete(id);
  }

  return {
    record(record) {
      if (bytes >= maxBytes || waitingRecords >= MAX_WAITING) return drop(1, "the spool is full");
      wait(JSON.stringify(record));
      if (waitingRecords === batchRecords && !isRefusing) void enqueue(false);
      else schedule(writeEveryMs);
    },
    sealed: () => [...batches.keys()],
    async readBatch(id) {
      let lines: Buffer;
      try {
        lines = await readFile(pathOf(id, "batch"));
      } catch (error) {
        if (systemCodeOf(error) === "ENOENT") return null;
        throw error;
      }
      // A line without its end was being written when the process was killed.
      const whole = lines.subarray(0, Math.max(0, lines.lastIndexOf(NEWLINE)));
      if (whole.length === 0) return null;
      // JSON escapes newlines in its strings, so that each newline byte stands between two records.
      for (let at = whole.indexOf(NEWLINE); at !== -1; at = whole.indexOf(NEWLINE, at + 1)) whole[at] = COMMA;
      return Buffer.concat([Buffer.from(`{"id":"${id}","records":[`), whole, Buffer.from("]}")]);
    },
    async removeBatch(id) {
      forget(id);
      await unlink(pathOf(id, "batch"));
    },
    async refuseBatch(id) {
      dropped += batches.get(id)?.records ?? 0;
      forget(id);
      await rename(pathOf(id, "batch"), pathOf(id, "refused"));
    },
    stats: () => ({ batches: batches.size, bytes, dropped, waiting: isRefusing ? waitingRecords : 0 }),
    flush: () => enqueue(true),
    async close() {
      if (timer) clearTimeout(timer);
      timer = null;
      await enqueue(true);
      if (timer) clearTimeout(timer);
      if (waitingRecords > 0) drop(waitingRecords, "the disk does not take them");
    },
  };
}
