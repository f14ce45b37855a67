import type { ServerResponse } from "node:http";

import {
  checkStateless,
  LOG_LEVELS,
  metaKey,
  mismatch,
  type RequestHeaders,
  STATELESS_VERSION,
} from "../protocol/era.ts";
import { createExchange, type Exchange, refuse, sendAlong, sendAnswer } from "../protocol/exchange.ts";
import { createHeldCalls, type HeldCalls } from "./held-calls.ts";
import { lastText, printFrom } from "../protocol/json-splice.ts";
import { code, type Id, isId, type Message, metaOf, type Params } from "../protocol/json-rpc.ts";
import type { LineLog } from "../child/line-log.ts";
import type { ToolNote } from "../child/tool-notes.ts";
import { findParamMismatch } from "../protocol/param-headers.ts";
import { type Call, restoreId } from "../child/peer.ts";
import { Unavailable } from "../child/pool.ts";
import type { Asker, SharedChild } from "../shared-child.ts";
import { relevantCapabilities, type SharedChildren } from "../shared-children.ts";
import { createSubscriptions } from "./subscriptions.ts";
import { toDiscoverResult, toStatelessError, toStatelessResult, withoutEnvelope } from "../protocol/translation.ts";
import { createUntranslated, untag } from "../protocol/untranslated.ts";

/** Serves the stateless revision (2026-07-28), and single requests of the older era that come without a session. */
export interface Stateless {
  /** One request or notification with an envelope. `text` is the request's body on one line. */
  serve(message: Message, request: StatelessRequest, response: ServerResponse): Promise<void>;
  /** One request of the session era without a session, as `curl` and probes send it. */
  serveBare(
    message: Message,
    text: string,
    caller: string,
    response: ServerResponse,
    streamable: boolean,
  ): Promise<void>;
  /** Requests and notifications that a shared child sends unasked. */
  onRequest(shared: SharedChild, message: Message, raw: string): void;
  onNotification(shared: SharedChild, message: Message, raw: string): void;
  statusOf(call: Call, message: Message): number;
  readonly held: HeldCalls;
  /** Streams that stay open, for keep-alives. */
  readonly streams: ReadonlySet<Exchange>;
  /** Ends the streams as the revision prescribes: with an empty result. */
  close(): void;
}

interface StatelessRequest {
  headers: RequestHeaders;
  header: (name: string) => string | undefined;
  /** The caller, as the proxy names them; "" without a proxy. */
  caller: string;
  text: string;
}

/** Methods of the session era that the stateless revision does not have. */
const REMOVED_METHODS: readonly string[] = [
  "initialize",
  "ping",
  "logging/setLevel",
  "resources/subscribe",
  "resources/unsubscribe",
  "tasks/list",
  "tasks/result",
];
/** Methods that leave a server's state as it was. */
const HARMLESS_METHODS: readonly string[] = [
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "ping",
];
/** Methods that a server with the capability knows: a "method not found" error in answer to one is about something else. */
const methodsOf: Readonly<Record<string, readonly string[]>> = {
  tools: ["tools/list", "tools/call"],
  prompts: ["prompts/list", "prompts/get"],
  resources: ["resources/list", "resources/read", "resources/templates/list"],
  completions: ["completion/complete"],
};
const SET_LEVEL_TIMEOUT_MS = 5_000;

function translated(call: Call, message: Message, raw: string): string {
  // Calls with this encoder are made in this file only, with an Asker as their owner.
  const { shared } = call.owner as Asker;
  const [name, value, before] =
    message.error === undefined
      ? ["result", toStatelessResult(call.method, message.result, shared.identity.serverInfo), message.result]
      : ["error", toStatelessError(message.error), message.error];
  return `{"jsonrpc":"2.0","id":${call.idText},"${name}":${printFrom(value, before, lastText(raw, [name]))}}`;
}

function targetOf({ method, params }: Message): string {
  return JSON.stringify([method, params?.name, params?.uri]);
}

export function createStateless(options: {
  children: SharedChildren;
  log: LineLog;
  now: () => number;
  holdMs: number;
  /** Whether callers are kept apart. */
  isolated: boolean;
}): Stateless {
  const { children, log, now, holdMs, isolated } = options;
  const subscriptions = createSubscriptions({ now });
  const untranslated = createUntranslated({ subscriptions });

  const isStateless = (call: Call): boolean => call.encode === translated || untranslated.isOne(call);

  function statusOf(call: Call, { error }: Message): number {
    if (error === undefined || !isStateless(call)) return 200;
    if (error.code === code.missingClientCapability) return 400;
    if (error.code !== code.methodNotFound) return 200;
    const { capabilities } = (call.owner as Asker).shared.identity;
    const known = Object.entries(methodsOf).some(
      ([name, methods]) => capabilities[name] !== undefined && methods.includes(call.method),
    );
    return known ? 200 : 404;
  }

  const held = createHeldCalls({
    now,
    holdMs,
    // Only the stateless encoder's calls have an Asker.
    declaredOf: (call) => (call.encode === translated ? (call.owner as Asker).capabilities : null),
    describeServer: (call) => (call.owner as Asker).shared.identity.serverInfo,
    statusOf,
  });

  function discover(id: Id, shared: SharedChild, response: ServerResponse): void {
    const { result: before, resultText } = shared.identity;
    const result = toDiscoverResult(shared.identity);
    sendAnswer(
      createExchange(response, { streamable: false, outstanding: 1 }),
      `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${printFrom(result, before, resultText)}}`,
    );
  }

  function applyLogLevel(shared: SharedChild, level: string): void {
    if (shared.identity.capabilities.logging === undefined) return;
    if (shared.logLevel !== null && LOG_LEVELS.indexOf(shared.logLevel) <= LOG_LEVELS.indexOf(level)) return;
    shared.logLevel = level;
    shared.peer
      .ask("logging/setLevel", { level }, SET_LEVEL_TIMEOUT_MS)
      .catch((error: unknown) => log.write("SYSTEM", String(error)));
  }

  /** Passes one request to a child of the session era; it is cancelled when its asker leaves. */
  function pass(
    shared: SharedChild,
    message: Message,
    raw: string,
    params: Params | undefined,
    exchange: Exchange,
    owner: object,
    encode: Call["encode"],
  ): void {
    if (!HARMLESS_METHODS.includes(message.method ?? "")) shared.untouched = false;
    const call = shared.peer.request({ message, raw, exchange, owner, encode }, params);
    if (call === null) return;
    exchange.response.once("close", () => {
      // After a round that asked for input the call waits for its client to come back.
      if (call.exchange === exchange && shared.peer.open.get(call.wireId) === call)
        shared.peer.cancel(call, "the client went away");
    });
  }

  /** Refuses a call that contradicts its tool's declaration. */
  function isToolRefused(
    note: ToolNote,
    shared: SharedChild,
    message: Message,
    header: StatelessRequest["header"],
    response: ServerResponse,
  ): boolean {
    const { id = null, params } = message;
    if (note.needsTask && shared.speaks === "sessions") {
      const text = `the tool ${String(params?.name)} runs as a task only, which takes a session: initialize one`;
      refuse(response, 200, { id, code: code.invalidParams, message: text });
      return true;
    }
    const found = findParamMismatch(note.headers, params?.arguments, header);
    if (found === null) return false;
    const refusal = mismatch(id, found.header, found.body);
    refuse(response, refusal.status, refusal);
    return true;
  }

  async function serveRequest(message: Message, id: Id, request: StatelessRequest, response: ServerResponse) {
    const { method = "", params } = message;
    const caller = isolated ? request.caller : "";
    const meta = metaOf(params);
    const capabilities = relevantCapabilities(meta?.[metaKey.clientCapabilities]);
    const level = meta?.[metaKey.logLevel];
    const logLevel = typeof level === "string" ? level : null;
    const target = targetOf(message);
    const exchange = createExchange(response, { streamable: true, outstanding: 1 });
    const state = typeof params?.requestState === "string" ? params.requestState : null;
    const isCall = method !== "server/discover" && method !== "subscriptions/listen";
    const tagged = state === null ? null : untag(state);
    const lease = await children.lease({
      caller,
      user: request.caller,
      capabilities,
      stateless: true,
      mayAsk: isCall && Object.keys(capabilities).length > 0,
      mayLog: isCall && logLevel !== null,
      childId: tagged?.childId,
      whenGone: (listener) => response.once("close", listener),
    });
    const shared = lease.child;
    try {
      const owner: Asker = { shared, caller, target, capabilities, logLevel };
      if (
        method === "tools/call" &&
        typeof params?.name === "string" &&
        shared.identity.capabilities.tools !== undefined
      ) {
        const note = shared.tools.known(params.name) ?? (await shared.tools.find(params.name));
        if (note !== undefined && isToolRefused(note, shared, message, request.header, response)) return;
      }
      if (response.destroyed) return;
      if (shared.speaks === "stateless")
        return untranslated.pass({ message, id, text: request.text, owner, exchange, state: tagged });
      if (method === "server/discover") return discover(id, shared, response);
      if (method === "subscriptions/listen") {
        if (!subscriptions.isFull(id, response)) subscriptions.listen(id, params, shared, response);
        return;
      }
      if (logLevel !== null) applyLogLevel(shared, logLevel);
      pass(shared, message, request.text, withoutEnvelope(params), exchange, owner, translated);
    } finally {
      lease.release();
    }
  }

  /** Another round of a call that is held open. */
  function resume(message: Message, id: Id, state: string, request: StatelessRequest, response: ServerResponse): void {
    const { params } = message;
    const caller = isolated ? request.caller : "";
    const level = metaOf(params)?.[metaKey.logLevel];
    const exchange = createExchange(response, { streamable: true, outstanding: 1 });
    const target = targetOf(message);
    const resumed = held.resume({
      state,
      message,
      raw: request.text,
      exchange,
      matches(call) {
        const before = call.owner as Asker;
        return before.caller === caller && before.target === target;
      },
      ownerAfter: (before) => ({
        ...(before as Asker),
        logLevel: typeof level === "string" ? level : null,
      }),
    });
    if (resumed) return;
    refuse(response, 200, {
      id,
      code: code.invalidParams,
      message:
        "the call that this input is for is gone: it ended, took too long, or runs in another replica; it was not repeated",
      data: { reason: "invalid_request_state" },
    });
  }

  return {
    held,
    statusOf,
    get streams() {
      return subscriptions.streams;
    },
    async serve(message, request, response) {
      const refused = checkStateless(message, request.headers);
      if (refused !== null) return refuse(response, refused.status, refused);
      const { id, method = "", params } = message;
      // Over HTTP a request is cancelled by closing it; no other notification of a client means anything without a session.
      if (!isId(id)) {
        response.writeHead(202).end();
        return;
      }
      if (REMOVED_METHODS.includes(method)) {
        return refuse(response, 404, {
          id,
          code: code.methodNotFound,
          message: `Method not found: ${method} is not part of protocol revision ${STATELESS_VERSION}`,
        });
      }
      try {
        if (typeof params?.requestState === "string" && !(await children.speakStateless()))
          return resume(message, id, params.requestState, request, response);
        await serveRequest(message, id, request, response);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        refuse(response, 503, {
          id,
          message: error.message,
          headers: { "retry-after": String(error.retryAfterSeconds) },
        });
      }
    },
    async serveBare(message, text, caller, response, streamable) {
      const lease = await children.lease({
        caller: isolated ? caller : "",
        user: caller,
        capabilities: {},
        stateless: false,
        mayAsk: false,
        mayLog: false,
      });
      try {
        if (response.destroyed) return;
        const exchange = createExchange(response, { streamable, outstanding: 1 });
        if (message.method === "ping")
          return sendAnswer(exchange, JSON.stringify({ jsonrpc: "2.0", id: message.id, result: {} }));
        pass(lease.child, message, text, message.params, exchange, {}, restoreId);
      } finally {
        lease.release();
      }
    },
    onRequest(shared, message, raw) {
      if (shared.speaks === "sessions") held.ask(shared.peer, message, raw);
      else untranslated.refuse(shared, message);
    },
    onNotification(shared, message, raw) {
      if (shared.speaks === "stateless") return untranslated.onNotification(shared, message, raw);
      if (message.method !== "notifications/message" || !shared.alone) {
        for (const listener of shared.listeners) listener(message, raw);
        return;
      }
      // A log line names no call; it goes to the only call that can be meant, if that asked for log lines, and otherwise to nobody.
      const [only] = shared.peer.open.values();
      if (only === undefined || only.encode !== translated || only.exchange === null) return;
      const { logLevel } = only.owner as Asker;
      const level = message.params?.level;
      if (logLevel !== null && typeof level === "string" && LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(logLevel))
        sendAlong(only.exchange, raw);
    },
    close: () => subscriptions.close(),
  };
}
