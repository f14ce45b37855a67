import type { ServerResponse } from "node:http";

import { isObject } from "@toolyard/service-kit/json.ts";
import { metaKey } from "../protocol/era.ts";
import { createExchange, type Exchange, refuse, sendAlong, sendAnswer } from "../protocol/exchange.ts";
import { code, errorText, type Id, type Message, metaOf, type Params } from "../protocol/json-rpc.ts";
import { printFrom } from "../protocol/json-splice.ts";
import { unwatchable } from "../protocol/watched.ts";
import { type SharedChild, subscribe, unsubscribe } from "../shared-child.ts";

/** `subscriptions/listen` streams of the stateless revision. */
export interface Subscriptions {
  readonly streams: ReadonlySet<Exchange>;
  /** Whether one more is too many; the request is then refused here. */
  isFull(id: Id, response: ServerResponse): boolean;
  /** A stream of the notifications of a child of the session era. */
  listen(id: Id, params: Params | undefined, shared: SharedChild, response: ServerResponse): void;
  /** Counts a stream that stays open. `end` ends it in order. */
  keep(exchange: Exchange, end: () => void): void;
  /** Ends the streams as the revision prescribes: with an empty result. */
  close(): void;
}

const MAX_LISTENS = 1_024;

/** The result that ends a stream in order. */
export function endOfListen(id: Id, serverInfo: unknown): string {
  return JSON.stringify({
    jsonrpc: "2.0",
    id,
    result: {
      resultType: "complete",
      _meta: {
        [metaKey.subscriptionId]: id,
        ...(serverInfo === undefined ? {} : { [metaKey.serverInfo]: serverInfo }),
      },
    },
  });
}

export function createSubscriptions(options: { now: () => number }): Subscriptions {
  const { now } = options;
  const streams = new Map<Exchange, () => void>();

  function keep(exchange: Exchange, end: () => void): void {
    streams.set(exchange, end);
    exchange.response.once("close", () => {
      exchange.ended = true;
      streams.delete(exchange);
    });
  }

  return {
    get streams() {
      return new Set(streams.keys());
    },
    isFull(id, response) {
      if (streams.size < MAX_LISTENS) return false;
      refuse(response, 200, { id, code: code.internalError, message: "Subscription limit reached" });
      return true;
    },
    keep,
    listen(id, params, shared, response) {
      const filter = params?.notifications;
      if (!isObject(filter)) {
        return refuse(response, 200, {
          id,
          code: code.invalidParams,
          message: "Invalid params: 'notifications' is required and must be a valid SubscriptionFilter",
        });
      }
      const offers = (name: string, what: string): boolean => {
        const capability = shared.identity.capabilities[name];
        return isObject(capability) && capability[what] === true;
      };
      const uris = new Set<string>();
      for (const uri of Array.isArray(filter.resourceSubscriptions) ? filter.resourceSubscriptions : []) {
        if (typeof uri !== "string") continue;
        const problem = unwatchable(uris, uri);
        if (problem !== null)
          return refuse(response, 200, { id, code: code.invalidParams, message: `Invalid params: ${problem}` });
        uris.add(uri);
      }
      const honored: Record<string, unknown> = {
        ...(filter.toolsListChanged === true && offers("tools", "listChanged") ? { toolsListChanged: true } : {}),
        ...(filter.promptsListChanged === true && offers("prompts", "listChanged") ? { promptsListChanged: true } : {}),
        ...(filter.resourcesListChanged === true && offers("resources", "listChanged")
          ? { resourcesListChanged: true }
          : {}),
        ...(uris.size > 0 && offers("resources", "subscribe") ? { resourceSubscriptions: [...uris] } : {}),
      };
      const exchange = createExchange(response, { streamable: true, outstanding: 1 });
      const stamp = (message: Message, raw = JSON.stringify(message)): string => {
        const stamped = { ...message.params, _meta: { ...metaOf(message.params), [metaKey.subscriptionId]: id } };
        return printFrom({ ...message, params: stamped }, message, raw);
      };
      sendAlong(
        exchange,
        stamp({
          jsonrpc: "2.0",
          method: "notifications/subscriptions/acknowledged",
          params: { notifications: honored },
        }),
      );
      const finish = (): void => sendAnswer(exchange, endOfListen(id, shared.identity.serverInfo));
      if (Object.keys(honored).length === 0) return finish();

      const listener = (message: Message, raw: string): void => {
        const wanted =
          message.method === "notifications/tools/list_changed"
            ? honored.toolsListChanged === true
            : message.method === "notifications/prompts/list_changed"
              ? honored.promptsListChanged === true
              : message.method === "notifications/resources/list_changed"
                ? honored.resourcesListChanged === true
                : message.method === "notifications/resources/updated" &&
                  honored.resourceSubscriptions !== undefined &&
                  uris.has(String(message.params?.uri));
        if (wanted) sendAlong(exchange, stamp(message, raw));
      };
      const onEnd = (): void => {
        sendAnswer(exchange, errorText(id, code.serverError, shared.peer.child.end?.reason ?? "the server ended"));
      };
      shared.listeners.add(listener);
      shared.endListeners.add(onEnd);
      keep(exchange, finish);
      if (honored.resourceSubscriptions !== undefined) {
        shared.untouched = false;
        for (const uri of uris) subscribe(shared, uri, listener);
      }
      response.once("close", () => {
        shared.listeners.delete(listener);
        shared.endListeners.delete(onEnd);
        for (const uri of uris) unsubscribe(shared, uri, listener);
        shared.lastActiveAt = now();
      });
    },
    close() {
      for (const end of streams.values()) end();
    },
  };
}
