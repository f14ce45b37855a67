/** Splits a byte stream into lines without ever holding more than one line of bounded length. */
export interface LineSplitter {
  push(chunk: Buffer): void;
  /** Hands out what remains without a line break at the end of the stream. */
  end(): void;
}

export interface LineSplitterOptions {
  /** Longest line, in bytes. */
  maxBytes: number;
  onLine: (line: string) => void;
  /** A line was longer. Called once for it; the rest of that line is dropped. */
  onOverflow: () => void;
}

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

export function createLineSplitter(options: LineSplitterOptions): LineSplitter {
  const { maxBytes, onLine, onOverflow } = options;
  let parts: Buffer[] = [];
  let held = 0;
  let skipping = false;

  function emit(bytes: Buffer): void {
    const end = bytes.length > 0 && bytes[bytes.length - 1] === carriageReturn ? bytes.length - 1 : bytes.length;
    if (end > 0) onLine(bytes.toString("utf8", 0, end));
  }

  function overflow(): void {
    parts = [];
    held = 0;
    onOverflow();
  }

  return {
    push(chunk) {
      let start = 0;
      while (start < chunk.length) {
        const at = chunk.indexOf(lineFeed, start);
        const end = at === -1 ? chunk.length : at;
        if (!skipping) {
          if (held + end - start > maxBytes) {
            skipping = at === -1;
            overflow();
          } else if (at === -1) {
            parts.push(chunk.subarray(start));
            held += end - start;
          } else if (held === 0) emit(chunk.subarray(start, end));
          else {
            parts.push(chunk.subarray(start, end));
            const line = Buffer.concat(parts);
            parts = [];
            held = 0;
            emit(line);
          }
        } else if (at !== -1) skipping = false;
        start = end + 1;
      }
    },
    end() {
      const rest = Buffer.concat(parts);
      parts = [];
      held = 0;
      if (!skipping && rest.length > 0) emit(rest);
    },
  };
}
