import { randomUUID } from "node:crypto";

import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { isObject } from "@toolyard/service-kit/json.ts";
import type { Child, ChildEnd, Reason } from "./child/child.ts";
import { type Call, createPeer, type Peer, PeerError, rawOf } from "./child/peer.ts";
import { type Pool, Unavailable } from "./child/pool.ts";
import { adaptStatelessChild } from "./child/stateless-child.ts";
import { createToolNotes } from "./child/tool-notes.ts";
import { metaKey, SESSION_VERSIONS, STATELESS_VERSION } from "./protocol/era.ts";
import { code, errorText, type Message, metaOf } from "./protocol/json-rpc.ts";
import { lastText } from "./protocol/json-splice.ts";
import type { ServerIdentity, SharedChild } from "./shared-child.ts";

/** Opens children for requests without a session: the first messages to a server, in either era. */
export interface ChildOpener {
  /** In the session era. A server that refuses it is tried in the stateless revision. @throws Unavailable */
  initialize(child: Child, capabilities: Record<string, unknown>): Promise<SharedChild>;
  /** In the stateless revision; null when the server does not speak it: nothing has happened to the child then. @throws Unavailable */
  discover(child: Child, timeoutMs: number): Promise<SharedChild | null>;
}

export interface ChildOpenerOptions {
  pool: Pool;
  now: () => number;
  statusOf: (call: Call, message: Message) => number;
  /** A server's request that only a client can answer. */
  onRequest: (shared: SharedChild, message: Message, raw: string) => void;
  onNotification: (shared: SharedChild, message: Message, raw: string) => void;
  /** A call has ended, or the server has asked: the child may have room now. */
  onFreed: (shared: SharedChild) => void;
  onEnd: (shared: SharedChild, end: ChildEnd) => void;
  /** The server turned out to speak the stateless revision alone. */
  onStateless: () => void;
}

const LIST_TIMEOUT_MS = 10_000;
const DISCOVER_TIMEOUT_MS = 10_000;
const clientInfo = { name: "toolyard-bridge", version: "0.1.0" };
/** The envelope of the bridge's own stateless requests. */
export const ownEnvelope = {
  [metaKey.protocolVersion]: STATELESS_VERSION,
  [metaKey.clientCapabilities]: {},
  [metaKey.clientInfo]: clientInfo,
};
export function createChildOpener(options: ChildOpenerOptions): ChildOpener {
  const { pool, now, statusOf, onRequest, onNotification, onFreed, onEnd, onStateless } = options;

  /** The further state of an opened child, for both kinds. */
  function createEntry(speaks: SharedChild["speaks"], asks = false) {
    let entry: SharedChild | null = null;
    const endListeners = new Set<(end: ChildEnd) => void>();
    return {
      handler: {
        onNotification(message: Message, raw: string) {
          if (entry === null) return;
          if (message.method === "notifications/tools/list_changed") entry.tools.forget();
          onNotification(entry, message, raw);
        },
        onRequest(message: Message, raw: string, peer: Peer) {
          if (message.method === "ping") peer.send(JSON.stringify({ jsonrpc: "2.0", id: message.id, result: {} }));
          else if (entry !== null) {
            onRequest(entry, message, raw);
            // The next one might come while another's call runs: it must not be taken for that call's.
            if (asks && peer.open.size === 0) entry.askedLate = true;
            onFreed(entry);
          } else if (message.id !== undefined && message.id !== null)
            peer.send(errorText(message.id, code.methodNotFound, "there is no client yet"));
        },
        onIdle() {
          if (entry !== null) onFreed(entry);
        },
        onEnd(end: ChildEnd) {
          if (entry === null) return;
          onEnd(entry, end);
        },
      },
      complete(peer: Peer, identity: ServerIdentity): SharedChild {
        entry = {
          id: randomUUID(),
          speaks,
          peer,
          identity,
          tools: createToolNotes({
            now,
            list: (cursor) =>
              peer.ask(
                "tools/list",
                {
                  ...(cursor === undefined ? {} : { cursor }),
                  ...(speaks === "stateless" ? { _meta: ownEnvelope } : {}),
                },
                LIST_TIMEOUT_MS,
              ),
          }),
          listeners: new Set(),
          endListeners,
          lastActiveAt: now(),
          reserved: 0,
          alone: false,
          user: null,
          askedLate: false,
          untouched: true,
          subscriptions: new Map(),
          logLevel: null,
        };
        return entry;
      },
    };
  }

  function createSharedPeer(child: Child, handler: ReturnType<typeof createEntry>["handler"]): Peer {
    const peer: Peer = createPeer({
      child,
      remap: true,
      now,
      statusOf,
      handler: { ...handler, onRequest: (message, raw) => handler.onRequest(message, raw, peer) },
    });
    return peer;
  }

  /** @param isFirst Whether the bridge asked as itself: a refusal of one client's capabilities tells nothing about others. */
  function failed(child: Child, error: unknown, isFirst = false): Unavailable {
    if (error instanceof InitializeRefused && isFirst) pool.refused(child, error);
    else void child.close();
    return new Unavailable(pool.failure?.reason ?? messageOf(error), 1);
  }

  async function initialize(child: Child, capabilities: Record<string, unknown>): Promise<SharedChild> {
    const { handler, complete } = createEntry("sessions", Object.keys(capabilities).length > 0);
    let peer = createSharedPeer(child, handler);
    const params = { protocolVersion: SESSION_VERSIONS[0], capabilities, clientInfo };
    try {
      let answer = await peer.ask("initialize", params, null);
      if (answer.error !== undefined) {
        // It may speak only the stateless revision: ask in that revision's form.
        const refusal = answer.error.message;
        if (!isDiscovered(await peer.ask("server/discover", { _meta: ownEnvelope }, DISCOVER_TIMEOUT_MS)))
          throw new InitializeRefused(refusal);
        pool.adaptFromNow();
        onStateless();
        peer = createSharedPeer(adaptStatelessChild(child), handler);
        answer = await peer.ask("initialize", params, DISCOVER_TIMEOUT_MS);
        if (answer.error !== undefined) throw new InitializeRefused(answer.error.message);
      }
      const result = answer.result;
      if (!isObject(result)) throw new PeerError("the server's answer to initialize is not an object");
      peer.notify("notifications/initialized");
      pool.proved(child);
      return complete(peer, {
        protocolVersion: typeof result.protocolVersion === "string" ? result.protocolVersion : "",
        capabilities: isObject(result.capabilities) ? result.capabilities : {},
        serverInfo: result.serverInfo,
        instructions: result.instructions,
        result,
        resultText: resultTextOf(answer),
      });
    } catch (error) {
      throw failed(child, error, Object.keys(capabilities).length === 0);
    }
  }

  async function discover(child: Child, timeoutMs: number): Promise<SharedChild | null> {
    const { handler, complete } = createEntry("stateless");
    const peer = createSharedPeer(child, handler);
    let answer: Message;
    try {
      answer = await peer.ask("server/discover", { _meta: ownEnvelope }, timeoutMs);
    } catch (error) {
      throw failed(child, error);
    }
    const { result } = answer;
    if (!isObject(result) || !isDiscovered(answer)) return null;
    pool.proved(child);
    return complete(peer, {
      protocolVersion: STATELESS_VERSION,
      capabilities: isObject(result.capabilities) ? result.capabilities : {},
      serverInfo: metaOf(result)?.[metaKey.serverInfo],
      instructions: result.instructions,
      result,
      resultText: resultTextOf(answer),
    });
  }

  return { initialize, discover };
}

function resultTextOf(answer: Message): string {
  return lastText(rawOf(answer), ["result"]);
}

/** Whether a server declared the stateless revision. */
function isDiscovered(message: Message): boolean {
  const { result } = message;
  return (
    isObject(result) &&
    Array.isArray(result.supportedVersions) &&
    (result.supportedVersions as unknown[]).includes(STATELESS_VERSION)
  );
}

class InitializeRefused extends Error implements Reason {
  override readonly name = "InitializeRefused";
  readonly reason = "the server refused to initialize";
  readonly words: string;
  constructor(words: string) {
    super("the server refused to initialize");
    this.words = words;
  }
}
