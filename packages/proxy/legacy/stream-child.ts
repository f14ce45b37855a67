import { setTimeout as delay } from "node:timers/promises";
import {
  inFull,
  MAX_UNREAD_BYTES,
  takeMessages,
  type Child,
  type ChildEnd,
  type ChildHandler,
  type ChildOptions,
} from "@toolyard/bridge/child/child.ts";
import { createFloodGate, withGate } from "@toolyard/bridge/child/flood-gate.ts";
import { code, errorText, kindOf, oneLine, type Message } from "@toolyard/bridge/protocol/json-rpc.ts";
import { messageOf } from "@toolyard/service-kit";
import type { MessagePaths } from "../mcp/message-paths.ts";
import { pathOf } from "../calls/call-path.ts";
import type { Throttle } from "./throttle.ts";
import { postMessage, readEventStream, StreamError, type StreamServer } from "./event-stream.ts";

/** How long a message waits for the one before to be accepted: most servers answer before they work, and others must not block. */
const IN_ORDER_MS = 250;
/** A server is given up when so many messages, or MAX_UNREAD_BYTES of them, wait to be accepted. */
const MAX_UNSENT = 1_024;

/** A server that a bridge speaks to. */
export interface BridgedServer extends StreamServer {
  readonly messagePaths: MessagePaths;
  readonly throttle: Throttle;
}

let streams = 0;

/** A stream of an HTTP+SSE server as a child of a bridge: its messages are posted, those of the server come as events. */
export function openStreamChild(server: BridgedServer, path: string, options: ChildOptions): Child {
  const { log, mask, maxMessageBytes, onEnd } = options;
  const stopped = new AbortController();
  const gone = Promise.withResolvers<void>();
  const endpoint = Promise.withResolvers<string>();
  // The code that posts gets the error; if nothing is being posted, the stream's end is reported.
  endpoint.promise.catch(() => undefined);
  let handler: ChildHandler | null = null;
  let end: ChildEnd | null = null;
  let closing = false;
  let isOpened = false;
  let caller = "";
  /** Messages that were not accepted yet, and their characters. */
  let unsent = 0;
  let unsentChars = 0;
  /** Settles once the message before was accepted. */
  let before: Promise<unknown> = Promise.resolve();
  streams += 1;
  // There is no process.
  const pid = -streams;

  const gate = createFloodGate({
    // The throttle holds it back.
    stream: null,
    onLeftOut: (lines) => log.write("SYSTEM", `${lines} events of the server within a second are left out`),
  });
  const gatedLog = withGate(log, gate);

  const headers = (): string[] => (caller === "" ? [] : ["x-toolyard-user", caller]);

  function open(): void {
    if (isOpened) return;
    isOpened = true;
    readEventStream(server, {
      path,
      headers: headers(),
      maxEventBytes: maxMessageBytes,
      signal: stopped.signal,
      onEndpoint(named) {
        server.messagePaths.name(stopped, pathOf(named));
        endpoint.resolve(named);
      },
      onMessage: (data) =>
        takeMessages(oneLine(data), mask, {
          log: gatedLog,
          sharesThread: true,
          take: (message, raw) => handler?.onMessage(message, raw),
          reply: send,
          other: (text) => gatedLog.write("STDOUT", text),
        }),
      onRead: (read) => server.throttle.keep(read, stopped.signal),
    }).catch(finish);
  }

  function finish(error: unknown): void {
    if (end !== null) return;
    const reason =
      error instanceof StreamError
        ? `the stream to the server failed: ${error.message}`
        : "the connection to the server broke";
    end = { code: null, signal: null, reason, words: error instanceof StreamError ? "" : mask.text(messageOf(error)) };
    stopped.abort();
    gate.open();
    server.messagePaths.forget(stopped);
    endpoint.reject(error);
    const owner = handler;
    handler = null;
    onEnd?.(end);
    owner?.onEnd(end);
    gone.resolve();
  }

  async function post(text: string): Promise<void> {
    await postMessage(server, { path: await endpoint.promise, headers: headers(), text, signal: stopped.signal });
  }

  /** Tells callers that wait for an answer that none will come. */
  function refused(text: string, error: unknown): void {
    if (end !== null) return;
    log.write("SYSTEM", inFull({ reason: "a message was not taken", words: messageOf(error) }));
    const message = JSON.parse(text) as Message; // the bridge writes nothing else
    if (kindOf(message) !== "request" || message.id === undefined || message.id === null) return;
    const said = `the server did not take the request: ${error instanceof StreamError ? error.message : "the connection broke"}`;
    const answer = errorText(message.id, code.serverError, said);
    handler?.onMessage(JSON.parse(answer) as Message, answer);
  }

  function send(text: string): void {
    if (end !== null || closing) return;
    if (unsent >= MAX_UNSENT || unsentChars + text.length > MAX_UNREAD_BYTES)
      return finish(new StreamError("it does not take the messages that are sent to it"));
    open();
    unsent += 1;
    unsentChars += text.length;
    const taken = before.then(() => post(text));
    before = Promise.race([taken, before.then(() => delay(IN_ORDER_MS, undefined, { ref: false }))]).catch(
      () => undefined,
    );
    taken
      .catch((error: unknown) => refused(text, error))
      .finally(() => {
        unsent -= 1;
        unsentChars -= text.length;
      });
  }

  return {
    pid,
    startedAt: Date.now(),
    get end() {
      return end;
    },
    get closing() {
      return closing;
    },
    // It has no stdout.
    printed: "",
    gone: gone.promise,
    handle(next) {
      handler = next;
    },
    usedBy(user) {
      caller = user;
    },
    send,
    close() {
      closing = true;
      finish(new StreamError("it was closed"));
      return gone.promise;
    },
    kill() {
      closing = true;
      finish(new StreamError("it was closed"));
    },
  };
}
