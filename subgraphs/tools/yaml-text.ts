import { badInput, inWords, type Problem } from "@toolyard/service-kit";
import { LineCounter, isNode, isScalar, parseDocument, visit, type Document } from "yaml";
import type { z } from "zod";

/** Of YAML's aliases, by which a small file could be a huge value. */
const MAX_ALIASES = 20;
/** Of brackets, and of markers in one line: the parser takes long before it gives up on more. */
const MAX_DEPTH = 200;
const MARKERS = new RegExp(`^ *(?:[-?] +){${MAX_DEPTH}}`, "m");
/** Such as one with the names of all keys that are unknown. */
const MAX_MESSAGE = 500;

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
  if (isDeep(text)) throw badFile([nestedTooDeeply(at, 1)]);
  let document: Document.Parsed;
  let value: unknown;
  try {
    // Its own search for keys that come twice compares each with each.
    document = parseDocument(text, { lineCounter: lines, logLevel: "error", prettyErrors: false, uniqueKeys: false });
    const [error] = document.errors;
    if (error) throw Object.assign(new Error(error.message), { line: lineAt(error.pos[0]) });
    const twice = repeatedKeyOf(document);
    if (twice !== null) throw Object.assign(new Error("Map keys must be unique"), { line: lineAt(twice) });
    value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    throw badFile([notYaml(error, at)]);
  }
  const parsed = schema.safeParse(value ?? {}, { error: inWords });
  if (parsed.success) return parsed.data;
  throw badFile(
    parsed.error.issues.map(({ path, message }) => ({
      path: [at, ...path].filter((part) => part !== "").join("."),
      message: message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message,
      line: lineAt(offsetOf(document, path)),
    })),
  );
}

const badFile = (problems: FileProblem[]) => badInput(problems);

function notYaml(error: unknown, at: string): FileProblem {
  const { message = "", line = 1 } = error instanceof Error ? (error as Error & { line?: number }) : {};
  if (/call stack/i.test(message)) return nestedTooDeeply(at, line);
  // Its further lines quote the file, which may have a secret.
  return {
    path: at,
    message: `is not YAML: ${(message.split("\n")[0] ?? "").replace(/:$/, "")}, in line ${line}`,
    line,
  };
}

const nestedTooDeeply = (path: string, line: number): FileProblem => ({ path, message: "is nested too deeply", line });

/** Counts brackets in texts and comments, too: nobody has that many there, either. */
function isDeep(text: string): boolean {
  let depth = 0;
  for (const [bracket] of text.matchAll(/[[\]{}]/g)) {
    depth = Math.max(0, depth + (bracket === "[" || bracket === "{" ? 1 : -1));
    if (depth > MAX_DEPTH) return true;
  }
  return MARKERS.test(text);
}

/** Where the first key is that its map has already; null where there is none. */
function repeatedKeyOf(document: Document.Parsed): number | null {
  let found: number | null = null;
  visit(document, {
    Map(_key, { items }) {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        if (seen.has(key.value)) {
          found = key.range?.[0] ?? 0;
          return visit.BREAK;
        }
        seen.add(key.value);
      }
      return undefined;
    },
  });
  return found;
}

/** Where the value of a path is, or the nearest one that it would be in. */
function offsetOf(document: Document.Parsed, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const node: unknown = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return 0;
}
