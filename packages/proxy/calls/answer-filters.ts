import { watchEvents, watchJson, type OutcomeWatch } from "../mcp/answer-outcome.ts";
import type { Call } from "./call.ts";
import { readMcpCall } from "../mcp/mcp-call.ts";
import type { Replica } from "../routing/replica.ts";
import {
  createEventFilter,
  createJsonFilter,
  mayAskForInput,
  statefulCallOf,
  type AnswerFilter,
} from "../mcp/round-trips.ts";
import type { SharedBudget } from "./budget.ts";
import type { RequestStates } from "../mcp/request-state.ts";

/** In undici's form: lower-case names. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** Signs the state that a replica that asks for input wants back; null when an answer cannot ask. */
export function filterFor(
  call: Call,
  replica: Replica,
  answer: { status: number; headers: AnswerHeaders },
  { states, held }: { states: RequestStates | null; held: SharedBudget },
): AnswerFilter | null {
  const { status, headers } = answer;
  if (status !== 200 || states === null || isEncoded(headers) || !mayAskForInput(call)) return null;
  const sign = (own: string): string => states.sign({ replicaId: replica.id, own }, statefulCallOf(call));
  const own = held.of(call.caller?.subject ?? "");
  if (isEventStream(headers)) return createEventFilter(sign, own);
  return isJson(headers) ? createJsonFilter(sign, own) : null;
}

/** The filter that watches answers to MCP requests for errors and listed tools; null for other calls. */
export function outcomeOf(call: Call, headers: AnswerHeaders): OutcomeWatch | null {
  const { request, atMcp } = call;
  if (request.method !== "POST" || !atMcp || isEncoded(headers)) return null;
  const lists = (call.mcp ?? readMcpCall(request.method, call.head, call.body)).method === "tools/list";
  if (isEventStream(headers)) return watchEvents({ lists });
  return isJson(headers) ? watchJson({ lists }) : null;
}

export function isEventStream(headers: AnswerHeaders): boolean {
  return String(headers["content-type"]).includes("text/event-stream");
}

function isJson(headers: AnswerHeaders): boolean {
  return String(headers["content-type"]).includes("json");
}

export function isEncoded(headers: AnswerHeaders): boolean {
  return (headers["content-encoding"] ?? "identity") !== "identity";
}
