import { ByteCollector } from "@toolyard/service-kit/http/byte-collector.ts";

// Not node:readline, which keeps a line whole however long it is.
/** Splits a byte stream into lines without ever holding more than one line of bounded length. */
export interface LineSplitter {
  push(chunk: Buffer): void;
  /** Hands out the rest without a line break at the end of the stream. */
  end(): void;
}

/** Reads a line that is too long to be kept, part by part. */
export interface Overflow {
  see(bytes: Buffer): void;
}

export interface LineSplitterOptions<Watched extends Overflow> {
  /** Longest line, in bytes. */
  maxBytes: number;
  onLine: (line: string) => void;
  /** A line that was too long has ended. `watched` is the result of `watch` for it. */
  onOverflow: (watched: Watched | null) => void;
  /** Receives the bytes of a line that is too long, which are not kept. Null: they are dropped. */
  watch?: () => Watched;
}

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

export function createLineSplitter<Watched extends Overflow = Overflow>(
  options: LineSplitterOptions<Watched>,
): LineSplitter {
  const { maxBytes, onLine, onOverflow, watch } = options;
  const held = new ByteCollector();
  let skipping = false;
  let watched: Watched | null = null;

  function emit(bytes: Buffer, start: number, to: number): void {
    const end = to > start && bytes[to - 1] === CARRIAGE_RETURN ? to - 1 : to;
    if (end > start) onLine(bytes.toString("utf8", start, end));
  }

  function emitHeld(): void {
    const line = held.take();
    emit(line, 0, line.length);
  }

  function skip(): void {
    skipping = true;
    watched = watch?.() ?? null;
    const beginning = held.take();
    if (beginning.length > 0) watched?.see(beginning);
  }

  function skipped(): void {
    const seen = watched;
    skipping = false;
    watched = null;
    onOverflow(seen);
  }

  return {
    push(chunk) {
      let start = 0;
      while (start < chunk.length) {
        const at = chunk.indexOf(LINE_FEED, start);
        const end = at === -1 ? chunk.length : at;
        if (!skipping && held.length + end - start > maxBytes) skip();
        if (skipping) {
          watched?.see(chunk.subarray(start, end));
          if (at !== -1) skipped();
        } else if (at !== -1 && held.length === 0) emit(chunk, start, end);
        else {
          held.add(chunk.subarray(start, end));
          if (at !== -1) emitHeld();
        }
        start = end + 1;
      }
    },
    end() {
      if (skipping) skipped();
      else emitHeld();
    },
  };
}
