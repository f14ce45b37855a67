import { markedBy } from "../process/replica-log.ts";
import type { ReplicaLogLine } from "../runtime.ts";

/** A longer line is cut: it is for people to read. */
const LINE_MAX_CHARACTERS = 64 * 1024;
const HEADER_BYTES = 8;
const STAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) /;

/**
 * Reads what engines send of a container's output with `timestamps`: frames of eight bytes for the stream and the length, and the text, in which
 * each line, or each piece of a long one, begins with its time.
 */
export function createOutputReader(logKey: string | null): {
  /** The lines that are whole now. */
  read(chunk: Buffer): ReplicaLogLine[];
  /** The output's last text, without a line's end. */
  end(): ReplicaLogLine[];
} {
  /** Bytes that came and are in no frame yet; joined once it makes one, since a frame may be many chunks long. */
  let waiting: Buffer[] = [];
  let wanted = HEADER_BYTES;
  const partial = { STDOUT: emptyLine(), STDERR: emptyLine() };

  /** What a bridge has marked is told as the bridge tells it. */
  const toLine = (stream: "STDOUT" | "STDERR", partialLine: PartialLine): ReplicaLogLine => {
    const line = plainLine(stream, partialLine);
    return (logKey !== null && stream === "STDOUT" && markedBy(logKey, line.text)) || line;
  };

  function addFrame(stream: "STDOUT" | "STDERR", text: string, lines: ReplicaLogLine[]): void {
    const line = partial[stream];
    const pieces = text.split("\n");
    for (const [index, piece] of pieces.entries()) {
      const isLast = index === pieces.length - 1;
      if (isLast && piece === "") continue;
      const stamp = STAMP.exec(piece);
      line.at ??= stamp?.[1] === undefined ? null : Date.parse(stamp[1]);
      const added = piece.slice(stamp?.[0].length ?? 0);
      line.length += added.length;
      if (line.text.length < LINE_MAX_CHARACTERS) line.text += added.slice(0, LINE_MAX_CHARACTERS - line.text.length);
      if (isLast) continue;
      lines.push(toLine(stream, line));
      Object.assign(line, emptyLine());
    }
  }

  return {
    read(chunk) {
      waiting.push(chunk);
      const lines: ReplicaLogLine[] = [];
      if (waiting.reduce((bytes, { length }) => bytes + length, 0) < wanted) return lines;
      const all = Buffer.concat(waiting);
      let at = 0;
      for (;;) {
        wanted = HEADER_BYTES + (all.length - at < HEADER_BYTES ? 0 : all.readUInt32BE(at + 4));
        if (all.length - at < wanted) break;
        addFrame(all[at] === 2 ? "STDERR" : "STDOUT", all.toString("utf8", at + HEADER_BYTES, at + wanted), lines);
        at += wanted;
      }
      waiting = [all.subarray(at)];
      return lines;
    },
    end: () =>
      (["STDOUT", "STDERR"] as const).flatMap((stream) =>
        partial[stream].length === 0 ? [] : [toLine(stream, partial[stream])],
      ),
  };
}

interface PartialLine {
  at: number | null;
  text: string;
  /** Of all of it, in characters. */
  length: number;
}

const emptyLine = (): PartialLine => ({ at: null, text: "", length: 0 });

function plainLine(stream: "STDOUT" | "STDERR", { at, text, length }: PartialLine): ReplicaLogLine {
  const whole = length > text.length ? `${text}… (${length} characters)` : text.replace(/\r$/, "");
  return { at: at ?? Date.now(), stream, text: whole };
}
