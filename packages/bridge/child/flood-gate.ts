import type { Readable } from "node:stream";

/**
 * Bounds what one stream of a server puts into the log: in each second so many lines are taken, so many more are left out
 * and counted, and then nothing more is read. A server that prints without end so waits for its pipe, as for any slow
 * reader, and neither fills the disk nor keeps the bridge from its calls.
 */
export interface FloodGate {
  /** Whether a line of so many characters is to be logged. */
  admits(characters: number): boolean;
  /** The server ended: what is in the pipe is read, and nothing waits any more. */
  open(): void;
}

const windowMs = 1_000;
const maxLogged = 1_000;
const maxRead = 20_000;
const maxCharacters = 4 * 1024 * 1024;

/** `onLeftOut` is told, after each second, of lines that were. */
export function createFloodGate(options: { stream: Readable; onLeftOut: (lines: number) => void }): FloodGate {
  const { stream, onLeftOut } = options;
  let lines = 0;
  let characters = 0;
  let timer: NodeJS.Timeout | null = null;
  let isOpen = false;

  function nextWindow(): void {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    const leftOut = lines - maxLogged;
    lines = 0;
    characters = 0;
    if (leftOut > 0) onLeftOut(leftOut);
    stream.resume();
  }

  return {
    admits(length) {
      lines += 1;
      characters += length;
      if (!isOpen) {
        timer ??= setTimeout(nextWindow, windowMs);
        if (lines > maxRead || characters > maxCharacters) stream.pause();
      }
      return lines <= maxLogged;
    },
    open() {
      isOpen = true;
      nextWindow();
    },
  };
}
