import { jsonProblem } from "@toolyard/service-kit/errors/json-text.ts";
import { parse, printParseErrorCode, type ParseError } from "jsonc-parser";
import { UsageError } from "./usage-error.ts";

/** JSON.parse's third argument to its reviver and JSON.rawJSON are in Node 24, and not yet in TypeScript's library. */
const exact = JSON as unknown as {
  parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
  rawJSON(text: string): unknown;
};

/**
 * Parses JSON so that JSON.stringify writes its numbers as they stood, such as 12345678901234567890 and 1.0.
 * @param what The text's name, for the message.
 * @throws UsageError that says where it is broken
 */
export function parseExactly(text: string, what: string): unknown {
  try {
    return exact.parse(text, (_key, value, { source }) =>
      typeof value === "number" && source !== undefined && String(value) !== source ? exact.rawJSON(source) : value,
    );
  } catch (error) {
    throw new UsageError(`${what} not JSON: ${jsonProblem(text, error)}.`);
  }
}

/** Parses JSON with comments and trailing commas, as editors keep their settings. @throws UsageError as above */
export function parseWithComments(source: string, what: string): unknown {
  const errors: ParseError[] = [];
  // Typed `any` by the library.
  const value: unknown = parse(source.replace(/^\uFEFF/, ""), errors, { allowTrailingComma: true });
  const [error] = errors;
  if (error !== undefined) throw brokenJson(source, error, what);
  return value;
}

function brokenJson(text: string, { error, offset }: ParseError, what: string): UsageError {
  const lines = text.slice(0, offset).split("\n");
  const words = printParseErrorCode(error).replaceAll(/(?<!^)([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
  return new UsageError(
    `${what} not JSON: ${words} at line ${lines.length}, column ${(lines.at(-1) ?? "").length + 1}.`,
  );
}
