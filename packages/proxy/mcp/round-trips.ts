import { findValues, replaceValues } from "@toolyard/bridge/protocol/json-splice.ts";
import { ByteCollector } from "@toolyard/service-kit/http/byte-collector.ts";
import { parseJson } from "@toolyard/service-kit/json.ts";
import type { Call } from "../calls/call.ts";
import type { Budget } from "../calls/budget.ts";
import type { RequestStates, StatefulCall } from "./request-state.ts";

/**
 * Calls of revision 2026-07-28 that a server may answer with a question: `requestState` is signed on its way to the client
 * and opened on its way back. All other bytes of bodies and answers stay as they are.
 */

const METHODS = new Set(["tools/call", "prompts/get", "resources/read"]);
const STATE = "requestState";
const BACKSLASH = 0x5c;

/** Whether the answer may be a question. */
export function mayAskForInput({ request, head }: Pick<Call, "request" | "head">): boolean {
  return request.method === "POST" && head.mcpMethod !== undefined && METHODS.has(head.mcpMethod);
}

export function statefulCallOf({ caller, group, head }: Call): StatefulCall {
  return {
    subject: caller?.subject ?? "",
    toolId: group?.toolId ?? "",
    mcpMethod: head.mcpMethod ?? "",
    mcpName: head.mcpName ?? "",
  };
}

/** Keys may be spelled with escapes: of the letters in this one, all are from U+0050 to U+007F. */
function mayHoldState(json: Buffer): boolean {
  if (json.includes(STATE)) return true;
  return json.includes(BACKSLASH) && ["\\u005", "\\u006", "\\u007"].some((escape) => json.includes(escape));
}

/** A body's `requestState`, opened; null when it has none; "invalid" when it was not signed for this call. */
export function openState(
  body: Buffer,
  states: RequestStates,
  call: StatefulCall,
): { replicaId: string; body: Buffer } | "invalid" | null {
  if (!mayHoldState(body)) return null;
  // One character for each byte, so that bytes stay what they are.
  const text = body.toString("latin1");
  const spans = findValues(text, ["params", STATE]);
  const last = spans.at(-1);
  if (last === undefined) return null;
  const value = parse(text.slice(last.start, last.end));
  // The server refuses invalid text.
  if (typeof value !== "string") return value === null ? null : "invalid";
  const opened = states.open(value, call);
  if (opened === null) return "invalid";
  const replaced = replaceValues(text, [{ spans, text: asLatin1(JSON.stringify(opened.own)) }]);
  return { replicaId: opened.replicaId, body: Buffer.from(replaced, "latin1") };
}

/** The id of the request that a body holds, as JSON. */
export function idTextOf(body: Buffer): string {
  const text = body.toString("latin1");
  const span = findValues(text, ["id"]).at(-1);
  const value = span && parse(text.slice(span.start, span.end));
  return typeof value === "string" || typeof value === "number"
    ? Buffer.from(text.slice(span?.start, span?.end), "latin1").toString("utf8")
    : "null";
}

/** A JSON-RPC answer with its `requestState` signed, if it is a question with one. */
export function signState(json: Buffer, sign: (own: string) => string): Buffer {
  if (!mayHoldState(json)) return json;
  const text = json.toString("latin1");
  const type = findValues(text, ["result", "resultType"]).at(-1);
  if (!type || parse(text.slice(type.start, type.end)) !== "input_required") return json;
  const spans = findValues(text, ["result", STATE]);
  const last = spans.at(-1);
  const own = last && parse(text.slice(last.start, last.end));
  if (typeof own !== "string") return json;
  return Buffer.from(replaceValues(text, [{ spans, text: asLatin1(JSON.stringify(sign(own))) }]), "latin1");
}

/** Of JSON text read as latin1. */
function parse(text: string): unknown {
  return parseJson(Buffer.from(text, "latin1").toString("utf8"));
}

function asLatin1(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

/** An answer on its way to the client. */
export interface AnswerFilter {
  /** The bytes that can go on; null while all are held. After "no room" the answer has to be broken off. */
  push(chunk: Buffer): Buffer | null | "no room";
  end(): Buffer | null;
  /** The answer broke: drops the bytes held of it. */
  drop(): void;
}

/** A longer answer or event goes on unchanged. */
const MAX_HELD_BYTES = 16 * 1024 * 1024;

/** The part of an event's final line breaks that may come before the rest. */
const TAIL_BYTES = 2;

/** Chunks that are held until they are whole. */
function createHold(budget: Budget) {
  const chunks = new ByteCollector();
  let bytes = 0;
  return {
    get bytes() {
      return bytes;
    },
    /** Its last bytes, which may be the beginning of an event's end. */
    tail: () => chunks.peek().subarray(-TAIL_BYTES),
    /** Null: it is held. Else what is to become of the answer: all of it is taken, as it is where it is too long to be held. */
    add(chunk: Buffer): Buffer | null | "no room" {
      const isLong = bytes + chunk.length > MAX_HELD_BYTES;
      const fits = !isLong && budget.take(chunk.length);
      chunks.add(chunk);
      if (fits) bytes += chunk.length;
      if (fits) return null;
      const all = this.take();
      return isLong ? all : "no room";
    },
    take(): Buffer {
      budget.give(bytes);
      bytes = 0;
      return chunks.take();
    },
  };
}

/** Holds a JSON answer until it is whole. */
export function createJsonFilter(sign: (own: string) => string, budget: Budget): AnswerFilter {
  const hold = createHold(budget);
  let gaveUp = false;
  return {
    push(chunk) {
      if (gaveUp) return chunk;
      const passed = hold.add(chunk);
      gaveUp = passed !== null;
      return passed;
    },
    end: () => (gaveUp ? null : signState(hold.take(), sign)),
    drop: () => void hold.take(),
  };
}

/** Holds each event of a stream until it is whole. */
export function createEventFilter(sign: (own: string) => string, budget: Budget): AnswerFilter {
  const hold = createHold(budget);
  return {
    push(chunk) {
      const tail = hold.tail();
      const found = endOfEvents(tail.length === 0 ? chunk : Buffer.concat([tail, chunk])) - tail.length;
      if (found <= 0) return hold.add(chunk);
      const whole = signEvents(Buffer.concat([hold.take(), chunk.subarray(0, found)]), sign);
      const passed = found < chunk.length ? hold.add(chunk.subarray(found)) : null;
      return Buffer.isBuffer(passed) ? Buffer.concat([whole, passed]) : (passed ?? whole);
    },
    end: () => (hold.bytes === 0 ? null : signEvents(hold.take(), sign)),
    drop: () => void hold.take(),
  };
}

/** The index after the last event that is whole. */
function endOfEvents(bytes: Buffer): number {
  const plain = bytes.lastIndexOf("\n\n");
  const windows = bytes.lastIndexOf("\n\r\n");
  return Math.max(plain === -1 ? 0 : plain + 2, windows === -1 ? 0 : windows + 3);
}

function signEvents(bytes: Buffer, sign: (own: string) => string): Buffer {
  if (!mayHoldState(bytes)) return bytes;
  const events = bytes.toString("latin1").split(/(?<=\n\r?\n)/);
  return Buffer.from(events.map((event) => signEvent(event, sign)).join(""), "latin1");
}

function signEvent(event: string, sign: (own: string) => string): string {
  const lines = event.split(/(?<=\n)/);
  const data = lines.filter((line) => line.startsWith("data:"));
  const json = data.map((line) => line.slice("data:".length).replace(/^ |\r?\n$/g, "")).join("\n");
  const signed = signState(Buffer.from(json, "latin1"), sign).toString("latin1");
  if (signed === json) return event;
  const first = lines.findIndex((line) => line.startsWith("data:"));
  return lines
    .flatMap((line, index) =>
      !line.startsWith("data:") ? [line] : index === first ? signed.split("\n").map((part) => `data: ${part}\n`) : [],
    )
    .join("");
}
