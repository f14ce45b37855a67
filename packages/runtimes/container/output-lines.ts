import { markedBy } from "../process/replica-log.ts";
import type { ReplicaLogLine } from "../runtime.ts";

/** A longer line is cut: it is for people to read. */
const LINE_MAX_CHARACTERS = 64 * 1024;
const STAMP = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) /;

/** Makes lines of one stream of a container's output, in which each line, or each piece of a long one, begins with its time. */
export interface OutputLines {
  /** The lines that are whole now. `text` begins where a line or a piece of one does. */
  add(text: string): ReplicaLogLine[];
  /** The output's last text, without a line's end. */
  end(): ReplicaLogLine[];
}

/** @param logKey Of lines that its bridge prints, which are told as the bridge tells them; null where it has none */
export function createOutputLines(stream: "STDOUT" | "STDERR", logKey: string | null): OutputLines {
  let line = emptyLine();

  const toLine = (): ReplicaLogLine => {
    const plain = plainLine(stream, line);
    return (logKey !== null && stream === "STDOUT" && markedBy(logKey, plain.text)) || plain;
  };

  return {
    add(text) {
      const lines: ReplicaLogLine[] = [];
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
        lines.push(toLine());
        line = emptyLine();
      }
      return lines;
    },
    end: () => (line.length === 0 ? [] : [toLine()]),
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
