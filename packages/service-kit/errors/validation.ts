import type { z } from "zod";
import { badInput } from "./errors.ts";
import { closeAmong } from "./references.ts";

type Issue = z.core.$ZodRawIssue;

/** What is told of one input: a list of a hundred thousand wrong items would be a longer answer than its request. */
const MAX_PROBLEMS = 50;
const MAX_KEYS = 10;
const MAX_KEY_LENGTH = 64;
const MAX_KNOWN = 30;

/** Parses by a zod schema. @throws ToolyardError BAD_USER_INPUT with a problem for each of the first issues, paths below `at`. */
export function parseInput<Schema extends z.ZodType>(schema: Schema, value: unknown, at = "input"): z.output<Schema> {
  const parsed = schema.safeParse(value, { error: inWords });
  if (parsed.success) return parsed.data;
  const { issues } = parsed.error;
  const problems = issues.slice(0, MAX_PROBLEMS).map((issue) => ({
    path: [at, ...issue.path].filter((part) => part !== "").join("."),
    message: issue.message,
  }));
  const further = issues.length - problems.length;
  if (further > 0) problems.push({ path: at, message: `has ${further} further problems` });
  throw badInput(problems);
}

/** The one place with words for issues that a schema has none for: the end of a sentence about the value. Goes into `safeParse`. */
export function inWords(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      if (issue.input === undefined) return "is missing";
      return issue.input === null
        ? "must not be null"
        : `must be ${TYPES[issue.expected] ?? `a ${issue.expected}`}${listExample(issue)}`;
    case "too_small":
      return tooSmall(issue.origin, Number(issue.minimum), issue.inclusive ?? true);
    case "too_big":
      return tooBig(issue.origin, Number(issue.maximum), issue.inclusive ?? true);
    case "invalid_value":
      return `must be ${issue.values.length === 1 ? "" : "one of "}${issue.values.map(String).join(", ")}`;
    case "invalid_format":
      return FORMATS[issue.format] ?? "is not in the right form";
    case "not_multiple_of":
      return `must be a multiple of ${issue.divisor}`;
    case "unrecognized_keys":
      return `has unknown keys: ${someOf(issue.keys)}${hintOfKnown(issue.keys, keysOf(issue.inst))}`;
    case "invalid_key":
      return "has a key that is not in the right form";
    case "invalid_union":
    case "invalid_element":
    case "custom":
      return "is not in the right form";
  }
}

function someOf(keys: readonly string[]): string {
  const told = keys.slice(0, MAX_KEYS).map((key) => JSON.stringify(key.slice(0, MAX_KEY_LENGTH)));
  const further = keys.length - told.length;
  return told.join(", ") + (further > 0 ? `, and ${further} more` : "");
}

/** What may have been meant by the unknown keys; where nothing is close, the keys that there are. */
function hintOfKnown(unknown: readonly string[], known: readonly string[]): string {
  const meant = unknown.slice(0, MAX_KEYS).flatMap((key) => closeAmong(key, known).slice(0, 1));
  if (meant.length > 0) return ` (did you mean ${[...new Set(meant)].join(" and ")}?)`;
  return known.length > 0
    ? ` (it has ${known.slice(0, MAX_KNOWN).join(", ")}${known.length > MAX_KNOWN ? ", …" : ""})`
    : "";
}

/** Many have an object of names and values where a list of objects is wanted, as in MCP clients' configurations. */
function listExample({ expected, inst }: z.core.$ZodRawIssue<z.core.$ZodIssueInvalidType>): string {
  if (expected !== "array" || inst === undefined) return "";
  const { element } = inst._zod.def as Partial<z.core.$ZodArrayDef>;
  const keys = keysOf(element);
  return keys.length > 0 ? `, as in [{${keys.map((key) => `"${key}": …`).join(", ")}}]` : "";
}

/** The keys of an object's schema, which may be within others; none of any other schema. */
function keysOf(schema: { _zod: { def: object } } | undefined): string[] {
  // Each kind of schema has one of these, or none.
  const {
    shape,
    innerType,
    in: before,
  } = (schema?._zod.def ?? {}) as Partial<z.core.$ZodObjectDef & z.core.$ZodOptionalDef & z.core.$ZodPipeDef>;
  if (shape) return Object.keys(shape);
  const within = innerType ?? before;
  return within ? keysOf(within) : [];
}

const TYPES: Record<string, string> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "an object",
  record: "an object",
};
const FORMATS: Record<string, string> = {
  url: "must be a URL, as in https://example.com",
  email: "must be an email address, as in ada@example.com",
  uuid: "must be a UUID",
  datetime: "must be a time with its zone, as in 2027-01-31T12:00:00Z",
};
const COUNTED: Record<string, string> = { string: "character", array: "item", set: "item", map: "item", file: "byte" };

function tooSmall(origin: string, minimum: number, isInclusive: boolean): string {
  const counted = COUNTED[origin];
  if (counted !== undefined) return minimum === 1 ? "must not be empty" : `must have at least ${minimum} ${counted}s`;
  return isInclusive ? `must be at least ${minimum}` : `must be above ${minimum}`;
}

function tooBig(origin: string, maximum: number, isInclusive: boolean): string {
  const counted = COUNTED[origin];
  if (counted !== undefined) return `must have at most ${maximum} ${counted}${maximum === 1 ? "" : "s"}`;
  return isInclusive ? `must be at most ${maximum}` : `must be below ${maximum}`;
}
