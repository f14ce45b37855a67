import type { Child, ChildEnd, ChildHandler } from "./child.ts";
import { metaKey, sessionVersions, statelessVersion } from "./era.ts";
import { code, type Id, isObject, kindOf, type Message, metaOf, type Params } from "./json-rpc.ts";

/**
 * Makes a child that speaks only the stateless revision (2026-07-28) look like one of the session era, so that the rest
 * of the bridge knows one kind of child: requests get the envelope, `input_required` results become requests to the
 * client and the call's next leg, `subscriptions/listen` becomes unasked notifications. Such servers are rare.
 */

/** A call with its current leg. Further legs continue the same call with the client's input, as the revision defines. */
interface Leg {
  readonly original: Message;
  /** The id the child knows this leg by. */
  id: Id;
  rounds: number;
  requestState: string | undefined;
  /** Input still asked of the client, by key. */
  awaited: Set<string>;
  responses: Record<string, unknown>;
}

const maxRounds = 10;
/** Pause before a leg that carries no input, as the SDK's own driver has it (ms). */
const emptyRoundMs = 250;

export function adaptStatelessChild(child: Child): Child {
  let handler: ChildHandler | null = null;
  let clientCapabilities: unknown = {};
  let clientInfo: unknown;
  let logLevel: string | null = null;
  let serverCapabilities: Record<string, unknown> = {};
  let listenId: string | null = null;
  let initializeId: Id | null = null;
  let counter = 0;
  const watched = new Set<string>();
  const legs = new Map<Id, Leg>();
  const inputs = new Map<Id, { leg: Leg; key: string }>();
  const pauses = new Set<NodeJS.Timeout>();

  function emit(message: Message): void {
    handler?.onMessage(message, JSON.stringify(message));
  }
  function answer(id: Id, result: unknown): void {
    emit({ jsonrpc: "2.0", id, result });
  }
  function send(message: Message): void {
    child.send(JSON.stringify(message));
  }
  function nextId(kind: string): string {
    counter += 1;
    return `toolyard-${kind}:${counter}`;
  }
  function enveloped(params: Params | undefined): Params {
    return {
      ...params,
      _meta: {
        ...metaOf(params),
        [metaKey.protocolVersion]: statelessVersion,
        [metaKey.clientCapabilities]: clientCapabilities,
        ...(clientInfo === undefined ? {} : { [metaKey.clientInfo]: clientInfo }),
        ...(logLevel === null ? {} : { [metaKey.logLevel]: logLevel }),
      },
    };
  }

  function listen(): void {
    if (listenId !== null) send({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: listenId } });
    listenId = null;
    const changes = (name: string): boolean =>
      isObject(serverCapabilities[name]) && serverCapabilities[name].listChanged === true;
    const filter = {
      ...(changes("tools") ? { toolsListChanged: true } : {}),
      ...(changes("prompts") ? { promptsListChanged: true } : {}),
      ...(changes("resources") ? { resourcesListChanged: true } : {}),
      ...(watched.size > 0 ? { resourceSubscriptions: [...watched] } : {}),
    };
    if (Object.keys(filter).length === 0) return;
    listenId = nextId("listen");
    send({
      jsonrpc: "2.0",
      id: listenId,
      method: "subscriptions/listen",
      params: enveloped({ notifications: filter }),
    });
  }

  function fromClientRequest(message: Message, id: Id): void {
    const params = message.params;
    switch (message.method) {
      case "initialize":
        clientCapabilities = params?.capabilities ?? {};
        clientInfo = params?.clientInfo;
        initializeId = id;
        send({ jsonrpc: "2.0", id: "toolyard-discover", method: "server/discover", params: enveloped(undefined) });
        return;
      case "ping":
        return answer(id, {});
      case "logging/setLevel":
        if (typeof params?.level === "string") logLevel = params.level;
        return answer(id, {});
      case "resources/subscribe":
      case "resources/unsubscribe":
        if (typeof params?.uri === "string") {
          if (message.method === "resources/subscribe") watched.add(params.uri);
          else watched.delete(params.uri);
          listen();
        }
        return answer(id, {});
      default:
        legs.set(id, { original: message, id, rounds: 0, requestState: undefined, awaited: new Set(), responses: {} });
        send({ ...message, params: enveloped(params) });
    }
  }

  function drop(leg: Leg): void {
    legs.delete(leg.id);
    for (const [id, input] of inputs) if (input.leg === leg) inputs.delete(id);
  }

  function legOf(clientId: unknown): Leg | undefined {
    for (const leg of legs.values()) if (leg.original.id === clientId) return leg;
    for (const { leg } of inputs.values()) if (leg.original.id === clientId) return leg;
    return undefined;
  }

  function goOn(leg: Leg): void {
    leg.id = nextId("leg");
    legs.set(leg.id, leg);
    const params = {
      ...leg.original.params,
      ...(Object.keys(leg.responses).length > 0 ? { inputResponses: leg.responses } : {}),
      ...(leg.requestState === undefined ? {} : { requestState: leg.requestState }),
    };
    leg.responses = {};
    send({ ...leg.original, id: leg.id, params: enveloped(params) });
  }

  function fromClientAnswer(message: Message): void {
    const input = message.id === undefined || message.id === null ? undefined : inputs.get(message.id);
    if (input === undefined || message.id === undefined || message.id === null) return;
    inputs.delete(message.id);
    const { leg, key } = input;
    if (message.error !== undefined) {
      drop(leg);
      emit({ jsonrpc: "2.0", id: leg.original.id ?? null, error: message.error });
      return;
    }
    leg.awaited.delete(key);
    leg.responses[key] = message.result;
    if (leg.awaited.size === 0) goOn(leg);
  }

  function needInput(leg: Leg, result: Record<string, unknown>): void {
    leg.rounds += 1;
    leg.requestState = typeof result.requestState === "string" ? result.requestState : undefined;
    if (leg.rounds > maxRounds) {
      emit({
        jsonrpc: "2.0",
        id: leg.original.id ?? null,
        error: { code: code.internalError, message: `the server still required input after ${maxRounds} rounds` },
      });
      return;
    }
    const requests = isObject(result.inputRequests) ? Object.entries(result.inputRequests) : [];
    if (requests.length === 0) {
      const pause = setTimeout(() => {
        pauses.delete(pause);
        goOn(leg);
      }, emptyRoundMs);
      pauses.add(pause);
      return;
    }
    leg.awaited = new Set(requests.map(([key]) => key));
    for (const [key, request] of requests) {
      const id = nextId("input");
      inputs.set(id, { leg, key });
      if (isObject(request) && typeof request.method === "string") {
        emit({
          jsonrpc: "2.0",
          id,
          method: request.method,
          ...(isObject(request.params) ? { params: request.params } : {}),
        });
      }
    }
  }

  function fromServerAnswer(message: Message): void {
    const { id, result, error } = message;
    if (id === undefined || id === null) return;
    if (id === "toolyard-discover") {
      const to = initializeId;
      initializeId = null;
      if (to === null) return;
      if (error !== undefined || !isObject(result)) {
        emit({
          jsonrpc: "2.0",
          id: to,
          error: error ?? {
            code: code.internalError,
            message: "the server's answer to server/discover is not an object",
          },
        });
        return;
      }
      serverCapabilities = isObject(result.capabilities) ? result.capabilities : {};
      answer(to, {
        protocolVersion: sessionVersions[0],
        capabilities: serverCapabilities,
        serverInfo: metaOf(result)?.[metaKey.serverInfo] ?? { name: "unnamed", version: "0" },
        ...(typeof result.instructions === "string" ? { instructions: result.instructions } : {}),
      });
      return;
    }
    const leg = legs.get(id);
    if (leg === undefined) return;
    legs.delete(id);
    const clientId = leg.original.id ?? null;
    if (error !== undefined) return emit({ jsonrpc: "2.0", id: clientId, error });
    if (isObject(result) && result.resultType === "input_required") return needInput(leg, result);
    if (!isObject(result)) return emit({ jsonrpc: "2.0", id: clientId, result });
    const { resultType: _resultType, ...rest } = result;
    emit({ jsonrpc: "2.0", id: clientId, result: rest });
  }

  function fromServerNotification(message: Message): void {
    if (message.method === "notifications/subscriptions/acknowledged") return;
    const meta = metaOf(message.params);
    if (meta === undefined || !(metaKey.subscriptionId in meta)) return emit(message);
    const { [metaKey.subscriptionId]: _subscription, ...kept } = meta;
    emit({ ...message, params: { ...message.params, _meta: kept } });
  }

  return {
    get pid() {
      return child.pid;
    },
    startedAt: child.startedAt,
    get end() {
      return child.end;
    },
    get closing() {
      return child.closing;
    },
    get printed() {
      return child.printed;
    },
    gone: child.gone,
    handle(next) {
      handler = next;
      child.handle({
        onMessage(message) {
          const kind = kindOf(message);
          if (kind === "response") fromServerAnswer(message);
          else if (kind === "notification") fromServerNotification(message);
          else emit(message);
        },
        onEnd(end: ChildEnd) {
          for (const pause of pauses) clearTimeout(pause);
          handler?.onEnd(end);
        },
      });
    },
    send(text) {
      // The bridge writes only messages it has read or made itself.
      const message = JSON.parse(text) as Message;
      const kind = kindOf(message);
      if (kind === "request" && message.id !== undefined && message.id !== null) fromClientRequest(message, message.id);
      else if (kind === "response") fromClientAnswer(message);
      else if (message.method === "notifications/initialized") listen();
      else if (message.method === "notifications/cancelled") {
        const leg = legOf(message.params?.requestId);
        if (leg === undefined) return;
        drop(leg);
        send({ ...message, params: { ...message.params, requestId: leg.id } });
      } else if (message.method !== "notifications/roots/list_changed")
        send({ ...message, params: enveloped(message.params) });
    },
    close: () => child.close(),
    kill: () => child.kill(),
  };
}
