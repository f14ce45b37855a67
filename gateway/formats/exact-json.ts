/**
 * JSON whose integers keep their digits beyond 2^53: values of custom scalars and keys pass through the gateway unchanged. Such
 * an integer becomes a JSON.rawJSON object (https://tc39.es/proposal-json-parse-with-source/), which JSON.stringify writes as it was.
 */
import { Kind, valueFromASTUntyped, type ValueNode } from "graphql";

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;

// TypeScript's library does not have them yet.
const { rawJSON, isRawJSON } = JSON as typeof JSON & {
  rawJSON(text: string): object;
  isRawJSON(value: unknown): value is { rawJSON: string };
};

/** No integer of fewer digits is unsafe. */
const LEAST_DIGITS = 16;

/** No number of fewer digits is too large for a double without such an exponent. */
const LARGE_EXPONENT = /[eE]\+?\d{3}/;

/** For JSON.parse; undefined, which costs nothing, where the text has no such integer. */
export function exactReviver(text: string): Reviver | undefined {
  return hasLongNumber(text) ? keepDigits : undefined;
}

/**
 * The same for what a client sent, which is short: numbers that are too large for a double stay as well. JSON.stringify would make
 * them null; so whoever takes the value can refuse it.
 */
export function clientReviver(text: string): Reviver | undefined {
  return LARGE_EXPONENT.test(text) ? keepDigits : exactReviver(text);
}

/** Whether so many digits stand in a row somewhere: one of every sixteen places is among them, so the others are not looked at. */
function hasLongNumber(text: string): boolean {
  for (let at = LEAST_DIGITS - 1; at < text.length; at += LEAST_DIGITS) {
    if (!isDigit(text.charCodeAt(at))) continue;
    let begin = at;
    while (begin > 0 && at - begin < LEAST_DIGITS && isDigit(text.charCodeAt(begin - 1))) begin -= 1;
    let end = at + 1;
    while (end - begin < LEAST_DIGITS && isDigit(text.charCodeAt(end))) end += 1;
    if (end - begin >= LEAST_DIGITS) return true;
  }
  return false;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

const keepDigits: Reviver = (_key, value, { source }) =>
  typeof value === "number" && source !== undefined && (isUnsafeInteger(source) || !Number.isFinite(value))
    ? rawJSON(source)
    : value;

function isUnsafeInteger(text: string): boolean {
  return /^-?\d{16,}$/.test(text) && !Number.isSafeInteger(Number(text));
}

/** @throws SyntaxError */
export function parseExactly(text: string): unknown {
  return parseWith(exactReviver(text), text);
}

/** The same for what a client sent. @throws SyntaxError */
export function parseClientExactly(text: string): unknown {
  return parseWith(clientReviver(text), text);
}

function parseWith(reviver: Reviver | undefined, text: string): unknown {
  return reviver ? JSON.parse(text, reviver as (key: string, value: unknown) => unknown) : JSON.parse(text);
}

/** The digits of an integer kept in this way; null for anything else. */
export function exactDigitsOf(value: unknown): string | null {
  return isRawJSON(value) ? value.rawJSON : null;
}

/** Whether a GraphQL operation has such an integer, as graphql-js prints it; rarely, whether a string of it has. */
export function holdsUnsafeInteger(operation: string): boolean {
  return [...operation.matchAll(/(?<![\w.])\d{16,}(?![\w.])/g)].some(([digits]) => isUnsafeInteger(digits));
}

/** The value of a custom scalar's literal. */
export function exactLiteral(node: ValueNode, variables?: Record<string, unknown> | null): unknown {
  switch (node.kind) {
    case Kind.INT:
      return isUnsafeInteger(node.value) ? rawJSON(node.value) : Number(node.value);
    case Kind.LIST:
      return node.values.map((value) => exactLiteral(value, variables));
    case Kind.OBJECT:
      return Object.fromEntries(node.fields.map(({ name, value }) => [name.value, exactLiteral(value, variables)]));
    default:
      return valueFromASTUntyped(node, variables);
  }
}
