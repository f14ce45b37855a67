import { randomUUID } from "node:crypto";
import { isObject } from "@toolyard/service-kit/json.ts";
import type { Child, ChildEnd, ChildHandler } from "./child.ts";
import { metaKey, SESSION_VERSIONS, STATELESS_VERSION } from "../protocol/era.ts";
import { code, type Id, kindOf, type Message, metaOf, type Params } from "../protocol/json-rpc.ts";
import { findValues, lastText, membersOf, printFrom, replaceValues } from "../protocol/json-splice.ts";
import { unwatchable } from "../protocol/watched.ts";

/**
 * Makes a child that speaks only the stateless revision (2026-07-28) look like one of the session era, so that the rest
 * of the bridge knows one kind of child: requests get the envelope, `input_required` results become requests to the
 * client and the call's next leg, `subscriptions/listen` becomes unasked notifications. Such servers are rare. Messages in transit
 * keep their text: they are parsed for routing, and serialized anew only where changed.
 */

/** A call with its current leg. Further legs continue the same call with the client's input, as the revision defines. */
interface Leg {
  readonly original: Message;
  /** Its text. */
  readonly raw: string;
  /** The id the child knows this leg by. */
  id: Id;
  rounds: number;
  requestState: string | undefined;
  /** Input still asked of the client, by key. */
  awaited: Set<string>;
  /** As their clients wrote them. */
  responses: Map<string, string>;
}

const MAX_ROUNDS = 10;
/** Input that one round may ask for. */
const MAX_INPUTS = 256;
/** Pause before a leg that carries no input, as in the SDK's own driver (ms). */
const EMPTY_ROUND_MS = 250;

export function adaptStatelessChild(child: Child): Child {
  let handler: ChildHandler | null = null;
  let clientCapabilities: unknown = {};
  let clientInfo: unknown;
  let logLevel: string | null = null;
  let serverCapabilities: Record<string, unknown> = {};
  let listenId: string | null = null;
  let discoverId: Id | null = null;
  let initializeId: Id | null = null;
  const watched = new Set<string>();
  const legs = new Map<Id, Leg>();
  const inputs = new Map<Id, { leg: Leg; key: string }>();
  /** Legs that wait for their next one without input. */
  const pauses = new Map<Leg, NodeJS.Timeout>();

  function emit(message: Message, raw = JSON.stringify(message)): void {
    handler?.onMessage(message, raw);
  }
  function answer(id: Id, result: unknown): void {
    emit({ jsonrpc: "2.0", id, result });
  }
  /** Sends the leg's client the `member` of its answer as the server wrote it. */
  function answerLeg(leg: Leg, message: Message, member: "result" | "error", text: string): void {
    emit(message, `{"jsonrpc":"2.0","id":${lastText(leg.raw, ["id"])},"${member}":${text}}`);
  }
  function send(message: Message): void {
    child.send(JSON.stringify(message));
  }
  /** A client's message with the envelope. */
  function sendEnveloped(message: Message, raw: string): void {
    child.send(printFrom({ ...message, params: enveloped(message.params) }, message, raw));
  }
  /** Unguessable, since clients choose their ids, which the child gets beside these. */
  function newId(kind: string): string {
    return `toolyard-${kind}:${randomUUID()}`;
  }
  function enveloped(params: Params | undefined): Params {
    return {
      ...params,
      _meta: {
        ...metaOf(params),
        [metaKey.protocolVersion]: STATELESS_VERSION,
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
    listenId = newId("listen");
    send({
      jsonrpc: "2.0",
      id: listenId,
      method: "subscriptions/listen",
      params: enveloped({ notifications: filter }),
    });
  }

  function fromClientRequest(message: Message, id: Id, raw: string): void {
    const params = message.params;
    switch (message.method) {
      case "initialize":
        clientCapabilities = params?.capabilities ?? {};
        clientInfo = params?.clientInfo;
        initializeId = id;
        discoverId = newId("discover");
        send({ jsonrpc: "2.0", id: discoverId, method: "server/discover", params: enveloped(undefined) });
        return;
      case "ping":
        return answer(id, {});
      case "logging/setLevel":
        if (typeof params?.level === "string") logLevel = params.level;
        return answer(id, {});
      case "resources/subscribe":
      case "resources/unsubscribe":
        if (typeof params?.uri === "string") {
          if (message.method === "resources/subscribe") {
            const problem = unwatchable(watched, params.uri);
            if (problem !== null)
              return emit({ jsonrpc: "2.0", id, error: { code: code.invalidParams, message: problem } });
            watched.add(params.uri);
          } else watched.delete(params.uri);
          listen();
        }
        return answer(id, {});
      default:
        legs.set(id, {
          original: message,
          raw,
          id,
          rounds: 0,
          requestState: undefined,
          awaited: new Set(),
          responses: new Map(),
        });
        sendEnveloped(message, raw);
    }
  }

  function drop(leg: Leg): void {
    legs.delete(leg.id);
    leg.awaited.clear();
    clearTimeout(pauses.get(leg));
    pauses.delete(leg);
    for (const [id, input] of inputs) if (input.leg === leg) inputs.delete(id);
  }

  function legOf(clientId: unknown): Leg | undefined {
    for (const leg of legs.values()) if (leg.original.id === clientId) return leg;
    for (const { leg } of inputs.values()) if (leg.original.id === clientId) return leg;
    for (const leg of pauses.keys()) if (leg.original.id === clientId) return leg;
    return undefined;
  }

  function goOn(leg: Leg): void {
    leg.id = newId("leg");
    legs.set(leg.id, leg);
    const { original, raw, responses } = leg;
    const given = [...responses].map(([key, text]) => `${JSON.stringify(key)}:${text}`).join(",");
    const added = [
      ...(responses.size > 0 ? [`"inputResponses":{${given}}`] : []),
      ...(leg.requestState === undefined ? [] : [`"requestState":${JSON.stringify(leg.requestState)}`]),
    ];
    responses.clear();
    const next = printFrom({ ...original, id: leg.id, params: enveloped(original.params) }, original, raw);
    const { end } = findValues(next, ["params"]).at(-1) ?? { end: 0 };
    // The envelope is there already, so that a member precedes this one.
    child.send(added.length === 0 ? next : `${next.slice(0, end - 1)},${added.join(",")}${next.slice(end - 1)}`);
  }

  function fromClientAnswer(message: Message, raw: string): void {
    const input = message.id === undefined || message.id === null ? undefined : inputs.get(message.id);
    if (input === undefined || message.id === undefined || message.id === null) return;
    inputs.delete(message.id);
    const { leg, key } = input;
    if (message.error !== undefined) {
      drop(leg);
      const { error } = message;
      answerLeg(leg, { jsonrpc: "2.0", id: leg.original.id ?? null, error }, "error", lastText(raw, ["error"]));
      return;
    }
    leg.awaited.delete(key);
    leg.responses.set(key, lastText(raw, ["result"]));
    if (leg.awaited.size === 0) goOn(leg);
  }

  function fail(leg: Leg, message: string): void {
    emit({ jsonrpc: "2.0", id: leg.original.id ?? null, error: { code: code.internalError, message } });
  }

  function needInput(leg: Leg, result: Record<string, unknown>, raw: string): void {
    leg.rounds += 1;
    leg.requestState = typeof result.requestState === "string" ? result.requestState : undefined;
    if (leg.rounds > MAX_ROUNDS) return fail(leg, `the server still required input after ${MAX_ROUNDS} rounds`);
    const requests = isObject(result.inputRequests) ? Object.entries(result.inputRequests) : [];
    if (requests.length > MAX_INPUTS) return fail(leg, `the server required more than ${MAX_INPUTS} inputs at once`);
    if (requests.length === 0) {
      const pause = setTimeout(() => {
        pauses.delete(leg);
        goOn(leg);
      }, EMPTY_ROUND_MS);
      pauses.set(leg, pause);
      return;
    }
    leg.awaited = new Set(requests.map(([key]) => key));
    const texts = membersOf(lastText(raw, ["result", "inputRequests"]));
    for (const [key, request] of requests) {
      // It is given up where an answer is an error, which may come at once.
      if (!leg.awaited.has(key)) return;
      if (!isObject(request) || typeof request.method !== "string") {
        drop(leg);
        return fail(leg, "the server required an input by something that is not a request");
      }
      const id = newId("input");
      inputs.set(id, { leg, key });
      const asked: Message = {
        jsonrpc: "2.0",
        id,
        method: request.method,
        ...(isObject(request.params) ? { params: request.params } : {}),
      };
      const params = lastText(texts.get(key) ?? "", ["params"]);
      emit(asked, printFrom(asked, { params: request.params }, `{"params":${params}}`));
    }
  }

  function fromServerAnswer(message: Message, raw: string): void {
    const { id, result, error } = message;
    if (id === undefined || id === null) return;
    if (id === discoverId) {
      discoverId = null;
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
      const offered = {
        protocolVersion: SESSION_VERSIONS[0],
        capabilities: serverCapabilities,
        serverInfo: metaOf(result)?.[metaKey.serverInfo] ?? { name: "unnamed", version: "0" },
        ...(typeof result.instructions === "string" ? { instructions: result.instructions } : {}),
      };
      const text = printFrom(offered, result, lastText(raw, ["result"]));
      emit(
        { jsonrpc: "2.0", id: to, result: offered },
        `{"jsonrpc":"2.0","id":${JSON.stringify(to)},"result":${text}}`,
      );
      return;
    }
    const leg = legs.get(id);
    if (leg === undefined) return;
    legs.delete(id);
    const clientId = leg.original.id ?? null;
    if (error !== undefined)
      return answerLeg(leg, { jsonrpc: "2.0", id: clientId, error }, "error", lastText(raw, ["error"]));
    if (isObject(result) && result.resultType === "input_required") return needInput(leg, result, raw);
    const text = lastText(raw, ["result"]);
    if (!isObject(result)) return answerLeg(leg, { jsonrpc: "2.0", id: clientId, result }, "result", text);
    const { resultType: _resultType, ...rest } = result;
    answerLeg(leg, { jsonrpc: "2.0", id: clientId, result: rest }, "result", printFrom(rest, result, text));
  }

  function fromServerNotification(message: Message, raw: string): void {
    if (message.method === "notifications/subscriptions/acknowledged") return;
    const meta = metaOf(message.params);
    if (meta === undefined || !(metaKey.subscriptionId in meta)) return emit(message, raw);
    const { [metaKey.subscriptionId]: _subscription, ...kept } = meta;
    const unstamped: Message = { ...message, params: { ...message.params, _meta: kept } };
    emit(unstamped, printFrom(unstamped, message, raw));
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
        onMessage(message, raw) {
          const kind = kindOf(message);
          if (kind === "response") fromServerAnswer(message, raw);
          else if (kind === "notification") fromServerNotification(message, raw);
          else emit(message, raw);
        },
        onEnd(end: ChildEnd) {
          for (const pause of pauses.values()) clearTimeout(pause);
          handler?.onEnd(end);
        },
      });
    },
    send(text) {
      // The bridge writes only messages it has read or made itself.
      const message = JSON.parse(text) as Message;
      const kind = kindOf(message);
      if (kind === "request" && message.id !== undefined && message.id !== null)
        fromClientRequest(message, message.id, text);
      else if (kind === "response") fromClientAnswer(message, text);
      else if (message.method === "notifications/initialized") listen();
      else if (message.method === "notifications/cancelled") {
        const leg = legOf(message.params?.requestId);
        if (leg === undefined) return;
        const isAsked = legs.has(leg.id);
        drop(leg);
        // Between two legs nothing runs at the server that it could stop.
        if (!isAsked) return;
        // The first leg has the client's own id, digit by digit.
        const requestId = leg.id === leg.original.id ? lastText(leg.raw, ["id"]) : JSON.stringify(leg.id);
        child.send(replaceValues(text, [{ spans: findValues(text, ["params", "requestId"]), text: requestId }]));
      } else if (message.method !== "notifications/roots/list_changed") sendEnveloped(message, text);
    },
    close: () => child.close(),
    kill: () => child.kill(),
  };
}
