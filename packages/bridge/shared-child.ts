import type { Message, Params } from "./protocol/json-rpc.ts";
import type { ChildEnd } from "./child/child.ts";
import type { Peer } from "./child/peer.ts";
import type { ToolNotes } from "./child/tool-notes.ts";

/** A server's answer to `initialize`, or to `server/discover`. */
export interface ServerIdentity {
  protocolVersion: string;
  capabilities: Record<string, unknown>;
  serverInfo: unknown;
  instructions: unknown;
  /** The whole result, for answers to further such requests; and its text as the server wrote it. */
  result: Params;
  resultText: string;
}

/** A listener to a shared child's notifications: a `subscriptions/listen` stream, or a session in shared mode. */
type Listener = (message: Message, raw: string) => void;

/** A child that the bridge itself opened, for requests without a session and for sessions in shared mode. */
export interface SharedChild {
  readonly id: string;
  /** The revision spoken to it: of the session era after `initialize`, or stateless. */
  readonly speaks: "sessions" | "stateless";
  readonly peer: Peer;
  readonly identity: ServerIdentity;
  readonly tools: ToolNotes;
  readonly listeners: Set<Listener>;
  /** Called when the child ended. */
  readonly endListeners: Set<(end: ChildEnd) => void>;
  lastActiveAt: number;
  /** Requests that hold it and were not passed on yet. */
  reserved: number;
  /** At most one call may run in it at a time. */
  alone: boolean;
  /** The caller whose calls run in it; "": several, or an unnamed one; null: none yet. */
  user: string | null;
  /** It sent a request when no call was open. */
  askedLate: boolean;
  /** It was only asked for lists: it can still become a session's own. */
  untouched: boolean;
  /** URIs that its clients subscribed to, with the subscribers. */
  readonly subscriptions: Map<string, Set<object>>;
  /** The log level it was set to; null: none yet. */
  logLevel: string | null;
}

/** The asker of a call, for its encoder and for the server's questions in the middle of it. */
export interface Asker {
  readonly shared: SharedChild;
  readonly caller: string;
  /** The target and method of the call: another round names the same. */
  readonly target: string;
  readonly capabilities: Record<string, unknown>;
  readonly logLevel: string | null;
}

const SUBSCRIBE_TIMEOUT_MS = 5_000;

/** Counts who watches a resource, so that one leaving does not end it for the others. */
export function subscribe(shared: SharedChild, uri: string, who: object): void {
  const watchers = shared.subscriptions.get(uri) ?? new Set<object>();
  shared.subscriptions.set(uri, watchers.add(who));
  if (watchers.size === 1) shared.peer.ask("resources/subscribe", { uri }, SUBSCRIBE_TIMEOUT_MS).catch(() => undefined);
}

export function unsubscribe(shared: SharedChild, uri: string, who: object): void {
  const watchers = shared.subscriptions.get(uri);
  if (watchers === undefined || !watchers.delete(who) || watchers.size > 0) return;
  shared.subscriptions.delete(uri);
  if (shared.peer.child.end === null)
    shared.peer.ask("resources/unsubscribe", { uri }, SUBSCRIBE_TIMEOUT_MS).catch(() => undefined);
}
