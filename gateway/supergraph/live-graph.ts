import { ConfigError, isPublic, messageOf, ToolyardError, type Logger } from "@toolyard/service-kit";
import { admissionChecks, createAdmission, type Admission, type AdmissionOptions } from "../admission/admission.ts";
import { createExecutor, type Engine, type Executor, type ExecutorOptions } from "../execution/executor.ts";
import { parseSupergraph } from "../execution/schema/supergraph.ts";
import type { SubgraphClient } from "../execution/clients/subgraph-client.ts";
import { parseCostModel } from "../admission/operation-cost.ts";

/** One supergraph in service, with everything cached for it. */
export interface Graph {
  supergraphSdl: string;
  /** By the subgraphs' names in the supergraph. */
  subgraphUrls: ReadonlyMap<string, string>;
  executor: Executor;
  /** Admission to the schema for all clients, and to the one for services. */
  admission: { public: Admission; internal: Admission };
}

/** The supergraph in service. It can be replaced while operations run: those end on the one on which they began. */
export interface LiveGraph {
  readonly current: Graph;
  /** @throws Error saying why the supergraph that it began with cannot be used */
  ready(): Promise<void>;
  /** Runs something on the current graph, which stays usable until it is done. */
  use<Result>(work: (graph: Graph) => Promise<Result>): Promise<Result>;
  /** Like `use`, for work with no end in sight. Call `release` in the end. */
  hold(): { graph: Graph; release: () => void };
  /**
   * Puts another supergraph into service, prepared and warmed before.
   * @throws Error saying why the supergraph cannot be used; the old one stays
   */
  swap(supergraphSdl: string): Promise<void>;
  /** Calls back after each swap. Returns unsubscribe. */
  onSwap(listener: () => void): () => void;
  close(): Promise<void>;
}

export interface LiveGraphOptions {
  supergraphSdl: string;
  /** How a subgraph is reached; `url` is the supergraph's. Clients of the same name and URL are kept over a swap. */
  createClient(name: string, url: string): SubgraphClient;
  limits: AdmissionOptions["limits"];
  introspection: boolean;
  isKnown?: ((query: string) => boolean) | undefined;
  /** The longest that one operation may take. */
  timeoutMs: number;
  /** False where subgraphs are told nothing of callers but the headers that are passed on. */
  subgraphsKnowCallers?: boolean;
  engines?: readonly [Engine, ...Engine[]] | undefined;
  onReplacedPlan?: ExecutorOptions["onReplacedPlan"];
  log: Pick<Logger, "error" | "warn" | "info">;
}

interface Held {
  graph: Graph;
  clients: ReadonlyMap<string, SubgraphClient>;
  users: number;
}

const MAX_WARMED = 500;
const WARM_UP_MS = 10_000;

export function createLiveGraph(options: LiveGraphOptions): LiveGraph {
  const {
    createClient,
    limits,
    introspection,
    isKnown,
    timeoutMs,
    subgraphsKnowCallers = true,
    engines = ["toolyard"],
    onReplacedPlan,
    log,
  } = options;
  const listeners = new Set<() => void>();
  /** All whose clients are not closed: the current one, the one that is to follow it, and those with running operations. */
  const open = new Set<Held>();

  function prepare(supergraphSdl: string, known: ReadonlyMap<string, SubgraphClient>): Held {
    const supergraph = parseSupergraph(supergraphSdl);
    if (supergraph.subgraphUrls.size === 0) {
      throw new Error("it names no subgraphs: it is not the supergraph of a Federation 2 composition");
    }
    const clients = new Map(
      [...supergraph.subgraphUrls].map(([name, url]) => {
        const key = `${name} ${url}`;
        return [key, known.get(key) ?? createClient(name, url)] as const;
      }),
    );
    const costs = parseCostModel(supergraph.document);
    const executor = createExecutor({
      supergraphSdl,
      checksOf: (audience, schema) =>
        admissionChecks({ schema, costs, limits, introspection: introspection || audience === "internal" }),
      clients: [...clients.values()],
      timeoutMs,
      subgraphsKnowCallers,
      engines,
      onReplacedPlan,
      log,
    });
    const { documents, apiSchema, internalApiSchema } = executor;
    const graph = {
      supergraphSdl,
      subgraphUrls: supergraph.subgraphUrls,
      executor,
      admission: {
        public: createAdmission({ schema: apiSchema, documents: documents.public, costs, limits, isKnown }),
        internal: createAdmission({ schema: internalApiSchema, documents: documents.internal, costs, limits }),
      },
    };
    return { graph, clients, users: 0 };
  }

  let current: Held;
  try {
    current = prepare(options.supergraphSdl, new Map());
  } catch (cause) {
    throw unusable(cause);
  }
  open.add(current);

  /** Closes the clients of a graph that nobody uses any more, except those that another one has, too. */
  function retire(held: Held): void {
    if (held !== current && held.users === 0 && open.delete(held)) discard(held);
  }

  function discard(held: Held): void {
    held.graph.executor.close().catch((error: unknown) => log.warn({ err: error }, "ending a planner failed"));
    const kept = new Set([...open].flatMap(({ clients }) => [...clients.values()]));
    for (const client of held.clients.values()) {
      if (kept.has(client)) continue;
      client
        .close()
        .catch((error: unknown) =>
          log.warn({ err: error, subgraph: client.name }, "closing a subgraph's connections failed"),
        );
    }
  }

  function take(): Held {
    current.users += 1;
    return current;
  }
  function leave(held: Held): void {
    held.users -= 1;
    if (held.users === 0) retire(held);
  }

  return {
    get current() {
      return current.graph;
    },
    async ready() {
      try {
        await current.graph.executor.ready;
      } catch (cause) {
        throw unusable(cause);
      }
    },
    async use(work) {
      const held = take();
      try {
        return await work(held.graph);
      } finally {
        leave(held);
      }
    },
    hold() {
      const held = take();
      let released = false;
      return {
        graph: held.graph,
        release() {
          if (released) return;
          released = true;
          leave(held);
        },
      };
    },
    async swap(supergraphSdl) {
      if (supergraphSdl === current.graph.supergraphSdl) return;
      const known = new Map([...open].flatMap(({ clients }) => [...clients]));
      const next = prepare(supergraphSdl, known);
      // From now on: the graph that had its clients may be left meanwhile.
      open.add(next);
      try {
        await next.graph.executor.ready;
        // The most frequent operations are planned before anyone has to wait for it.
        const { planned, failed } = await next.graph.executor.warm(
          current.graph.executor.hottestOperations(MAX_WARMED),
          AbortSignal.timeout(WARM_UP_MS),
        );
        log.info({ planned, failed }, "planned the most frequent operations for the new supergraph");
      } catch (error) {
        retire(next);
        throw error;
      }
      if (!open.has(next)) return; // closed meanwhile
      const before = current;
      current = next;
      for (const listener of listeners) listener();
      retire(before);
    },
    onSwap(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async close() {
      const clients = new Set([...open].flatMap((held) => [...held.clients.values()]));
      const executors = [...open].map(({ graph }) => graph.executor);
      open.clear();
      await Promise.all([...clients, ...executors].map((part) => part.close()));
    },
  };
}

/** For the operator who starts the gateway; graphql-js says it of any schema. */
function unusable(cause: unknown): unknown {
  if (cause instanceof ConfigError || isPublic(cause)) return cause;
  return new ToolyardError("BAD_USER_INPUT", `The supergraph cannot be used: ${messageOf(cause)}`, { cause });
}
