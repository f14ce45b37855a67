import {
  appendFileSync,
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";

/** A line and where it begins, in bytes since this file was first opened, rotations counted. */
export interface RawLine {
  position: number;
  text: string;
  /** Epoch milliseconds at which it was there at the latest. */
  seenAt: number;
}

/**
 * One file that a replica appends to by itself (O_APPEND), and its predecessor. Rotated by copying and truncating,
 * because the writer holds the file open and must not be told.
 */
export interface LogFile {
  /**
   * Notes how far the file is now, so that lines without a time get one; rotates it when it has grown too far.
   * @returns By how many bytes it grew since the last time.
   * @throws the system's error; `isHeld` where the replica does not let go of the file.
   */
  observe(now: number): number;
  /** The last `last` lines, oldest first, of what rotation would keep; an unfinished last line counts. */
  readLast(last: number): RawLine[];
  /** Some lines from `position` on, and the position of the next. An unfinished last line only when `final`. */
  readFrom(position: number, final: boolean): { lines: RawLine[]; next: number };
  /** Where the next byte goes. */
  end(): number;
}

/** Size at which a replica's log is rotated: a file of this size and its predecessor are kept of each of its outputs. */
export const ROTATE_AT_BYTES = 5 * 1024 * 1024;
const CHUNK_BYTES = 64 * 1024;
const READ_AT_ONCE_BYTES = 128 * 1024;
/** A longer line is cut: it is for people to read. */
const LINE_MAX_BYTES = 64 * 1024;
const MARKS_KEPT = 512;
/** In sizes at which a file is rotated: what the rotated file and this one usually have together, and then some. */
const MAX_READ_IN_FILES = 4;
const NEWLINE = 0x0a;

export function createLogFile(options: { path: string; maxBytes: number }): LogFile {
  const { path, maxBytes } = options;
  const olderPath = `${path}.1`;
  let olderBytes = sizeOf(olderPath);
  /** Position of the current file's first byte. */
  let base = olderBytes;
  /** Up to where the output went at which time; rising. */
  const seen: { end: number; at: number }[] = [];

  const end = (): number => base + sizeOf(path);

  const timeOf = (position: number): number => {
    // The first mark past the line's beginning. The list is short and mostly asked about its end.
    let found: number | null = null;
    for (let index = seen.length - 1; index >= 0; index--) {
      const mark = seen[index];
      if (!mark || mark.end <= position) break;
      found = mark.at;
    }
    // The file system's clock may be some milliseconds behind: a line is not older than those before it.
    return found ?? Math.max(modifiedAt(path) ?? Date.now(), seen.at(-1)?.at ?? 0);
  };

  const rotate = (): void => {
    const source = openUnlessAbsent(path);
    if (source === null) return;
    try {
      let size = fstatSync(source).size;
      // Only the newest part is kept; the line that is cut in half by that goes too.
      const from = Math.max(0, size - maxBytes);
      let kept = readFully(source, from, size - from);
      if (from > 0) kept = kept.subarray(kept.indexOf(NEWLINE) + 1);
      writeFileSync(olderPath, kept, { mode: 0o600 });
      olderBytes = kept.length;
      // Output that came meanwhile, unless it floods in. Output of the microseconds between the last read and the truncation is lost.
      while (olderBytes < 2 * maxBytes) {
        const added = readFully(source, size, Math.min(fstatSync(source).size - size, maxBytes));
        if (added.length === 0) break;
        appendFileSync(olderPath, added);
        olderBytes += added.length;
        size += added.length;
      }
      ftruncateSync(source);
      base += size;
    } finally {
      closeSync(source);
    }
  };

  /** Bytes of both files by position; fewer at the end, none before what is kept. */
  const readAt = (position: number, length: number): Buffer => {
    const older = position < base;
    const file = openIfFree(older ? olderPath : path);
    if (file === null) return Buffer.alloc(0);
    try {
      const offset = older ? position - (base - olderBytes) : position - base;
      return readFully(file, offset, older ? Math.min(length, base - position) : length);
    } finally {
      closeSync(file);
    }
  };

  const toLine = (position: number, bytes: Buffer): RawLine => {
    const cut = bytes.length > LINE_MAX_BYTES;
    const text = (cut ? bytes.subarray(0, LINE_MAX_BYTES) : bytes).toString("utf8").replace(/\r$/, "");
    return { position, text: cut ? `${text}… (${bytes.length} bytes)` : text, seenAt: timeOf(position) };
  };

  const splitLines = (position: number, bytes: Buffer, final: boolean): { lines: RawLine[]; next: number } => {
    const lines: RawLine[] = [];
    let start = 0;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, start)) {
      lines.push(toLine(position + start, bytes.subarray(start, at)));
      start = at + 1;
    }
    if (final && start < bytes.length) {
      lines.push(toLine(position + start, bytes.subarray(start)));
      start = bytes.length;
    }
    return { lines, next: position + start };
  };

  return {
    end,
    observe(now) {
      const position = end();
      const grown = position - (seen.at(-1)?.end ?? position);
      if (position !== (seen.at(-1)?.end ?? -1)) {
        seen.push({ end: position, at: now });
        if (seen.length > MARKS_KEPT) seen.shift();
      }
      if (position - base > maxBytes) rotate();
      return grown;
    },
    readLast(last) {
      const upTo = end();
      // The replica can make its file as long as it likes, also without a byte on the disk.
      const oldest = Math.max(base - olderBytes, upTo - MAX_READ_IN_FILES * maxBytes);
      let from = upTo;
      let newlines = 0;
      // One newline more than lines: the one that ends the line before the first wanted.
      while (from > oldest && newlines <= last) {
        const start = Math.max(oldest, from - CHUNK_BYTES);
        for (const byte of readAcross(readAt, base, start, from)) if (byte === NEWLINE) newlines++;
        from = start;
      }
      return last <= 0 ? [] : splitLines(from, readAcross(readAt, base, from, upTo), true).lines.slice(-last);
    },
    readFrom(position, final) {
      const from = Math.max(position, base - olderBytes);
      const upTo = Math.min(end(), from + READ_AT_ONCE_BYTES);
      if (upTo <= from) return { lines: [], next: from };
      // A line longer than what is read at once is given in pieces, so that reading goes on.
      const full = upTo - from === READ_AT_ONCE_BYTES;
      const bytes = readAcross(readAt, base, from, upTo);
      return splitLines(from, bytes, final || (full && !bytes.includes(NEWLINE)));
    },
  };
}

function readAcross(
  readAt: (position: number, length: number) => Buffer,
  base: number,
  from: number,
  to: number,
): Buffer {
  if (from >= base || to <= base) return readAt(from, to - from);
  return Buffer.concat([readAt(from, base - from), readAt(base, to - base)]);
}

function readFully(file: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const read = readSync(file, bytes, filled, length - filled, offset + filled);
    if (read === 0) break;
    filled += read;
  }
  return bytes.subarray(0, filled);
}

/**
 * Never waits: a replica holds its file open, owns it, and may have taken a lease on it (`man 2 fcntl`), on which others wait
 * for most of a minute, each time.
 */
function openUnlessAbsent(path: string): number | null {
  try {
    return openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return null;
    throw error;
  }
}

function openIfFree(path: string): number | null {
  try {
    return openUnlessAbsent(path);
  } catch (error) {
    if (isHeld(error)) return null;
    throw error;
  }
}

/** Whether a file cannot be opened because a replica has a lease on it. */
export function isHeld(error: unknown): boolean {
  return systemCodeOf(error) === "EAGAIN";
}

/** Adds a line; it is lost where the replica does not let go of the file. */
export function appendLine(path: string, line: string): void {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
  let file: number;
  try {
    file = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0o600);
  } catch (error) {
    if (isHeld(error)) return;
    throw error;
  }
  try {
    writeFileSync(file, line);
  } finally {
    closeSync(file);
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function modifiedAt(path: string): number | null {
  const status = statSync(path, { throwIfNoEntry: false });
  return status ? Math.round(status.mtimeMs) : null;
}
