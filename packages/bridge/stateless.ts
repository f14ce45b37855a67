import { checkStateless, logLevels, metaKey, type RequestHeaders, statelessVersion } from "./era.ts";
import { createExchange, type Exchange, endExchange, refuse, sendAlong, sendAnswer } from "./exchange.ts";
import { createHeldCalls, type HeldCalls } from "./inputs.ts";
import { code, errorText, type Id, isId, isObject, type Message, metaOf, type Params } from "./json-rpc.ts";
import type { LineLog } from "./line-log.ts";
import type { Call } from "./peer.ts";
import {
  relevantCapabilities,
  restoreSharedId,
  type SharedChild,
  type SharedChildren,
  subscribe,
  unsubscribe,
} from "./shared.ts";
import type { ServerResponse } from "node:http";

/** Serves the stateless revision (2026-07-28), and single requests of the older era that come without a session. */
export interface Stateless {
  /** One request or notification with an envelope. */
  serve(message: Message, headers: RequestHeaders, response: ServerResponse): Promise<void>;
  /** One request of the session era without a session, as `curl` and probes send it. */
  serveBare(message: Message, response: ServerResponse, streamable: boolean): Promise<void>;
  /** What a shared child asks and tells by itself. */
  onRequest(shared: SharedChild, message: Message): void;
  onNotification(shared: SharedChild, message: Message): void;
  readonly held: HeldCalls;
  /** Streams that stay open, for keep-alives. */
  readonly streams: ReadonlySet<Exchange>;
  /** Ends the streams as the revision says it: with an empty result. */
  close(): void;
}

/** Who asked, for a call's encoder and for what the server asks in the middle of it. */
interface Asker {
  readonly shared: SharedChild;
  readonly capabilities: Record<string, unknown>;
  readonly logLevel: string | null;
}

/** Methods of the session era that the stateless revision does not have. */
const removedMethods: readonly string[] = [
  "initialize",
  "ping",
  "logging/setLevel",
  "resources/subscribe",
  "resources/unsubscribe",
  "tasks/list",
  "tasks/result",
];
/** Results that must say how long they may be kept. */
const cacheableMethods: readonly string[] = [
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "resources/read",
];
/** Asking these leaves a server as it was. */
const harmlessMethods: readonly string[] = [
  "tools/list",
  "prompts/list",
  "resources/list",
  "resources/templates/list",
  "ping",
];
const maxListens = 1_024;
const setLevelTimeoutMs = 5_000;

function stateless(call: Call, message: Message): string {
  // Calls of this encoder are asked in this file only, with an Asker as their owner.
  const { shared } = call.owner as Asker;
  if (message.error !== undefined) {
    // "Resource not found" moved to "invalid params" in 2026-07-28.
    const error = message.error.code === -32002 ? { ...message.error, code: code.invalidParams } : message.error;
    return JSON.stringify({ jsonrpc: "2.0", id: call.clientId, error });
  }
  return JSON.stringify({
    jsonrpc: "2.0",
    id: call.clientId,
    result: statelessResult(call.method, message.result, shared),
  });
}

function statelessResult(method: string, result: unknown, shared: SharedChild): unknown {
  if (!isObject(result)) return result;
  const given = isObject(result._meta) ? result._meta : undefined;
  const complete: Record<string, unknown> = {
    ...result,
    resultType: "complete",
    _meta: { [metaKey.serverInfo]: shared.identity.serverInfo, ...given },
  };
  if (method === "tools/list" && Array.isArray(result.tools)) {
    complete.tools = result.tools.map((tool: unknown) => {
      if (!isObject(tool) || !("execution" in tool)) return tool;
      const { execution: _execution, ...rest } = tool;
      return rest;
    });
  }
  if (cacheableMethods.includes(method)) {
    if (!Number.isInteger(result.ttlMs)) complete.ttlMs = 0;
    if (result.cacheScope !== "public") complete.cacheScope = "private";
  }
  return complete;
}

/** What to pass on of a stateless request's params: all but the envelope and what belongs to another round. */
function withoutEnvelope(params: Params | undefined): Params | undefined {
  if (params === undefined) return undefined;
  const { _meta: meta, inputResponses: _responses, requestState: _state, ...rest } = params;
  if (!isObject(meta)) return rest;
  const kept: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(meta)) {
    if (
      key !== metaKey.protocolVersion &&
      key !== metaKey.clientInfo &&
      key !== metaKey.clientCapabilities &&
      key !== metaKey.logLevel
    )
      kept[key] = value;
  }
  return Object.keys(kept).length === 0 ? rest : { ...rest, _meta: kept };
}

export function createStateless(options: {
  children: SharedChildren;
  log: LineLog;
  now: () => number;
  holdMs: number;
}): Stateless {
  const { children, log, now, holdMs } = options;
  const streams = new Set<Exchange>();
  const listens = new Set<(graceful: boolean) => void>();
  const held = createHeldCalls({
    now,
    holdMs,
    canAsk(call, method) {
      // Only the stateless encoder's calls have an Asker.
      if (call.encode !== stateless) return false;
      const { capabilities } = call.owner as Asker;
      return (
        (method === "elicitation/create"
          ? capabilities.elicitation
          : method === "roots/list"
            ? capabilities.roots
            : capabilities.sampling) !== undefined
      );
    },
    describeServer: (call) => (call.owner as Asker).shared.identity.serverInfo,
  });

  function discover(id: Id, shared: SharedChild, response: ServerResponse): void {
    const { capabilities, instructions, serverInfo } = shared.identity;
    const { tasks: _tasks, ...offered } = capabilities;
    const result = {
      resultType: "complete",
      supportedVersions: [statelessVersion],
      capabilities: offered,
      ...(typeof instructions === "string" ? { instructions } : {}),
      ttlMs: 0,
      cacheScope: "private",
      _meta: { [metaKey.serverInfo]: serverInfo },
    };
    sendAnswer(
      createExchange(response, { streamable: false, outstanding: 1 }),
      JSON.stringify({ jsonrpc: "2.0", id, result }),
    );
  }

  function listen(id: Id, params: Params | undefined, shared: SharedChild, response: ServerResponse): void {
    const filter = params?.notifications;
    if (!isObject(filter)) {
      return refuse(response, 200, {
        id,
        code: code.invalidParams,
        message: "Invalid params: 'notifications' is required and must be a valid SubscriptionFilter",
      });
    }
    if (streams.size >= maxListens)
      return refuse(response, 200, { id, code: code.internalError, message: "Subscription limit reached" });
    const offers = (name: string, what: string): boolean => {
      const capability = shared.identity.capabilities[name];
      return isObject(capability) && capability[what] === true;
    };
    const uris = Array.isArray(filter.resourceSubscriptions)
      ? filter.resourceSubscriptions.filter((uri) => typeof uri === "string")
      : [];
    const honored: Record<string, unknown> = {
      ...(filter.toolsListChanged === true && offers("tools", "listChanged") ? { toolsListChanged: true } : {}),
      ...(filter.promptsListChanged === true && offers("prompts", "listChanged") ? { promptsListChanged: true } : {}),
      ...(filter.resourcesListChanged === true && offers("resources", "listChanged")
        ? { resourcesListChanged: true }
        : {}),
      ...(uris.length > 0 && offers("resources", "subscribe") ? { resourceSubscriptions: uris } : {}),
    };
    const exchange = createExchange(response, { streamable: true, outstanding: 1 });
    const stamp = (message: Message): string =>
      JSON.stringify({
        ...message,
        params: { ...message.params, _meta: { ...metaOf(message.params), [metaKey.subscriptionId]: id } },
      });
    const finish = (): string =>
      JSON.stringify({
        jsonrpc: "2.0",
        id,
        result: {
          resultType: "complete",
          _meta: { [metaKey.subscriptionId]: id, [metaKey.serverInfo]: shared.identity.serverInfo },
        },
      });
    sendAlong(
      exchange,
      stamp({ jsonrpc: "2.0", method: "notifications/subscriptions/acknowledged", params: { notifications: honored } }),
    );
    if (Object.keys(honored).length === 0) return sendAnswer(exchange, finish());

    const listener = (message: Message): void => {
      const wanted =
        message.method === "notifications/tools/list_changed"
          ? honored.toolsListChanged === true
          : message.method === "notifications/prompts/list_changed"
            ? honored.promptsListChanged === true
            : message.method === "notifications/resources/list_changed"
              ? honored.resourcesListChanged === true
              : message.method === "notifications/resources/updated" &&
                honored.resourceSubscriptions !== undefined &&
                uris.includes(String(message.params?.uri));
      if (wanted) sendAlong(exchange, stamp(message));
    };
    const onEnd = (): void => {
      stop();
      sendAnswer(exchange, errorText(id, code.serverError, shared.peer.child.end?.reason ?? "the server ended"));
    };
    const stop = (): void => {
      shared.listeners.delete(listener);
      shared.endListeners.delete(onEnd);
      streams.delete(exchange);
      listens.delete(end);
      for (const uri of uris) unsubscribe(shared, uri, listener);
      shared.lastActiveAt = now();
    };
    const end = (graceful: boolean): void => {
      stop();
      if (graceful) sendAnswer(exchange, finish());
    };
    shared.listeners.add(listener);
    shared.endListeners.add(onEnd);
    streams.add(exchange);
    listens.add(end);
    if (honored.resourceSubscriptions !== undefined) {
      shared.untouched = false;
      for (const uri of uris) subscribe(shared, uri, listener);
    }
    response.once("close", () => {
      exchange.ended = true;
      if (listens.has(end)) stop();
    });
  }

  function applyLogLevel(shared: SharedChild, level: string): void {
    if (shared.identity.capabilities.logging === undefined) return;
    if (shared.logLevel !== null && logLevels.indexOf(shared.logLevel) <= logLevels.indexOf(level)) return;
    shared.logLevel = level;
    shared.peer
      .ask("logging/setLevel", { level }, setLevelTimeoutMs)
      .catch((error: unknown) => log.write("SYSTEM", String(error)));
  }

  /** Passes one request to a shared child; its asker's leaving cancels it. */
  function pass(
    shared: SharedChild,
    message: Message,
    params: Params | undefined,
    exchange: Exchange,
    owner: object,
    encode: Call["encode"],
  ): void {
    if (!harmlessMethods.includes(message.method ?? "")) shared.untouched = false;
    const call = shared.peer.request({ message, raw: null, exchange, owner, encode }, params);
    if (call === null) return;
    exchange.response.once("close", () => {
      // After a round that asked for input the call waits for its client to come back.
      if (call.exchange === exchange && shared.peer.open.get(call.wireId) === call)
        shared.peer.cancel(call, "the client went away");
    });
  }

  return {
    held,
    streams,
    async serve(message, headers, response) {
      const refused = checkStateless(message, headers);
      if (refused !== null) return refuse(response, refused.status, refused);
      const { id, method = "", params } = message;
      // Over HTTP a request is cancelled by closing it; no other notification of a client means anything without a session.
      if (!isId(id)) {
        response.writeHead(202).end();
        return;
      }
      if (removedMethods.includes(method)) {
        return refuse(response, 404, {
          id,
          code: code.methodNotFound,
          message: `Method not found: ${method} is not part of protocol revision ${statelessVersion}`,
        });
      }
      const meta = metaOf(params);
      const capabilities = relevantCapabilities(meta?.[metaKey.clientCapabilities]);
      const shared = await children.get(capabilities);
      if (response.destroyed) return;
      if (method === "server/discover") return discover(id, shared, response);
      if (method === "subscriptions/listen") return listen(id, params, shared, response);
      const level = meta?.[metaKey.logLevel];
      const logLevel = typeof level === "string" ? level : null;
      const exchange = createExchange(response, { streamable: true, outstanding: 1 });
      const owner: Asker = { shared, capabilities, logLevel };
      if (typeof params?.requestState === "string") {
        if (!held.resume({ state: params.requestState, message, exchange, owner })) {
          refuse(response, 200, {
            id,
            code: code.invalidParams,
            message:
              "the call that this input is for is gone: it ended, took too long, or runs in another replica; it was not repeated",
          });
        }
        return;
      }
      if (logLevel !== null) applyLogLevel(shared, logLevel);
      pass(shared, message, withoutEnvelope(params), exchange, owner, stateless);
    },
    async serveBare(message, response, streamable) {
      const shared = await children.get({});
      if (response.destroyed) return;
      const exchange = createExchange(response, { streamable, outstanding: 1 });
      if (message.method === "ping")
        return sendAnswer(exchange, JSON.stringify({ jsonrpc: "2.0", id: message.id, result: {} }));
      pass(shared, message, message.params, exchange, { shared }, restoreSharedId);
    },
    onRequest: (shared, message) => held.ask(shared.peer, message),
    onNotification(shared, message) {
      if (message.method !== "notifications/message") {
        for (const listener of shared.listeners) listener(message);
        return;
      }
      // A log line names no call: it goes to the only one that runs and asked for it, never to somebody else's.
      const [only, ...others] = shared.peer.open.values();
      if (only === undefined || others.length > 0 || only.encode !== stateless || only.exchange === null) {
        for (const listener of shared.listeners) listener(message);
        return;
      }
      const { logLevel } = only.owner as Asker;
      const level = message.params?.level;
      if (logLevel !== null && typeof level === "string" && logLevels.indexOf(level) >= logLevels.indexOf(logLevel)) {
        sendAlong(only.exchange, JSON.stringify(message));
      }
    },
    close() {
      for (const end of listens) end(true);
      for (const exchange of streams) endExchange(exchange);
    },
  };
}
