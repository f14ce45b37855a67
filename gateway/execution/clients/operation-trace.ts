import type { OperationContext, SubgraphError } from "./subgraph-client.ts";

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
