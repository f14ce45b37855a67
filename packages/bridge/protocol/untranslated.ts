import { isObject } from "@toolyard/service-kit/json.ts";
import { metaKey } from "./era.ts";
import { type Exchange, sendAlong, sendAnswer } from "./exchange.ts";
import { findValues, replaceValues } from "./json-splice.ts";
import { code, errorText, type Id, type Message, metaOf } from "./json-rpc.ts";
import type { Call } from "../child/peer.ts";
import type { Asker, SharedChild } from "../shared-child.ts";
import { endOfListen, type Subscriptions } from "../stateless/subscriptions.ts";

/**
 * Requests of the stateless revision to a server that speaks it on stdio: they go through unchanged, except for ids,
 * progress tokens and subscription ids, which many clients' requests share here.
 */
export interface Untranslated {
  pass(options: {
    message: Message;
    id: Id;
    text: string;
    owner: Asker;
    exchange: Exchange;
    state: TaggedState | null;
  }): void;
  isOne(call: Call): boolean;
  onNotification(shared: SharedChild, message: Message, raw: string): void;
  /** The revision has no requests from servers to clients. */
  refuse(shared: SharedChild, message: Message): void;
}

/** A server's own `requestState`, and the child that it came from. */
export interface TaggedState {
  childId: string | undefined;
  own: string;
}

const CHILD_TAG = /^toolyard-child:([0-9a-f-]{36}):/;

export function untag(state: string): TaggedState {
  const found = CHILD_TAG.exec(state);
  return { childId: found?.[1], own: found === null ? state : state.slice(found[0].length) };
}

function encode(call: Call, message: Message, raw: string): string {
  // Calls with this encoder are made in this file only.
  const { shared } = call.owner as Asker;
  const { idText } = call;
  const edits = [{ spans: findValues(raw, ["id"]), text: idText }];
  const { result } = message;
  if (call.method === "subscriptions/listen")
    edits.push({ spans: findValues(raw, ["result", "_meta", metaKey.subscriptionId]), text: idText });
  // There may be several children: the next round is for the one that asked.
  if (isObject(result) && typeof result.requestState === "string") {
    edits.push({
      spans: findValues(raw, ["result", "requestState"]),
      text: JSON.stringify(`toolyard-child:${shared.id}:${result.requestState}`),
    });
  }
  return replaceValues(raw, edits);
}

export function createUntranslated(options: { subscriptions: Subscriptions }): Untranslated {
  const { subscriptions } = options;

  return {
    isOne: (call) => call.encode === encode,
    pass({ message, id, text, owner, exchange, state }) {
      const { shared } = owner;
      const isListen = message.method === "subscriptions/listen";
      if (isListen && subscriptions.isFull(id, exchange.response)) return;
      const rewrite = (wireId: Id): string =>
        replaceValues(text, [
          { spans: findValues(text, ["id"]), text: String(wireId) },
          { spans: findValues(text, ["params", "_meta", "progressToken"]), text: String(wireId) },
          ...(state?.childId === undefined
            ? []
            : [{ spans: findValues(text, ["params", "requestState"]), text: JSON.stringify(state.own) }]),
        ]);
      const call = shared.peer.request({ message, raw: text, exchange, owner, encode, rewrite });
      if (call === null) return;
      if (isListen) {
        call.paused = true;
        subscriptions.keep(exchange, () => sendAnswer(exchange, endOfListen(id, shared.identity.serverInfo)));
      }
      exchange.response.once("close", () => {
        if (shared.peer.open.get(call.wireId) === call) shared.peer.cancel(call, "the client went away");
      });
    },
    onNotification(shared, message, raw) {
      const subscription = metaOf(message.params)?.[metaKey.subscriptionId];
      if (subscription !== undefined) {
        const call = shared.peer.open.get(subscription as Id);
        if (call === undefined || call.exchange === null) return;
        const spans = findValues(raw, ["params", "_meta", metaKey.subscriptionId]);
        sendAlong(call.exchange, replaceValues(raw, [{ spans, text: call.idText }]));
        return;
      }
      // A log line names no request: it goes out only when a single request can be meant, and asked for such lines.
      const [only] = shared.peer.open.values();
      if (!shared.alone || only === undefined || only.exchange === null || message.method !== "notifications/message")
        return;
      if ((only.owner as Asker).logLevel !== null) sendAlong(only.exchange, raw);
    },
    refuse({ peer }, message) {
      if (message.id !== undefined && message.id !== null)
        peer.send(errorText(message.id, code.methodNotFound, "a server of revision 2026-07-28 may not send requests"));
    },
  };
}
