import type { OperationContext, SubgraphError } from "./subgraph-client.ts";

/** What errors are to those who record: of the first of them the code, never the words. */
type Errors = readonly Pick<SubgraphError, "extensions">[] | undefined;

/** Records where the time of one operation goes. An operation that nobody records has none. */
export interface OperationTrace {
  /** Planning that has to be waited for. Call what it returns when it has ended. */
  plan(): (failed: boolean) => void;
  /** One request to a subgraph. */
  fetch(subgraph: string, url: URL | undefined): FetchTrace;
  /** A subgraph's stream was asked for: a subscription is under way. */
  subscribed(subgraph: string): void;
  /** One event of a subscription, and what is fetched for it. */
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
  /** The context by which what is fetched for it is recorded within it. */
  inside(context: OperationContext): OperationContext;
  /** Ends it, once: later calls do nothing. */
  end(errors: Errors): void;
}
