import { statusOf, type ErrorCode } from "./error-codes.ts";

export { isErrorCode, type ErrorCode } from "./error-codes.ts";

/** What is wrong with one place of the input. `path` is dotted, as in `input.launch.stdio.command`. */
export interface Problem {
  path: string;
  message: string;
}

export interface ErrorDetails {
  cause?: unknown;
  /** With BAD_USER_INPUT. */
  problems?: Problem[];
  /** With PRECONDITION_FAILED. */
  unmet?: { gate: string; reason: string }[];
  /** With RATE_LIMITED, CAPACITY_EXHAUSTED, and UPSTREAM_UNAVAILABLE where nothing was begun. */
  retryAfterSeconds?: number;
  /** Anything else a client can act on, such as `oldestSequence`. */
  extensions?: Record<string, unknown>;
}

/** When one whose credential, or whose share of a tool, cannot be checked may try again. */
export const AWAY_RETRY_SECONDS = 5;

/**
 * The only error that services throw: a code from the table and a message that a person can act on.
 * graphql-js copies `extensions` to the GraphQL error by itself.
 */
export class ToolyardError extends Error {
  readonly code: ErrorCode;
  readonly extensions: Record<string, unknown>;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "ToolyardError";
    this.code = code;
    this.extensions = {
      code,
      ...(details.problems && { problems: details.problems }),
      ...(details.unmet && { unmet: details.unmet }),
      ...(details.retryAfterSeconds !== undefined && { retryAfterSeconds: details.retryAfterSeconds }),
      ...details.extensions,
    };
  }
}

/** BAD_USER_INPUT from a list of problems; the message is made of them. */
export function badInput(problems: Problem[]): ToolyardError {
  const all = problems.map(({ path, message: problem }, index) => {
    const told = index < problems.length - 1 ? withoutStop(problem) : problem;
    return path ? `${path}: ${told}` : told;
  });
  const message = all.join("; ");
  return new ToolyardError("BAD_USER_INPUT", message || "The input is not valid.", { problems });
}

/** PRECONDITION_FAILED because of one thing. `gate` names it for programs, `reason` says it to people. */
export function preconditionFailed(gate: string, reason: string, cause?: unknown): ToolyardError {
  return new ToolyardError("PRECONDITION_FAILED", reason, { unmet: [{ gate, reason }], cause });
}

/** For what the graph already names and a later version brings. `what` is plural, as in "Releases". */
export function notInThisVersion(what: string): ToolyardError {
  return preconditionFailed("feature", `${what} are not part of this version of Toolyard.`);
}

/** NOT_FOUND for a caller's `reference`. `close`: things that they may have meant, and may see. */
export function notFound(what: string, reference: string, close: readonly string[] = []): ToolyardError {
  const shown = JSON.stringify(
    reference.length > MAX_SHOWN_REFERENCE ? `${reference.slice(0, MAX_SHOWN_REFERENCE)}…` : reference,
  );
  const hint = close.length === 0 ? "" : ` Did you mean ${close.map((name) => JSON.stringify(name)).join(" or ")}?`;
  const extensions = close.length === 0 ? {} : { suggestions: close };
  return new ToolyardError("NOT_FOUND", `There is no ${what} ${shown}.${hint}`, { extensions });
}

const MAX_SHOWN_REFERENCE = 128;

/** A sentence as part of another one, which goes on or ends after it. */
export function withoutStop(sentence: string): string {
  return sentence.trimEnd().replace(/(?<![.])[.;:]$/, "");
}

/** The message of anything thrown. An object that is not an error may have no text form of its own. */
export function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message;
  const isPlain = typeof error !== "object" && typeof error !== "function";
  // TypeScript does not narrow `unknown` by exclusion.
  return isPlain ? String(error as string | number | undefined) : Object.prototype.toString.call(error);
}

/** Anything thrown, as an error. */
export function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(messageOf(error), { cause: error });
}

/** An error with its stack, for a log; the message of anything else thrown. */
export function stackOf(error: unknown): string {
  return (error instanceof Error && error.stack) || messageOf(error);
}

/** The `code` of a Node system error (`ENOENT`, `EADDRINUSE`, …), or null. */
export function systemCodeOf(error: unknown): string | null {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;
}

const INTERNAL_MESSAGE = "Something went wrong here. The log has it under this request id.";

/** Whether the message of this error may be shown to a client. */
export function isPublic(error: unknown): error is ToolyardError {
  return error instanceof ToolyardError && error.code !== "INTERNAL_SERVER_ERROR";
}

export interface ProblemDetails {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: ErrorCode;
  request_id: string;
  retry_after_seconds?: number;
  [extension: string]: unknown;
}

/** An error as `application/problem+json` (RFC 9457). Internals of unknown errors are not shown. */
export function problemDetails(error: unknown, requestId: string): ProblemDetails {
  const known = isPublic(error) ? error : null;
  const code = known ? known.code : "INTERNAL_SERVER_ERROR";
  const { code: _code, retryAfterSeconds, ...rest } = known?.extensions ?? {};
  return {
    type: "about:blank",
    title: titleOf(code),
    status: statusOf(code, retryAfterSeconds),
    detail: known ? known.message : INTERNAL_MESSAGE,
    code,
    ...rest,
    ...(typeof retryAfterSeconds === "number" && { retry_after_seconds: retryAfterSeconds }),
    request_id: requestId,
  };
}

/** The form of an error that a GraphQL client sees: with its message when it is public, else a neutral one. */
export function publicMessage(error: unknown): string {
  return isPublic(error) ? error.message : INTERNAL_MESSAGE;
}

function titleOf(code: ErrorCode): string {
  const words = code.toLowerCase().replaceAll("_", " ");
  return words[0]?.toUpperCase() + words.slice(1);
}
