import type { Caller, Warn } from "@toolyard/service-kit";
import type { AbortSignalLike } from "@toolyard/service-kit/process/light-abort.ts";
import type { OperationTrace } from "./operation-trace.ts";

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
 * completes the stream or the signal aborts, and throws when the stream breaks; a refusal comes as one response with errors.
 */
export interface SubgraphClient {
  readonly name: string;
  /** Its URL over HTTP; absent for a subgraph of this process. */
  readonly url?: URL;
  execute(request: SubgraphRequest): Promise<SubgraphResponse>;
  subscribe(request: SubgraphRequest): AsyncIterable<SubgraphResponse>;
  close(): Promise<void>;
}
