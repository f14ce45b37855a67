import { isObject } from "@toolyard/service-kit/json.ts";
import type { ChildEnd } from "../child/child.ts";
import {
  createExchange,
  type Exchange,
  endExchange,
  openStream,
  refuse,
  sendAlong,
  sendAnswer,
} from "../protocol/exchange.ts";
import { SESSION_VERSIONS } from "../protocol/era.ts";
import { itemsOf, printFrom } from "../protocol/json-splice.ts";
import {
  code,
  errorText,
  type Id,
  kindOf,
  MAX_ASKED,
  type Message,
  metaOf,
  type Params,
} from "../protocol/json-rpc.ts";
import { unwatchable } from "../protocol/watched.ts";
import { type Call, createPeer, type Peer, restoreId } from "../child/peer.ts";
import type { Child } from "../child/child.ts";
import { type SharedChild, subscribe, unsubscribe } from "../shared-child.ts";
import type { ServerResponse } from "node:http";
import type { ReplayMemory } from "./replay.ts";

/** One client's session of the older era: its messages, and the streams that lead back to it. */
export interface Session {
  readonly id: string;
  /** The caller who owns it, as the proxy names them. */
  readonly caller: string;
  readonly peer: Peer;
  /** Whether its server answered `initialize`. */
  readonly ready: boolean;
  /** Epoch ms of the last request, answer or stream that ended. */
  readonly lastActiveAt: number;
  readonly busy: boolean;
  readonly listening: boolean;
  /** Takes the messages of one POST. `text` is its body on one line. */
  post(
    messages: Message[],
    options: { batch: boolean; text: string; response: ServerResponse; streamable: boolean },
  ): void;
  /** Takes a GET: a stream for messages that belong to no request, or the rest of the one that has the event with this id. */
  stream(response: ServerResponse, lastEventId?: string): void;
  sweep(now: number, inputMs: number): void;
  keepAlive(write: (exchange: Exchange) => void): void;
  close(reason: string): void;
}

export interface SessionOptions {
  id: string;
  caller: string;
  /** Its own child, not initialised yet; its own, initialised by the bridge; or one it shares with other sessions. */
  child:
    { kind: "own"; child: Child } | { kind: "taken"; shared: SharedChild } | { kind: "shared"; shared: SharedChild };
  replayMemory: ReplayMemory;
  now: () => number;
  timeoutSeconds: number;
  /** The time limit for the answer to `initialize`. */
  startTimeoutSeconds: number;
  /** Called when a message goes to a child that others use as well. */
  onUse: (child: SharedChild) => void;
  /** Called when the server answered `initialize`. */
  onReady: (child: Child) => void;
  /** The session is over: its child ended, or refused `initialize`. */
  onEnd: () => void;
}

/** A request of the server that its client has not answered: nothing of it is kept that may be long. */
interface Asked {
  readonly isPing: boolean;
  at: number;
  delivered: boolean;
}

/** In the result of `initialize`: capabilities of the client that nobody will use, since sessions share the server. */
const UNSERVED_KEY = "toolyard/unservedCapabilities";
/** Messages that wait for a stream: until the client opens its GET stream there may be none. */
const MAX_WAITING = 256;
/** The longest id of a request of the server. */
const MAX_ID_CHARS = 1_024;
const MAX_WAITING_CHARS = 1024 * 1024;
/** The first version whose clients take the event, without data, by which a stream can be resumed from its beginning. */
const FIRST_WITH_EMPTY_EVENTS = "2025-11-25";
/** A call that takes longer is answered on a stream, which its client can come back for. */
const SLOW_CALL_MS = 1_000;
/** How long the events of streams are kept. */
const KEEP_EVENTS_MS = 5 * 60_000;

/** The child's line unchanged, as a session with a child of its own needs it. */
function passThrough(_call: Call, _message: Message, raw: string): string {
  return raw;
}

/** A shared server's answer to one more `initialize`: in the requested version, with the capabilities of the client that go unused. */
function sharedResult(result: Params, initialize: Params | undefined): Params {
  const asked = initialize?.protocolVersion;
  const declared = isObject(initialize?.capabilities) ? initialize.capabilities : {};
  const unserved = ["elicitation", "roots", "sampling"].filter((name) => declared[name] !== undefined);
  return {
    ...result,
    ...(typeof asked === "string" && SESSION_VERSIONS.includes(asked) ? { protocolVersion: asked } : {}),
    ...(unserved.length === 0 ? {} : { _meta: { ...metaOf(result), [UNSERVED_KEY]: unserved } }),
  };
}

export function createSession(options: SessionOptions): Session {
  const { id, caller, now, timeoutSeconds, startTimeoutSeconds, onUse, onReady, onEnd } = options;
  const owner = {};
  const streams: Exchange[] = [];
  const asked = new Map<Id, Asked>();
  const watching = new Set<string>();
  let waiting: { json: string; asks: Id | null }[] = [];
  let waitingChars = 0;
  let lastActiveAt = now();
  let closed = false;
  let ready = false;
  let takesEmptyEvents = false;
  const replay = options.replayMemory.create(() => takesEmptyEvents);
  const shared = options.child.kind === "own" ? null : options.child.shared;
  const own = options.child.kind !== "shared";
  const encode = own ? passThrough : restoreId;

  const peer: Peer =
    options.child.kind === "shared"
      ? options.child.shared.peer
      : createPeer({
          child: options.child.kind === "own" ? options.child.child : options.child.shared.peer.child,
          remap: false,
          now,
          handler: {
            onNotification: (_message, raw) => tell(raw, _message),
            onRequest: ask,
            onEnd: ended,
            onIdle: () => (lastActiveAt = now()),
          },
        });

  function ended(_end: ChildEnd): void {
    if (closed) return;
    finish();
    onEnd();
  }

  function finish(): void {
    closed = true;
    for (const stream of streams.splice(0)) endExchange(stream);
    waiting = [];
    asked.clear();
    replay.clear();
    if (shared !== null && !own) {
      shared.listeners.delete(listener);
      shared.endListeners.delete(ended);
      for (const uri of watching) unsubscribe(shared, uri, owner);
    }
  }

  function usable(exchange: Exchange | null): exchange is Exchange {
    return exchange !== null && exchange.streamable && !exchange.ended && !exchange.response.destroyed;
  }

  /** A server over stdio does not say which request a message belongs to. With one open request, it is that one. */
  function route(): Exchange | null {
    let newest: Exchange | null = null;
    /** A call's stream whose client may come back for it. */
    let left: Exchange | null = null;
    let count = 0;
    for (const call of peer.open.values()) {
      if (call.owner !== owner) continue;
      count += 1;
      if (call.exchange?.streaming === true) left = call.exchange;
      if (usable(call.exchange)) newest = call.exchange;
    }
    if (count === 1 && newest !== null) return newest;
    for (const stream of streams.toReversed()) if (usable(stream)) return stream;
    return newest ?? left;
  }

  function deliver(json: string, asks: Id | null): boolean {
    const exchange = route();
    if (exchange !== null) return sendAlong(exchange, json) && usable(exchange);
    if (waiting.length < MAX_WAITING && waitingChars + json.length <= MAX_WAITING_CHARS) {
      waiting.push({ json, asks });
      waitingChars += json.length;
    }
    return false;
  }

  function tell(raw: string, message: Message): void {
    if (message.method === "notifications/cancelled") {
      const request = message.params?.requestId;
      if ((typeof request === "string" || typeof request === "number") && asked.delete(request)) resume();
    }
    deliver(raw, null);
  }

  const listener = (_message: Message, raw: string): void => {
    deliver(raw, null);
  };

  function ask(message: Message, raw: string): void {
    const request = message.id;
    if (request === undefined || request === null) return;
    if (message.method === "ping" && !usable(route())) {
      // A server that pings its client must not get an error only because the client has no stream open.
      peer.send(JSON.stringify({ jsonrpc: "2.0", id: request, result: {} }));
      return;
    }
    if (asked.size >= MAX_ASKED || String(request).length > MAX_ID_CHARS) {
      const problem =
        asked.size >= MAX_ASKED
          ? `${MAX_ASKED} requests to this client are open already`
          : `its id is longer than ${MAX_ID_CHARS} characters`;
      peer.send(errorText(request, code.serverError, problem));
      return;
    }
    const entry: Asked = { isPing: message.method === "ping", at: now(), delivered: false };
    asked.set(request, entry);
    entry.delivered = deliver(raw, request);
    if (!entry.isPing) for (const call of peer.open.values()) call.paused = true;
  }

  function resume(): void {
    for (const entry of asked.values()) if (!entry.isPing) return;
    for (const call of peer.open.values()) {
      call.paused = false;
      call.lastActivityAt = now();
    }
  }

  function refuseServer(request: Id, text: string): void {
    asked.delete(request);
    peer.send(errorText(request, code.requestTimeout, text));
    resume();
  }

  function onInitialized(call: Call, message: Message, raw: string): void {
    lastActiveAt = now();
    if (call.exchange === null) return;
    if (message.error === undefined) {
      call.exchange.sessionId = id;
      settleVersion(message.result);
      onReady(peer.child);
    }
    sendAnswer(call.exchange, raw);
    if (message.error !== undefined) {
      close("the server refused to initialize");
      onEnd();
    }
  }

  function settleVersion(result: unknown): void {
    ready = true;
    const version = isObject(result) ? result.protocolVersion : null;
    takesEmptyEvents = typeof version === "string" && version >= FIRST_WITH_EMPTY_EVENTS;
  }

  function request(message: Message, exchange: Exchange, text: string): void {
    const clientId = message.id as Id; // kindOf said it is a request
    if (message.method === "initialize") {
      if (shared === null) {
        const call = peer.request({ message, raw: text, exchange, owner, encode });
        if (call !== null) call.onAnswer = onInitialized;
        return;
      }
      exchange.sessionId = id;
      const { result, resultText } = shared.identity;
      const said = own ? result : sharedResult(result, message.params);
      settleVersion(said);
      onReady(peer.child);
      const answer = own ? resultText : printFrom(said, result, resultText);
      sendAnswer(exchange, `{"jsonrpc":"2.0","id":${JSON.stringify(clientId)},"result":${answer}}`);
      return;
    }
    const uri = message.params?.uri;
    if (
      !own &&
      shared !== null &&
      typeof uri === "string" &&
      (message.method === "resources/subscribe" || message.method === "resources/unsubscribe")
    ) {
      if (message.method === "resources/subscribe") {
        const problem = unwatchable(watching, uri);
        if (problem !== null) return sendAnswer(exchange, errorText(clientId, code.invalidParams, problem));
        watching.add(uri);
        subscribe(shared, uri, owner);
      } else {
        watching.delete(uri);
        unsubscribe(shared, uri, owner);
      }
      sendAnswer(exchange, JSON.stringify({ jsonrpc: "2.0", id: clientId, result: {} }));
      return;
    }
    if (peer.request({ message, raw: text, exchange, owner, encode }) === null) {
      sendAnswer(
        exchange,
        errorText(
          clientId,
          code.invalidRequest,
          `the request id ${JSON.stringify(clientId)} is in use by a request that is still open`,
        ),
        400,
      );
    }
  }

  function notification(message: Message, text: string): void {
    if (message.method === "notifications/initialized" && shared !== null) return;
    if (message.method === "notifications/cancelled") {
      const target = message.params?.requestId;
      const call = typeof target === "string" || typeof target === "number" ? peer.find(owner, target) : undefined;
      const reason = message.params?.reason;
      if (call !== undefined) peer.cancel(call, typeof reason === "string" ? reason : "the client cancelled it");
      return;
    }
    // To a shared server, one session's notifications would be everybody's.
    if (own) peer.send(text);
  }

  function response(message: Message, text: string): void {
    if (message.id === undefined || message.id === null || !asked.delete(message.id)) return;
    peer.send(text);
    resume();
  }

  function close(reason: string): void {
    if (closed) return;
    for (const call of peer.open.values()) {
      if (call.owner !== owner) continue;
      if (call.exchange !== null) sendAnswer(call.exchange, errorText(call.clientId, code.serverError, reason));
      call.exchange = null;
      if (!own) peer.cancel(call, reason);
    }
    finish();
    if (own) {
      peer.release();
      void peer.child.close();
    }
  }

  function openListening(httpResponse: ServerResponse): Exchange {
    const outstanding = Number.POSITIVE_INFINITY;
    const exchange = createExchange(httpResponse, { streamable: true, outstanding, keeper: replay });
    exchange.sessionId = id;
    openStream(exchange);
    return exchange;
  }

  if (shared !== null && !own) {
    shared.listeners.add(listener);
    shared.endListeners.add(ended);
  }

  return {
    id,
    caller,
    peer,
    get ready() {
      return ready;
    },
    get lastActiveAt() {
      return lastActiveAt;
    },
    get busy() {
      for (const call of peer.open.values()) if (call.owner === owner) return true;
      return false;
    },
    get listening() {
      return streams.some(usable);
    },
    post(messages, { batch, text, response: httpResponse, streamable }) {
      lastActiveAt = now();
      if (!own && shared !== null) onUse(shared);
      let requests = 0;
      for (const message of messages) if (kindOf(message) === "request") requests += 1;
      const exchange =
        requests === 0
          ? null
          : createExchange(httpResponse, { streamable, outstanding: requests, batch, keeper: replay });
      const raws = batch ? itemsOf(text) : null;
      for (let index = 0; index < messages.length; index += 1) {
        const message = messages[index] as Message; // within the bounds
        const raw = raws === null ? text : (raws[index] ?? JSON.stringify(message));
        const kind = kindOf(message);
        if (kind === "request" && exchange !== null) request(message, exchange, raw);
        else if (kind === "notification") notification(message, raw);
        else response(message, raw);
      }
      if (exchange === null) httpResponse.writeHead(202).end();
    },
    stream(httpResponse, lastEventId) {
      lastActiveAt = now();
      const resumed = lastEventId === undefined ? "new" : replay.resume(lastEventId, httpResponse);
      if (resumed === "gone")
        return refuse(httpResponse, 400, { message: "Bad Request: there is no event with this id to resume from" });
      const exchange = resumed === "new" ? openListening(httpResponse) : resumed;
      if (resumed !== "new") {
        for (const entry of asked.values()) {
          if (!entry.delivered) entry.at = now();
          entry.delivered = true;
        }
      }
      if (exchange.outstanding !== Number.POSITIVE_INFINITY) return;
      if (!streams.includes(exchange)) streams.push(exchange);
      httpResponse.once("close", () => {
        // It may have gone on elsewhere.
        const at = exchange.response === httpResponse ? streams.indexOf(exchange) : -1;
        if (at !== -1) streams.splice(at, 1);
        lastActiveAt = now();
      });
      const held = waiting;
      waiting = [];
      waitingChars = 0;
      for (const { json, asks } of held) {
        const entry = asks === null ? undefined : asked.get(asks);
        if (asks !== null && entry === undefined) continue;
        sendAlong(exchange, json);
        if (entry !== undefined) {
          entry.delivered = true;
          entry.at = now();
        }
      }
    },
    sweep(at, inputMs) {
      const seconds = ready ? timeoutSeconds : Math.max(timeoutSeconds, startTimeoutSeconds);
      if (own) peer.expire(at - seconds * 1000, seconds);
      replay.sweep(at - KEEP_EVENTS_MS);
      if (takesEmptyEvents) {
        for (const { owner: asker, exchange, lastActivityAt } of peer.open.values())
          if (asker === owner && at - lastActivityAt >= SLOW_CALL_MS && usable(exchange)) openStream(exchange);
      }
      if (!ready && peer.open.size === 0) {
        close("the server did not answer initialize");
        onEnd();
        return;
      }
      for (const [request_, entry] of asked) {
        if (!entry.delivered && at - entry.at > timeoutSeconds * 1000)
          refuseServer(request_, "the client has no stream open to be asked on");
        else if (at - entry.at > inputMs) refuseServer(request_, "the client did not answer in time");
      }
    },
    keepAlive(write) {
      for (const stream of streams) write(stream);
      for (const { method, exchange } of peer.open.values()) {
        // A server may take longer to start than proxies in between wait for a first byte.
        if (own && !ready && method === "initialize" && usable(exchange)) {
          exchange.sessionId = id;
          openStream(exchange);
        }
      }
      for (const call of peer.open.values()) if (call.owner === owner && call.exchange !== null) write(call.exchange);
    },
    close,
  };
}
