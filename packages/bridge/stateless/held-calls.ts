import { randomUUID } from "node:crypto";

import { isObject } from "@toolyard/service-kit/json.ts";
import { type Exchange, sendAnswer } from "../protocol/exchange.ts";
import { code, errorText, isId, MAX_ASKED, type Message, metaOf, type Params } from "../protocol/json-rpc.ts";
import { lastText, membersOf, printFrom } from "../protocol/json-splice.ts";
import { type Call, idTextOf, type Peer } from "../child/peer.ts";

/**
 * Multi round-trip requests (2026-07-28) over a server of the session era: when such a server asks the client for input
 * in the middle of a call, the call is held open at the server, the client gets an `input_required` result, and its
 * next request with the answers continues the same call: one execution, two (or more) HTTP requests.
 */
export interface HeldCalls {
  readonly size: number;
  /** Passes a server's request to the one call that runs; the server gets an error when there is none, or several. */
  ask(peer: Peer, message: Message, raw: string): void;
  /** Continues a held call that `matches`. False when there is none of that state (ended, expired, another's, or held by another process). */
  resume(options: {
    state: string;
    message: Message;
    /** Its text. */
    raw: string;
    exchange: Exchange;
    matches: (call: Call) => boolean;
    /** The call's owner from then on. */
    ownerAfter: (before: object) => object;
  }): boolean;
  /** Abandons calls whose client did not come back. */
  sweep(now: number): void;
  /** The child ended: its held calls answer with the reason. */
  lose(peer: Peer, reason: string): void;
}

interface Asked {
  readonly message: Message;
  readonly raw: string;
}

interface Held {
  readonly state: string;
  readonly peer: Peer;
  readonly call: Call;
  /** Requests of the server that the client was asked and has not answered, by key. */
  readonly asked: Map<string, Asked>;
  expiresAt: number;
  /** The client's request of the current round; null between rounds. */
  exchange: Exchange | null;
  /** The answer, when the server gave it while no client was there. */
  answer: Asked | null;
  sequence: number;
  /** Of its server's questions, as long as they are open. */
  chars: number;
  /** The timer that runs while more questions of the same round may come. */
  gathering: NodeJS.Timeout | null;
}

/** Requests whose result may be `input_required`. */
const ROUND_TRIP_METHODS: readonly string[] = ["tools/call", "prompts/get", "resources/read"];
const MAX_HELD = 1_000;
/** Of the open questions of all held calls. */
const MAX_ASKED_CHARS = 32 * 1024 * 1024;
/** Questions that a server asks together reach the client in one round. */
const GATHER_MS = 10;

/** The capability that a client must have declared to be asked this; null for requests that no stateless client gets. */
function requiredCapability({ method, params }: Message): Record<string, Record<string, unknown>> | null {
  switch (method) {
    case "elicitation/create":
      return { elicitation: params?.mode === "url" ? { url: {} } : {} };
    case "sampling/createMessage":
      return { sampling: params?.tools === undefined ? {} : { tools: {} } };
    case "roots/list":
      return { roots: {} };
    default:
      return null;
  }
}

/** @param declared What the client declared. */
function isDeclared(required: Record<string, Record<string, unknown>>, declared: Record<string, unknown>): boolean {
  return Object.entries(required).every(([name, inner]) => {
    const given = declared[name];
    if (!isObject(given)) return false;
    // `elicitation: {}` means forms.
    if (name === "elicitation" && inner.url === undefined && given.url !== undefined && given.form === undefined)
      return false;
    return Object.keys(inner).every((key) => given[key] !== undefined);
  });
}

export function createHeldCalls(options: {
  now: () => number;
  holdMs: number;
  /** The capabilities that a call's client declared; null: it does not speak the stateless revision, and cannot be asked. */
  declaredOf: (call: Call) => Record<string, unknown> | null;
  describeServer: (call: Call) => unknown;
  statusOf: (call: Call, message: Message) => number;
}): HeldCalls {
  const { now, holdMs, declaredOf, describeServer, statusOf } = options;
  const byState = new Map<string, Held>();
  const byCall = new Map<Call, Held>();

  function refuseServer(peer: Peer, message: Message, text: string): void {
    if (message.id !== undefined && message.id !== null) peer.send(errorText(message.id, code.methodNotFound, text));
  }

  function forget(held: Held): void {
    if (held.gathering !== null) clearTimeout(held.gathering);
    byState.delete(held.state);
    byCall.delete(held.call);
  }

  function isOpen({ peer, call }: Held): boolean {
    return peer.open.get(call.wireId) === call;
  }

  function askClient(held: Held): void {
    const exchange = held.exchange;
    if (exchange === null) return;
    held.exchange = null;
    held.call.exchange = null;
    held.call.paused = true;
    held.expiresAt = now() + holdMs;
    const requests = [...held.asked].map(([key, { message, raw }]) => {
      const params = message.params && withoutToken(message.params);
      const printed =
        params === undefined ? "" : `,"params":${printFrom(params, message.params, lastText(raw, ["params"]))}`;
      return `${JSON.stringify(key)}:{"method":${JSON.stringify(message.method)}${printed}}`;
    });
    const rest = JSON.stringify({
      resultType: "input_required",
      requestState: held.state,
      ...serverMeta(describeServer(held.call)),
    });
    const result = `{"inputRequests":{${requests.join(",")}},${rest.slice(1)}`;
    sendAnswer(exchange, `{"jsonrpc":"2.0","id":${held.call.idText},"result":${result}}`);
  }

  function gather(held: Held): void {
    held.gathering ??= setTimeout(() => {
      held.gathering = null;
      if (isOpen(held)) return askClient(held);
      forget(held);
      for (const { message } of held.asked.values())
        refuseServer(held.peer, message, "the call that this request belongs to has ended");
    }, GATHER_MS);
  }

  function onAnswer(call: Call, message: Message, raw: string): void {
    const held = byCall.get(call);
    if (held === undefined) return;
    if (held.exchange === null) {
      held.answer = { message, raw };
      return;
    }
    forget(held);
    sendAnswer(held.exchange, call.encode(call, message, raw), statusOf(call, message));
  }

  /** The only call that a question can be about, or why there is none. */
  function candidate(peer: Peer): Call | string {
    const calls = [...peer.open.values()].filter(({ method }) => ROUND_TRIP_METHODS.includes(method));
    if (calls.length === 1 && calls[0] !== undefined) return calls[0];
    return calls.length === 0
      ? "no call is running that a client could give input to"
      : `${calls.length} calls run at once, of clients that declared no capability to answer`;
  }

  /** A request that needs a capability its client did not declare fails (2026-07-28). */
  function failCall(peer: Peer, call: Call, method: string, required: Record<string, unknown>): void {
    const exchange = call.exchange;
    call.exchange = null;
    peer.cancel(call, `the client did not declare that it can answer ${method}`);
    if (exchange === null) return;
    const text = `the server asks for ${method}, and the client of this call did not declare that it can answer that`;
    sendAnswer(
      exchange,
      errorText(call.clientId, code.missingClientCapability, text, { requiredCapabilities: required }),
      400,
    );
  }

  return {
    get size() {
      return byState.size;
    },
    ask(peer, message, raw) {
      const method = message.method ?? "";
      const required = requiredCapability(message);
      if (required === null) return refuseServer(peer, message, `${method} cannot be asked of a stateless client`);
      const call = candidate(peer);
      if (typeof call === "string") return refuseServer(peer, message, call);
      const declared = declaredOf(call);
      if (declared === null)
        return refuseServer(peer, message, `${method} cannot be asked of a client without a session of its own`);
      if (!isDeclared(required, declared)) {
        refuseServer(peer, message, `the client of this call did not declare that it can answer ${method}`);
        if (!byCall.has(call)) failCall(peer, call, method, required);
        return;
      }
      let held = byCall.get(call);
      let chars = raw.length;
      for (const other of byState.values()) chars += other.chars;
      if (chars > MAX_ASKED_CHARS || (held !== undefined && held.asked.size >= MAX_ASKED))
        return refuseServer(peer, message, "too many questions wait for their clients' answers");
      if (held === undefined) {
        if (byState.size >= MAX_HELD)
          return refuseServer(peer, message, "too many calls wait for their clients' input");
        held = {
          state: randomUUID(),
          peer,
          call,
          asked: new Map(),
          expiresAt: now() + holdMs,
          exchange: call.exchange,
          answer: null,
          sequence: 0,
          chars: 0,
          gathering: null,
        };
        byState.set(held.state, held);
        byCall.set(call, held);
        call.onAnswer = onAnswer;
      }
      held.sequence += 1;
      held.chars += raw.length;
      held.asked.set(`input-${held.sequence}`, { message, raw });
      gather(held);
    },
    resume({ state, message, raw, exchange, matches, ownerAfter }) {
      const held = byState.get(state);
      const clientId = message.id;
      if (held === undefined || clientId === undefined || clientId === null || !matches(held.call)) return false;
      // A state is one client's secret; two requests at once for it would be two clients for one answer.
      if (held.exchange !== null && !held.exchange.ended && !held.exchange.response.destroyed) return false;
      held.exchange = exchange;
      held.call.clientId = clientId;
      held.call.idText = idTextOf(clientId, raw);
      held.call.owner = ownerAfter(held.call.owner);
      const token = metaOf(message.params)?.progressToken;
      held.call.clientToken = isId(token) ? token : undefined;
      const given = isObject(message.params?.inputResponses) ? message.params.inputResponses : {};
      const texts = membersOf(lastText(raw, ["params", "inputResponses"]));
      for (const [key, request] of held.asked) {
        const value = given[key];
        // The bare result is what the revision defines; `{method, result}` is not an answer, and is asked for again.
        if (!isObject(value) || "method" in value || "result" in value) continue;
        held.asked.delete(key);
        held.chars -= request.raw.length;
        const id = lastText(request.raw, ["id"]);
        held.peer.send(`{"jsonrpc":"2.0","id":${id},"result":${texts.get(key) ?? JSON.stringify(value)}}`);
      }
      if (held.answer !== null) {
        forget(held);
        const { message: answer, raw: answerText } = held.answer;
        sendAnswer(exchange, held.call.encode(held.call, answer, answerText), statusOf(held.call, answer));
      } else if (held.asked.size > 0) askClient(held);
      else {
        held.call.paused = false;
        held.call.lastActivityAt = now();
        held.call.exchange = exchange;
      }
      exchange.response.once("close", () => {
        // Over HTTP a client cancels by going away; between rounds it is expected to.
        if (held.exchange !== exchange || !isOpen(held)) return;
        forget(held);
        held.peer.cancel(held.call, "the client went away");
      });
      return true;
    },
    sweep(at) {
      for (const held of byState.values()) {
        if (held.gathering !== null) continue;
        // A call that was continued and then failed for its own reasons (time-out) is no longer open.
        if (!isOpen(held) && held.answer === null) forget(held);
        else if (held.exchange === null && at > held.expiresAt) {
          forget(held);
          for (const { message } of held.asked.values())
            refuseServer(held.peer, message, "the client did not come back with its input in time");
          held.peer.cancel(held.call, "the client did not come back with its input in time");
        }
      }
    },
    lose(peer, reason) {
      for (const held of byState.values()) {
        if (held.peer !== peer || held.answer !== null) continue;
        const error: Message = {
          jsonrpc: "2.0",
          id: held.call.wireId,
          error: { code: code.serverError, message: `${reason}; the call was not repeated` },
        };
        if (held.exchange === null) held.answer = { message: error, raw: JSON.stringify(error) };
        else forget(held);
      }
    },
  };
}

function withoutToken(params: Params): Params {
  if (!isObject(params._meta) || !("progressToken" in params._meta)) return params;
  const { progressToken: _progressToken, ...meta } = params._meta;
  return { ...params, _meta: meta };
}

function serverMeta(serverInfo: unknown): Record<string, unknown> {
  return serverInfo === undefined ? {} : { _meta: { "io.modelcontextprotocol/serverInfo": serverInfo } };
}
