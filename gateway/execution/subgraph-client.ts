import type { Caller } from "@toolyard/service-kit";

/** For whom and on whose behalf an operation runs; goes with every request to a subgraph. */
export interface OperationContext {
  caller: Caller;
  requestId: string;
  /** Where the client's request came from. */
  clientAddress?: string | undefined;
  /** W3C trace context of the client's request. */
  traceparent?: string;
  /** What `@requiresScopes` and `@policy` of the supergraph are checked against; the caller's scopes, and no policies, unless given. */
  scopes?: readonly string[];
  policies?: readonly string[];
  /** Headers of the client's request that are passed on. */
  headers?: Record<string, string>;
}

export interface SubgraphRequest {
  /** One operation, made by the query planner. The same text means the same operation, so it may be a cache's key. */
  query: string;
  variables: Record<string, unknown>;
  /** `variables` as JSON, where it is at hand. */
  variablesText?: string;
  context: OperationContext;
  /** Aborted when nobody waits for the answer any more: the client went away, the deadline passed, the gateway stops. */
  signal: AbortSignal;
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
 * `execute` never rejects for what a subgraph does: an unreachable, slow or babbling one gives a response with an error whose
 * `extensions.code` is UPSTREAM_UNAVAILABLE or TIMEOUT. The data belongs to the caller of `execute`, who may change it.
 *
 * `subscribe` yields the subgraph's events in their order, each once, no faster than they are taken. It ends when the subgraph
 * completes the stream or the signal aborts, and throws when the stream breaks; a refusal comes as one response with errors.
 */
export interface SubgraphClient {
  readonly name: string;
  execute(request: SubgraphRequest): Promise<SubgraphResponse>;
  subscribe(request: SubgraphRequest): AsyncIterable<SubgraphResponse>;
  close(): Promise<void>;
}
