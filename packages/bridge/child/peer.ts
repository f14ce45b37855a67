import { randomInt, randomUUID } from "node:crypto";

import type { Child, ChildEnd } from "./child.ts";
import { type Exchange, sendAlong, sendAnswer, skipAnswer } from "../protocol/exchange.ts";
import { findValues, lastText, printFrom, replaceValues } from "../protocol/json-splice.ts";
import { code, errorText, type Id, isId, kindOf, type Message, metaOf, type Params } from "../protocol/json-rpc.ts";
import { errorTypeOf, type RunningSpan, spanOf } from "../tracing/call-spans.ts";

/** Turns a child's answer into the asker's. `raw` is the child's own line. */
type Encode = (call: Call, message: Message, raw: string) => string;

/** A request on its way through a child. Plain data: thousands of them cost no closures. */
export interface Call {
  /** The id and the progress token as the asker wrote them; those of the newest round where a call takes several. */
  clientId: Id;
  /** That id as JSON, digit by digit. */
  idText: string;
  clientToken: Id | undefined;
  /** The id the child knows it by, … */
  readonly wireId: Id;
  /** … which is also its progress token there, unless both are the asker's own. */
  readonly renamed: boolean;
  readonly method: string;
  /** Null while nobody listens for the answer (the client is fetching input for it). */
  exchange: Exchange | null;
  /** The asker, compared by identity when one asker's calls must be found. */
  owner: object;
  readonly encode: Encode;
  /** Epoch ms of the last sign of life: asked, progress. */
  lastActivityAt: number;
  /** Its clock stands still: it waits for the client, not for the server. */
  paused: boolean;
  /** Takes the answer instead of the exchange when set. */
  onAnswer: ((call: Call, message: Message, raw: string) => void) | null;
  /** Null where nobody records it. */
  readonly span: RunningSpan | null;
}

export interface PeerHandler {
  /** A notification other than a call's progress. */
  onNotification(message: Message, raw: string): void;
  /** A request of the server to the client. */
  onRequest(message: Message, raw: string): void;
  onEnd(end: ChildEnd): void;
  /** The last open call was answered or given up. */
  onIdle?(): void;
}

/** A child's unanswered calls, and its signs of life. */
export interface Debt {
  /** Calls in flight, but for streams that may stay silent for ever. */
  readonly calls: number;
  /** Epoch ms since when it has been silent despite a call, which its asker may have given up by now; null: it had none. */
  readonly silentSince: number | null;
}

/** The bridge's view of a child as a JSON-RPC peer: the open calls, and where each answer goes. */
export interface Peer {
  readonly child: Child;
  readonly open: ReadonlyMap<Id, Call>;
  /** Whether an answer may still come to an id nobody waits for: the child must not be handed to another asker. */
  readonly tainted: boolean;
  /** Whether a call was given up that the server may still be working on. */
  readonly cancelled: boolean;
  readonly debt: Debt;
  /**
   * Passes a request on. `raw` is its text on one line and goes out untouched when ids are not remapped; otherwise its params
   * keep their digits, and `rewrite`, where given, makes the text. Null when the asker has a request with that id open already.
   */
  request(
    options: {
      message: Message;
      raw: string;
      exchange: Exchange | null;
      owner: object;
      encode: Encode;
      rewrite?: (wireId: Id) => string;
    },
    params?: Params,
  ): Call | null;
  /** Sends a request of the bridge's own. Rejects when the child ends or does not answer in time. */
  ask(method: string, params: Params | undefined, timeoutMs: number | null): Promise<Message>;
  send(text: string): void;
  notify(method: string, params?: Params): void;
  /** Tells the child to stop and forgets the call. Its late answer goes nowhere. */
  cancel(call: Call, reason: string): void;
  find(owner: object, clientId: Id): Call | undefined;
  /** Fails calls that showed no sign of life since `before` (epoch ms). */
  expire(before: number, timeoutSeconds: number): void;
  /** Gives the child up without ending it. */
  release(): void;
}

/** A request of the bridge's own that failed because the child ended or was too slow. */
export class PeerError extends Error {
  override readonly name = "PeerError";
}

const OWN_ID_PREFIX = "toolyard-bridge:";

/** How many calls that were given up are remembered, the newest: their late answers must not be taken for another call's. */
const MAX_GIVEN_UP = 1_000;

/** The id that the child knows it by, as it was sent there. */
function wireIdText({ wireId, renamed, idText }: Call): string {
  return !renamed && idText !== "" ? idText : JSON.stringify(wireId);
}

/** The server's answer under the id of the one who asked. */
export function restoreId(call: Call, _message: Message, raw: string): string {
  return replaceValues(raw, [{ spans: findValues(raw, ["id"]), text: call.idText }]);
}

/** Of answers to the bridge's own requests. */
const raws = new WeakMap<Message, string>();

/** An answer to a request of the bridge's own as the server wrote it. */
export function rawOf(answer: Message): string {
  return raws.get(answer) ?? JSON.stringify(answer);
}

/** Sends one text to a call's asker as its answer. */
function answerCall(call: Call, text: string): void {
  if (call.exchange !== null) sendAnswer(call.exchange, text);
}

/** An id as its asker wrote it: JavaScript may print a number differently. */
export function idTextOf(id: Id, raw: string): string {
  return typeof id === "string" ? JSON.stringify(id) : lastText(raw, ["id"]);
}

export function createPeer(options: {
  child: Child;
  remap: boolean;
  handler: PeerHandler;
  now: () => number;
  /** The HTTP status of an answer that goes out as plain JSON. @default 200 */
  statusOf?: (call: Call, message: Message) => number;
}): Peer {
  const { child, remap, handler, now, statusOf = () => 200 } = options;
  const open = new Map<Id, Call>();
  const own = new Map<
    Id,
    { resolve: (message: Message) => void; reject: (error: PeerError) => void; timer: NodeJS.Timeout | null }
  >();
  /** Ids, with their progress tokens, that the child may still answer; none where ids are remapped, and come but once. */
  const givenUp = new Map<Id, Id | undefined>();
  /** Whether a call was renamed though ids are not remapped. */
  let hasRenamed = false;
  let cancelled = false;
  let heardAt = 0;
  /** Of the first call that was given up since something was heard. */
  let givenUpSince: number | null = null;

  /**
   * Unguessable: a server may take text that an asker writes into a request for its id or progress token (`Id`, as some read
   * JSON), and answer somebody else's call. 31 bits, since some servers have no room for more.
   */
  function freshId(): number {
    for (;;) {
      const id = randomInt(1, 2 ** 31);
      if (!open.has(id)) return id;
    }
  }

  function settle(message: Message, raw: string): void {
    const id = message.id;
    if (id === undefined || id === null) return;
    const call = open.get(id);
    if (call !== undefined) {
      open.delete(id);
      call.span?.end(errorTypeOf(message));
      if (call.onAnswer !== null) call.onAnswer(call, message, raw);
      else if (call.exchange !== null && !call.exchange.ended)
        sendAnswer(call.exchange, call.encode(call, message, raw), statusOf(call, message));
      if (open.size === 0) handler.onIdle?.();
      return;
    }
    givenUp.delete(id);
    const asked = own.get(id);
    if (asked === undefined) return;
    own.delete(id);
    if (asked.timer !== null) clearTimeout(asked.timer);
    raws.set(message, raw);
    asked.resolve(message);
  }

  function givesUp(token: Id): boolean {
    for (const given of givenUp.values()) if (given === token) return true;
    return false;
  }

  function progress(message: Message, raw: string): boolean {
    const token = message.params?.progressToken;
    if (!isId(token)) return false;
    let call = open.get(token);
    if (call?.renamed !== true) {
      call = undefined;
      if (!remap) {
        for (const candidate of open.values())
          if (!candidate.renamed && candidate.clientToken === token) call = candidate;
      }
    }
    // In a shared child a token that no open call has belongs to a call that is over.
    if (call === undefined) return remap || givesUp(token);
    call.lastActivityAt = now();
    if (call.exchange === null || call.clientToken === undefined) return true;
    sendAlong(
      call.exchange,
      call.renamed
        ? replaceValues(raw, [
            { spans: findValues(raw, ["params", "progressToken"]), text: JSON.stringify(call.clientToken) },
          ])
        : raw,
    );
    return true;
  }

  child.handle({
    onMessage(message, raw) {
      heardAt = now();
      givenUpSince = null;
      const kind = kindOf(message);
      if (kind === "response") settle(message, raw);
      else if (kind === "request") handler.onRequest(message, raw);
      else if (message.method !== "notifications/progress" || !progress(message, raw))
        handler.onNotification(message, raw);
    },
    onEnd(end) {
      const lost = [...open.values()];
      open.clear();
      for (const call of lost) {
        call.span?.end("process_ended");
        answerCall(call, errorText(call.clientId, code.serverError, `${end.reason}; the call was not repeated`));
      }
      for (const asked of own.values()) {
        if (asked.timer !== null) clearTimeout(asked.timer);
        asked.reject(new PeerError(end.reason));
      }
      own.clear();
      handler.onEnd(end);
    },
  });

  function find(owner: object, clientId: Id): Call | undefined {
    const call = open.get(clientId);
    if (!remap && (call?.renamed === false || !hasRenamed)) return call;
    for (const one of open.values()) if (one.owner === owner && one.clientId === clientId) return one;
    return undefined;
  }

  function cancel(call: Call, reason: string): void {
    if (!open.delete(call.wireId)) return;
    // Such a stream has no other end.
    call.span?.end(call.method === "subscriptions/listen" ? null : "cancelled");
    cancelled = true;
    if (!remap) {
      givenUp.set(call.wireId, call.renamed ? call.wireId : call.clientToken);
      const [oldest] = givenUp.size > MAX_GIVEN_UP ? givenUp.keys() : [];
      if (oldest !== undefined) givenUp.delete(oldest);
    }
    givenUpSince = Math.min(givenUpSince ?? Infinity, Math.max(call.lastActivityAt, heardAt));
    child.send(
      `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${wireIdText(call)},"reason":${JSON.stringify(reason)}}}`,
    );
    if (call.exchange !== null) skipAnswer(call.exchange);
    if (open.size === 0) handler.onIdle?.();
  }

  return {
    child,
    open,
    get tainted() {
      return cancelled || own.size > 0;
    },
    get cancelled() {
      return cancelled;
    },
    get debt() {
      let calls = 0;
      let silentSince = givenUpSince ?? Infinity;
      for (const { method, paused, lastActivityAt } of open.values()) {
        if (method === "subscriptions/listen") continue;
        calls += 1;
        if (!paused) silentSince = Math.min(silentSince, Math.max(lastActivityAt, heardAt));
      }
      return { calls, silentSince: silentSince === Infinity ? null : silentSince };
    },
    request({ message, raw, exchange, owner, encode, rewrite }, params = message.params) {
      // The caller passes requests only, so there is an id and a method.
      const clientId = message.id as Id;
      const method = message.method as string;
      const token = metaOf(params)?.progressToken;
      const clientToken = isId(token) ? token : undefined;
      if (!remap && find(owner, clientId) !== undefined) return null;
      // The late answer to a call that was given up would be taken for that of the next with its id.
      const renamed =
        remap || (givenUp.size > 0 && (givenUp.has(clientId) || (clientToken !== undefined && givesUp(clientToken))));
      hasRenamed ||= renamed;
      const wireId = renamed ? freshId() : clientId;
      const call: Call = {
        clientId,
        // Of a session of its own, only where the server would read what this program prints for another.
        idText:
          renamed || (typeof clientId === "number" && !Number.isSafeInteger(clientId)) ? idTextOf(clientId, raw) : "",
        clientToken,
        wireId,
        renamed,
        method,
        exchange,
        owner,
        encode: renamed && !remap ? restoreId : encode,
        lastActivityAt: now(),
        paused: false,
        onAnswer: null,
        span: spanOf(message),
      };
      if (child.end !== null) {
        // The child ended during a lookup for the request.
        answerCall(call, errorText(clientId, code.serverError, `${child.end.reason}; the call was not passed on`));
        return call;
      }
      open.set(wireId, call);
      call.span?.sent();
      if (rewrite !== undefined) child.send(rewrite(wireId));
      else if (renamed) {
        const sent =
          clientToken === undefined ? params : { ...params, _meta: { ...metaOf(params), progressToken: wireId } };
        const printed =
          sent === undefined ? "" : `,"params":${printFrom(sent, message.params, lastText(raw, ["params"]))}`;
        child.send(`{"jsonrpc":"2.0","id":${wireId},"method":${JSON.stringify(method)}${printed}}`);
      } else child.send(raw);
      return call;
    },
    ask(method, params, timeoutMs) {
      if (child.end !== null) return Promise.reject(new PeerError(child.end.reason));
      const id = `${OWN_ID_PREFIX}${randomUUID()}`;
      return new Promise((resolve, reject) => {
        const timer =
          timeoutMs === null
            ? null
            : setTimeout(() => {
                own.delete(id);
                reject(new PeerError(`the server did not answer ${method} within ${timeoutMs / 1000} s`));
              }, timeoutMs);
        own.set(id, { resolve, reject, timer });
        child.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
      });
    },
    send: (text) => child.send(text),
    notify: (method, params) => child.send(JSON.stringify({ jsonrpc: "2.0", method, params })),
    cancel,
    find,
    expire(before, timeoutSeconds) {
      for (const call of open.values()) {
        if (call.paused || call.lastActivityAt > before) continue;
        answerCall(
          call,
          errorText(
            call.clientId,
            code.requestTimeout,
            `the server gave no answer and no progress within ${timeoutSeconds} s; the call was cancelled`,
          ),
        );
        call.exchange = null;
        call.span?.end("timeout");
        cancel(call, `no answer within ${timeoutSeconds} s`);
      }
    },
    release: () => child.handle(null),
  };
}
