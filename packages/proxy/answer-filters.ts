import { watchEvents, watchJson, type OutcomeWatch } from "./answer-outcome.ts";
import type { Call } from "./call.ts";
import type { Replica } from "./replica.ts";
import {
  createEventFilter,
  createJsonFilter,
  mayAskForInput,
  statefulCallOf,
  type AnswerFilter,
  type HeldBytes,
} from "./round-trips.ts";
import type { RequestStates } from "./request-state.ts";

/** As undici has them: lower-case names. */
export type AnswerHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** Signs what a replica that asks for input wants back; null where an answer cannot ask. */
export function filterFor(
  call: Call,
  replica: Replica,
  answer: { status: number; headers: AnswerHeaders },
  { states, held }: { states: RequestStates | null; held: HeldBytes },
): AnswerFilter | null {
  const { status, headers } = answer;
  if (status !== 200 || states === null || isEncoded(headers) || !mayAskForInput(call)) return null;
  const sign = (own: string): string => states.sign({ replicaId: replica.id, own }, statefulCallOf(call));
  if (isEventStream(headers)) return createEventFilter(sign, held);
  return isJson(headers) ? createJsonFilter(sign, held) : null;
}

/** What watches the answer to MCP requests for errors; null for all else. */
export function outcomeOf({ request, atMcp }: Call, headers: AnswerHeaders): OutcomeWatch | null {
  if (request.method !== "POST" || !atMcp || isEncoded(headers)) return null;
  if (isEventStream(headers)) return watchEvents();
  return isJson(headers) ? watchJson() : null;
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
