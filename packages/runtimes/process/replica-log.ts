import { timingSafeEqual } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { markOf, printLine } from "@toolyard/bridge/child/line-log.ts";
import { z } from "zod";
import type { LogsFrom, ReplicaLogLine } from "../runtime.ts";
import { appendLine, createLogFile } from "./log-file.ts";
import type { LogFile, RawLine } from "./log-file.ts";

/** A line of a log on standard output that Toolyard wrote: its bridge, or the runtime. All other output is taken as it is. */
const markedLine = z.object({
  at: z.number(),
  stream: z.enum(["STDOUT", "STDERR", "SYSTEM"]),
  text: z.string(),
  mark: z.string(),
});

/** One replica's output on both streams, by time. */
export interface ReplicaLog {
  /** To be called now and then: gives times to lines that have none, and rotates. @returns Bytes since the last time. */
  observe(now: number): number;
  /** Adds a SYSTEM line of the runtime's own. */
  note(at: number, text: string): void;
  readLast(last: number): ReplicaLogLine[];
  /** Lines from there on until `signal` aborts or `isOver` says that no more will come and all were given. */
  follow(options: {
    signal: AbortSignal;
    isOver: () => boolean;
    pollMs: number;
    from: LogsFrom;
  }): AsyncIterable<ReplicaLogLine>;
}

export function createReplicaLog(options: {
  stdout: string;
  stderr: string;
  /** Of the lines that are Toolyard's own words: see `markOf`. */
  key: string;
  /** Size at which a stream's file is rotated; one rotated file is kept beside it. */
  maxBytes: number;
}): ReplicaLog {
  const { key, maxBytes } = options;
  const stdout = createLogFile({ path: options.stdout, maxBytes });
  const stderr = createLogFile({ path: options.stderr, maxBytes });

  const toLine = (stream: "STDOUT" | "STDERR", raw: RawLine): ReplicaLogLine => {
    const parsed = stream === "STDOUT" ? markedBy(key, raw.text) : null;
    return parsed ?? { at: raw.seenAt, stream, text: raw.text };
  };
  const merge = (out: RawLine[], err: RawLine[]): ReplicaLogLine[] =>
    [...out.map((raw) => toLine("STDOUT", raw)), ...err.map((raw) => toLine("STDERR", raw))].toSorted(
      (one, other) => one.at - other.at,
    );

  return {
    observe: (now) => stdout.observe(now) + stderr.observe(now),
    note(at, text) {
      appendLine(options.stdout, printLine({ at, stream: "SYSTEM", text }, key));
    },
    readLast: (last) => (last <= 0 ? [] : merge(stdout.readLast(last), stderr.readLast(last)).slice(-last)),
    async *follow({ signal, isOver, pollMs, from }) {
      const next = from === "START" ? { stdout: 0, stderr: 0 } : { stdout: stdout.end(), stderr: stderr.end() };
      const read = (file: LogFile, stream: "stdout" | "stderr", final: boolean): RawLine[] => {
        const { lines, next: position } = file.readFrom(next[stream], final);
        next[stream] = position;
        return lines;
      };
      while (!signal.aborted) {
        // Asked before reading: what was written before it was over is still read.
        const over = isOver();
        const lines = merge(read(stdout, "stdout", over), read(stderr, "stderr", over));
        for (const line of lines) {
          if (signal.aborted) return;
          yield line;
        }
        if (lines.length > 0) continue;
        if (over) return;
        await pause(pollMs, signal);
      }
    },
  };
}

/** The line, if it is not one that a replica printed to pass for Toolyard's words. */
export function markedBy(key: string, text: string): ReplicaLogLine | null {
  if (!text.startsWith("{")) return null;
  try {
    const { mark, ...line } = markedLine.parse(JSON.parse(text));
    const [given, own] = [Buffer.from(mark), Buffer.from(markOf(key, line))];
    return given.length === own.length && timingSafeEqual(given, own) ? line : null;
  } catch {
    // Some other text that begins like one: shown as it is.
    return null;
  }
}

/** Resolves after `ms` or when `signal` aborts, whichever is first. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal, ref: false });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
