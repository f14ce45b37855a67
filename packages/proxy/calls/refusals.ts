/** The proxy's own answers and their words. */
import { ToolyardError } from "@toolyard/service-kit";
import type { Refusal } from "./answer.ts";
import type { Call } from "./call.ts";
import type { CallPath } from "./call-path.ts";
import { idTextOf } from "../mcp/round-trips.ts";

/** As in the SDK's servers. */
const SESSION_NOT_FOUND = -32_001;

export function sessionLost(): Refusal {
  return {
    error: new ToolyardError("NOT_FOUND", "There is no such session: initialize a new one."),
    rpcCode: SESSION_NOT_FOUND,
  };
}

export function expired(): ToolyardError {
  return new ToolyardError("UNAUTHENTICATED", "The credential expired: get a new one.");
}

/** Why a call cannot continue with its state: that was not signed for this call (or expired), or the replica that asked is gone. */
export type StateProblem = "invalid" | "gone";

/** Invalid params. */
export const INVALID_STATE_CODE = -32_602;

/** The JSON-RPC answer to it. */
export function invalidState(body: Buffer | null, why: StateProblem): string {
  const message =
    why === "invalid"
      ? "Invalid or expired requestState: it is not this user's, not of this call, too old, or was changed. Make the call again without it."
      : "The replica that asked for this input is gone, and the call with it; it was not repeated. Make the call again without requestState.";
  const error = { code: INVALID_STATE_CODE, message, data: { reason: "invalid_request_state" } };
  return `{"jsonrpc":"2.0","id":${body === null ? "null" : idTextOf(body)},"error":${JSON.stringify(error)}}`;
}

export function tooLarge(maxBytes: number): Refusal {
  return {
    error: new ToolyardError(
      "PAYLOAD_TOO_LARGE",
      `A call's body has at most ${maxBytes / 1024 / 1024} MiB. Send less at once.`,
    ),
  };
}

/**
 * @param options.isNew Whether the table is as new as the call.
 * @param options.isLimited By a key that is limited to tools: others are as if they were not there.
 */
export function unknownRoute(
  { slug, ref }: CallPath,
  { isNew, isLimited }: { isNew: boolean; isLimited: boolean },
): Refusal {
  if (!isNew) return maybeOlder(slug);
  const where = ref === "" ? "in production" : ref === "staging" ? "in staging" : `as ${ref}`;
  const hint = isLimited
    ? "that this API key may call: it is limited to certain tools."
    : "Deploy it, or look at the URL again.";
  return {
    error: new ToolyardError("NOT_FOUND", `There is no tool ${slug} deployed ${where}${isLimited ? "" : "."} ${hint}`),
  };
}

/** @param what What the table lacks, and a newer one may have. */
export function maybeOlder(what: string): Refusal {
  const message = `This proxy knows no route to ${what}, and may not have received the newest routes yet. Try again.`;
  return { error: new ToolyardError("UPSTREAM_UNAVAILABLE", message, { retryAfterSeconds: 1 }) };
}

export function notReady(call: Call): Refusal {
  const { slug } = call.path;
  const reason = call.group?.deployments.find(({ stateReason }) => stateReason !== null)?.stateReason;
  const message = reason ?? `No replica of ${slug} is ready. Try again.`;
  return { error: new ToolyardError("UPSTREAM_UNAVAILABLE", message, { retryAfterSeconds: 2 }) };
}

/** It wakes up, and as many calls as may wait for that do so. */
export function tooManyWait(slug: string): Refusal {
  const message = `${slug} is waking up, and too many calls, or too many of yours, wait already. Try again.`;
  return { error: new ToolyardError("UPSTREAM_UNAVAILABLE", message, { retryAfterSeconds: 1 }) };
}

/** Bodies and answers of calls that may ask for input are held until they are whole. */
export function tooMuchHeld(): Refusal {
  const message =
    "Large calls of yours, or of all callers, are held here already. Wait for their answers, and try again.";
  return { error: new ToolyardError("CAPACITY_EXHAUSTED", message, { retryAfterSeconds: 1 }) };
}

export function answerNotHeld(): Refusal {
  const message =
    "The tool answered, but there is no room here for what it said: large answers to you, or to all callers, are held already. The call has had its effect.";
  return { error: new ToolyardError("CAPACITY_EXHAUSTED", message) };
}

export function closedPath({ slug, path }: CallPath): Refusal {
  const message = `${slug} runs elsewhere, and only calls of its MCP endpoint are passed on, not of ${path}. Its owner may open more by \`paths\` of the launch.`;
  return { error: new ToolyardError("NOT_FOUND", message) };
}

/** Its server wants the call to go where this proxy does not take it. */
export function notFollowed(why: "elsewhere" | "circle"): Refusal {
  const message =
    why === "elsewhere"
      ? "The tool's server redirects its MCP endpoint to another address, which is not followed: the call and its credentials were meant for this one. Register the tool at the address where it answers."
      : "The tool's server redirects its MCP endpoint in a circle. The path of its launch should be the one at which it answers.";
  return { error: new ToolyardError("UPSTREAM_UNAVAILABLE", message) };
}

/** Its server refuses the launch's credentials. A 401 from the proxy would be taken for a refusal of the caller's. */
export function notLetIn(): Refusal {
  const message =
    "The tool's server does not accept the credentials that its launch sends (HTTP 401). Yours are for Toolyard and do not reach it: its owner can change those of the launch.";
  return { error: new ToolyardError("UPSTREAM_UNAVAILABLE", message) };
}

/** A message for a stream that is another caller's or does not exist. */
export function noStream(): Refusal {
  const message = "You have no such stream: open one, and post to exactly the URL in its endpoint event.";
  return { error: new ToolyardError("NOT_FOUND", message), rpcCode: SESSION_NOT_FOUND };
}

/** The server's address for messages could not be read. */
export function compressedStream(): Refusal {
  const message =
    "The tool's server compresses its event stream, which was not asked for and which this proxy cannot read. Turn compression off for text/event-stream there.";
  return { error: new ToolyardError("UPSTREAM_UNAVAILABLE", message) };
}

export function unreachable(): Refusal {
  const message = "The tool's replica cannot be reached. Try again.";
  return { error: new ToolyardError("UPSTREAM_UNAVAILABLE", message, { retryAfterSeconds: 1 }) };
}

export function broken(): Refusal {
  return {
    error: new ToolyardError(
      "UPSTREAM_UNAVAILABLE",
      "The tool's replica ended the connection before it answered. The call may have had effect.",
    ),
  };
}

export function tooSlow(seconds: number): Refusal {
  return {
    error: new ToolyardError(
      "TIMEOUT",
      `The tool did not answer within ${seconds} s. If it needs longer, raise its launch's timeoutSeconds.`,
    ),
  };
}

export function malformed(): Refusal {
  return { error: new ToolyardError("BAD_USER_INPUT", "The request's path or headers hold what HTTP does not allow.") };
}

export function tooManyCalls(slug: string, seconds: number): Refusal {
  const message = `Too many calls of ${slug}. Try again in ${seconds} s.`;
  return { error: new ToolyardError("RATE_LIMITED", message, { retryAfterSeconds: seconds }) };
}

/** The caller's role calls only what is shared with them. */
export function notShared(slug: string): ToolyardError {
  return new ToolyardError(
    "FORBIDDEN",
    `You may not call ${slug}: its author has not shared it with you for that (USE), which your role takes.`,
  );
}

export function allBusy(slug: string, limit: number): Refusal {
  const message = `${slug} answers ${limit} calls at a time. Try again.`;
  return { error: new ToolyardError("CAPACITY_EXHAUSTED", message, { retryAfterSeconds: 1 }) };
}
