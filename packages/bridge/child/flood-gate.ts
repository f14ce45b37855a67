import type { Readable } from "node:stream";
import type { LineLog } from "./line-log.ts";

/**
 * Bounds the log lines of one stream of a server: each second a number of lines are taken, further ones are left out
 * and counted, and then no more is read. A server that prints without end thus waits for its pipe, as for any slow
 * reader, and neither fills the disk nor keeps the bridge from its calls.
 */
export interface FloodGate {
  /** Whether to log a line of that many characters. */
  admits(characters: number): boolean;
  /** The server ended: the rest of the pipe is read, and nothing waits any more. */
  open(): void;
}

const WINDOW_MS = 1_000;
const MAX_LOGGED = 1_000;
const MAX_READ = 20_000;
const MAX_CHARACTERS = 4 * 1024 * 1024;

/** `onLeftOut` is called after each second in which lines were left out. */
export function createFloodGate(options: {
  /** Null: its reader is held back by other means. */
  stream: Readable | null;
  onLeftOut: (lines: number) => void;
}): FloodGate {
  const { stream, onLeftOut } = options;
  let lines = 0;
  let leftOut = 0;
  let characters = 0;
  let timer: NodeJS.Timeout | null = null;
  let isOpen = false;

  function nextWindow(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const told = leftOut;
    lines = 0;
    leftOut = 0;
    characters = 0;
    if (told > 0) onLeftOut(told);
    stream?.resume();
  }

  return {
    admits(length) {
      lines += 1;
      const isAdmitted = lines <= MAX_LOGGED && characters <= MAX_CHARACTERS;
      if (!isAdmitted) leftOut += 1;
      characters += length;
      if (!isOpen) {
        timer ??= setTimeout(nextWindow, WINDOW_MS);
        if (lines > MAX_READ || characters > MAX_CHARACTERS) stream?.pause();
      }
      return isAdmitted;
    },
    open() {
      isOpen = true;
      nextWindow();
    },
  };
}

/** A log that takes only what the gate admits. */
export function withGate(log: LineLog, gate: FloodGate): LineLog {
  return {
    write(stream, text) {
      if (gate.admits(text.length)) log.write(stream, text);
    },
  };
}
