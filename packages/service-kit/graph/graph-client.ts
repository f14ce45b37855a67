import type { Caller } from "../identity/caller.ts";

export interface GraphRequest {
  query: string;
  variables?: Record<string, unknown>;
  /** Who asks: the caller whose request this serves, or a service principal. */
  as: Caller;
  requestId?: string;
  signal?: AbortSignal;
}

/**
 * How one part of Toolyard asks the whole graph: in-process under standalone.ts, by HTTP to GATEWAY_URL elsewhere. The only way
 * to another subgraph's data.
 */
export interface GraphClient {
  /** @throws ToolyardError with the first error's code, also when there is partial data. */
  query<Data>(request: GraphRequest): Promise<Data>;
  /** Ends when the server completes or `signal` aborts; throws when the stream breaks. */
  subscribe<Data>(request: GraphRequest): AsyncIterable<Data>;
}

/** A client whose target is set later: subgraphs are made before the gateway that they will ask. */
export interface DeferredGraphClient extends GraphClient {
  connect(target: GraphClient): void;
}

export function createDeferredGraphClient(): DeferredGraphClient {
  let target: GraphClient | null = null;
  const connected = () => {
    if (!target) throw new Error("The graph was asked before it was connected.");
    return target;
  };
  return {
    connect: (client) => {
      target = client;
    },
    query: (request) => connected().query(request),
    subscribe: (request) => connected().subscribe(request),
  };
}
