import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { collectBytes } from "@toolyard/service-kit/http/byte-collector.ts";
import { UsageError } from "./usage-error.ts";

/** A command's output and questions. */
export interface Terminal {
  /** One line, or several, for the reader of the command's result. */
  print(text: string): void;
  /** Progress, for people only: it goes to stderr. */
  say(text: string): void;
  /** Exactly this, as JSON or a token is. */
  write(text: string): void;
  /** All of stdin. @throws UsageError when it is a terminal, which would wait for ever. */
  readInput(what: string): Promise<string>;
  /** A line typed without being shown. @throws UsageError when nobody is there to type. */
  askHidden(question: string): Promise<string>;
  readonly isInteractive: boolean;
}

const MAX_INPUT_BYTES = 1_048_576;
const INTERRUPTED = "\u0003";
const END_OF_INPUT = "\u0004";

type Input = Readable & { isTTY?: boolean; setRawMode?: (on: boolean) => unknown };

export function createTerminal(streams: { stdin: Input; stdout: Writable; stderr: Writable }): Terminal {
  const { stdin, stdout, stderr } = streams;
  const isInteractive = stdin.isTTY === true;
  return {
    isInteractive,
    print: (text) => void stdout.write(`${printable(text)}\n`),
    say: (text) => void stderr.write(`${printable(text)}\n`),
    write: (text) => void stdout.write(text),
    async readInput(what) {
      if (isInteractive) throw new UsageError(`${what} is read from stdin, which is a terminal here: pipe it in.`);
      const tooLong = () => new UsageError(`${what} on stdin is longer than ${MAX_INPUT_BYTES} bytes.`);
      // A process's stdin without an encoding yields bytes.
      return (await collectBytes(stdin as AsyncIterable<Buffer>, MAX_INPUT_BYTES, tooLong)).toString("utf8");
    },
    async askHidden(question) {
      if (!isInteractive) throw new UsageError(`There is no terminal to ask for ${question}.`);
      // Before the prompt: characters typed from then on are not shown.
      stdin.setRawMode?.(true);
      stderr.write(`${printable(question)}: `);
      try {
        return await readHidden(stdin);
      } finally {
        stdin.setRawMode?.(false);
        stdin.pause();
        stderr.write("\n");
      }
    },
  };
}

async function readHidden(stdin: Input): Promise<string> {
  let typed = "";
  stdin.resume();
  for (;;) {
    const [chunk] = (await once(stdin, "data")) as [Buffer];
    for (const character of chunk.toString("utf8")) {
      if (character === "\r" || character === "\n" || character === END_OF_INPUT) return typed;
      if (character === INTERRUPTED) throw new UsageError("Nothing was entered.");
      typed = character === "\u007f" || character === "\b" ? typed.slice(0, -1) : typed + character;
    }
  }
}

/** A server's text may hold sequences that move a terminal's cursor, rename its window or type into it. */
function printable(text: string): string {
  return text.replaceAll("\r\n", "\n").replaceAll(/(?![\n\t])[\p{Cc}\p{Bidi_Control}]/gu, "\uFFFD");
}

/** Rows in columns as wide as their longest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows.reduce<number[]>(
    (found, row) => row.map((cell, index) => Math.max(found[index] ?? 0, cell.length)),
    [],
  );
  return rows
    .map((row) =>
      row
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
