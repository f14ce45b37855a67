import type { GraphQLSchema } from "graphql";
import { messageOf } from "../errors/errors.ts";
import type { Caller } from "../identity/caller.ts";

/** The context of every operation on a subgraph. */
export interface RequestContext {
  caller: Caller;
  requestId: string;
  /** Where the request came from, as far as the gateway knows: failed logins are counted for each address. */
  clientAddress?: string | undefined;
  /** Tells the client something besides the data: `extensions.warnings` of the response. */
  warn?: Warn | undefined;
}

/** Takes a sentence for people. */
export type Warn = (warning: string) => void;

export interface ServiceHealth {
  /** As in `/health`: `sqlite`, `mysql`, `identity`, `tools`, … */
  name: string;
  status: "healthy" | "degraded" | "unhealthy";
  /** Whether Toolyard is useless without it; the failure of any other dependency only degrades it. */
  essential: boolean;
  responseTimeMs: number;
  detail?: string;
}

/** One series of a metric of Prometheus'. As in OpenMetrics, exactly the counters have names that end in `_total`. */
export interface Gauge {
  name: string;
  /** A sentence for operators, the same for all series of the name. */
  help: string;
  /** The same labels in all series of the name; never an id or a caller's text. */
  labels: Record<string, string>;
  value: number;
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
  /** Its gauges, read when metrics are. */
  gauges?(): Promise<Gauge[]>;
  /** Ends background work, then closes stores. Called once running operations have ended. */
  close(): Promise<void>;
}

/** Runs a check with a deadline and says how long it took. */
export async function measureHealth(
  name: string,
  check: () => Promise<void>,
  { essential = false, timeoutMs = 2_000 }: { essential?: boolean; timeoutMs?: number } = {},
): Promise<ServiceHealth> {
  const started = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([check(), deadline]);
    return { name, status: "healthy", essential, responseTimeMs: elapsed(started) };
  } catch (error) {
    return {
      name,
      status: "unhealthy",
      essential,
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
