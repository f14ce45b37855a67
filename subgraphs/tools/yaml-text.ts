import { badInput, inWords, type Problem } from "@toolyard/service-kit";
import { LineCounter, isNode, parseDocument, type Document } from "yaml";
import type { z } from "zod";

/** Of YAML's aliases, by which a small file could be a huge value. */
const MAX_ALIASES = 20;

/** What is wrong with a file, and in which of its lines, from 1. */
export interface FileProblem extends Problem {
  line: number;
}

/**
 * A value in a file of YAML, by a zod schema.
 * @throws ToolyardError BAD_USER_INPUT with FileProblems as its problems; their paths are within the file, below `at`
 */
export function parseYaml<Schema extends z.ZodType>(schema: Schema, text: string, at: string): z.output<Schema> {
  const lines = new LineCounter();
  const lineAt = (offset: number) => Math.max(1, lines.linePos(offset).line);
  let document: Document.Parsed;
  let value: unknown;
  try {
    document = parseDocument(text, { lineCounter: lines, logLevel: "error", prettyErrors: false });
    const [error] = document.errors;
    if (error) throw Object.assign(new Error(error.message), { line: lineAt(error.pos[0]) });
    value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    throw badFile([notYaml(error, at)]);
  }
  const parsed = schema.safeParse(value ?? {}, { error: inWords });
  if (parsed.success) return parsed.data;
  throw badFile(
    parsed.error.issues.map(({ path, message }) => ({
      path: [at, ...path].filter((part) => part !== "").join("."),
      message,
      line: lineAt(offsetOf(document, path)),
    })),
  );
}

const badFile = (problems: FileProblem[]) => badInput(problems);

function notYaml(error: unknown, at: string): FileProblem {
  if (error instanceof RangeError) return { path: at, message: "is nested too deeply", line: 1 };
  const { message = "", line = 1 } = error instanceof Error ? (error as Error & { line?: number }) : {};
  // Its further lines quote the file, which may have a secret.
  return {
    path: at,
    message: `is not YAML: ${(message.split("\n")[0] ?? "").replace(/:$/, "")}, in line ${line}`,
    line,
  };
}

/** Where the value of a path is, or the nearest one that it would be in. */
function offsetOf(document: Document.Parsed, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return 0;
}
