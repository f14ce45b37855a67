import type { Caller, Warn } from "@toolyard/service-kit";
import type { AbortSignalLike } from "@toolyard/service-kit/process/light-abort.ts";

/** For whom and on whose behalf an operation runs; goes with every request to a subgraph. */
export interface OperationContext {
  caller: Caller;
  requestId: string;
  /** Where the client's request came from. */
  clientAddress?: string | undefined;
  /** W3C trace context of the client's request. */
  traceparent?: string;
  /** Vendors' part of the trace context (W3C), passed on unchanged. */
  tracestate?: string;
  /** Records the work for the operation; absent where nothing is recorded. */
  trace?: OperationTrace;
  /** The grants for `@requiresScopes` and `@policy` of the supergraph; the caller's scopes, and no policies, unless given. */
  scopes?: readonly string[];
  policies?: readonly string[];
  /** Headers of the client's request that are passed on. */
  headers?: Record<string, string>;
  /** Takes a subgraph's warnings for the client; absent where they are not passed on. */
  warn?: Warn;
}

/** Errors as they are recorded: the code of the first of them, never the words. */
type Errors = readonly Pick<SubgraphError, "extensions">[] | undefined;

/** Records where the time of one operation goes; absent for an operation that is not recorded. */
export interface OperationTrace {
  /** Planning that has to be waited for. Call the returned function when it has ended. */
  plan(): (failed: boolean) => void;
  /** One request to a subgraph. */
  fetch(subgraph: string, url: URL | undefined): FetchTrace;
  /** A subgraph's stream was asked for: a subscription is under way. */
  subscribed(subgraph: string): void;
  /** One event of a subscription, and the fetches for it. */
  event(): EventTrace;
}

export interface FetchTrace {
  /** W3C trace context for the subgraph. */
  traceparent: string;
  /** The HTTP status of the answer. */
  onStatus(status: number): void;
  end(errors: Errors): void;
}

export interface EventTrace {
  /** The context in which the fetches for it are recorded. */
  inside(context: OperationContext): OperationContext;
  /** Ends it, once: later calls do nothing. */
  end(errors: Errors): void;
}

export interface SubgraphRequest {
  /** One operation, made by the query planner. The same text means the same operation, so it may be a cache's key. */
  query: string;
  /** Its variables, in one form at least: see `variablesOf`. */
  variables?: Record<string, unknown>;
  /** The same as JSON. */
  variablesText?: string;
  /** Whether it may change something: then it is sent exactly once. */
  isMutation?: boolean;
  context: OperationContext;
  /** Aborted when nobody waits for the answer any more: the client went away, the deadline passed, the gateway stops. */
  signal: AbortSignalLike;
  /** Told the HTTP status of the answer, by clients that ask over HTTP. */
  onStatus?: (status: number) => void;
  /** Called once the subgraph has accepted a subscription; not for a refusal. */
  onOpen?: (() => void) | undefined;
}

export function variablesOf({ variables, variablesText = "{}" }: SubgraphRequest): Record<string, unknown> {
  // Written here, from an object.
  return variables ?? (JSON.parse(variablesText) as Record<string, unknown>);
}

/** The same as JSON. */
export function variablesTextOf({ variables, variablesText }: SubgraphRequest): string {
  return variablesText ?? JSON.stringify(variables ?? {});
}

export interface SubgraphError {
  message: string;
  path?: readonly (string | number)[] | undefined;
  extensions?: Record<string, unknown> | undefined;
}

export interface SubgraphResponse {
  data?: Record<string, unknown> | null | undefined;
  errors?: readonly SubgraphError[] | undefined;
}

/**
 * How the gateway reaches one subgraph.
 *
 * `execute` never rejects for a fault of the subgraph: an unreachable, slow or babbling one gives a response with an error whose
 * `extensions.code` is UPSTREAM_UNAVAILABLE or TIMEOUT. The data belongs to the caller of `execute`, who may change it.
 *
 * `subscribe` yields the subgraph's events in their order, each once, no faster than they are taken. It ends when the subgraph
 * completes the stream or the signal aborts, and throws when the stream breaks; a refusal comes as one response with errors. An error
 * of the subgraph's own in mid-stream, such as SLOW_CONSUMER, is thrown or comes as the last response; it keeps its code.
 */
export interface SubgraphClient {
  readonly name: string;
  /** Its URL over HTTP; absent for a subgraph of this process. */
  readonly url?: URL;
  execute(request: SubgraphRequest): Promise<SubgraphResponse>;
  subscribe(request: SubgraphRequest): AsyncIterable<SubgraphResponse>;
  close(): Promise<void>;
}
