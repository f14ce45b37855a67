import type { GraphQLSchema } from "graphql";
import { messageOf } from "../errors/errors.ts";
import type { Caller } from "../identity/caller.ts";

/** What every operation on a subgraph knows. */
export interface RequestContext {
  caller: Caller;
  requestId: string;
  /** Where the request came from, as far as the gateway knows: failed logins are counted for each address. */
  clientAddress?: string | undefined;
  /** Tells the client something beside the data: `extensions.warnings` of the response. */
  warn?: Warn | undefined;
}

/** Takes a sentence for people. */
export type Warn = (warning: string) => void;

export interface ServiceHealth {
  /** As in `/health`: `sqlite`, `mysql`, `identity`, `tools`, … */
  name: string;
  status: "healthy" | "degraded" | "unhealthy";
  responseTimeMs: number;
  detail?: string;
}

/** One federated subgraph: hosted in-process by standalone.ts, or over HTTP by its own main.ts. */
export interface Subgraph {
  readonly name: string;
  /** Executable, with federation's `_service` and `_entities`. */
  readonly schema: GraphQLSchema;
  /** The resolvers' context of one operation (or of one event of a subscription): the caller and fresh loaders. */
  createContext(request: RequestContext): object;
  /** Begins background work; called once the graph answers. */
  start(): Promise<void>;
  health(): Promise<ServiceHealth[]>;
  /** Metrics in Prometheus' text format would need the registry; a subgraph only counts. */
  gauges?(): Promise<Record<string, number>>;
  /** Ends background work, then stores. Running operations have ended before. */
  close(): Promise<void>;
}

/** Runs a check with a deadline and says how long it took. */
export async function measureHealth(
  name: string,
  check: () => Promise<void>,
  timeoutMs = 2_000,
): Promise<ServiceHealth> {
  const started = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([check(), deadline]);
    return { name, status: "healthy", responseTimeMs: elapsed(started) };
  } catch (error) {
    return {
      name,
      status: "unhealthy",
      responseTimeMs: elapsed(started),
      detail: messageOf(error),
    };
  } finally {
    clearTimeout(timer);
  }
}

function elapsed(started: number): number {
  return Math.round((performance.now() - started) * 100) / 100;
}
