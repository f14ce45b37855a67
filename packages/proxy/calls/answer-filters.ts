import { watchEvents, watchJson, type OutcomeWatch } from "../mcp/answer-outcome.ts";
import type { Call } from "./call.ts";
import { readMcpCall } from "../mcp/mcp-call.ts";
import type { Replica } from "../routing/replica.ts";
import { mayAskForInput, statefulCallOf } from "../mcp/round-trips.ts";
import type { RequestStates } from "../mcp/request-state.ts";

/** In undici's form: lower-case names. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** How an answer can be read; null where it cannot. */
export type AnswerKind = "events" | "json" | null;

export function kindOf(headers: AnswerHeaders): AnswerKind {
  if (isEncoded(headers)) return null;
  if (isEventStream(headers)) return "events";
  return String(headers["content-type"]).includes("json") ? "json" : null;
}

/** The signer of the state that a replica that asks for input wants back; null when its answer cannot ask. */
export function signerFor(
  call: Call,
  replica: Replica,
  status: number,
  states: RequestStates | null,
): ((own: string) => string) | null {
  if (status !== 200 || states === null || !mayAskForInput(call)) return null;
  return (own) => states.sign({ replicaId: replica.id, own }, statefulCallOf(call));
}

/** The watch of answers to MCP requests for errors and listed tools; null for other calls. */
export function outcomeOf(call: Call, kind: AnswerKind): OutcomeWatch | null {
  const { request, atMcp } = call;
  if (request.method !== "POST" || !atMcp || kind === null) return null;
  const lists = (call.mcp ?? readMcpCall(request.method, call.head, call.body)).method === "tools/list";
  return kind === "events" ? watchEvents({ lists }) : watchJson({ lists });
}

export function isEventStream(headers: AnswerHeaders): boolean {
  return String(headers["content-type"]).includes("text/event-stream");
}

export function isEncoded(headers: AnswerHeaders): boolean {
  return (headers["content-encoding"] ?? "identity") !== "identity";
}
