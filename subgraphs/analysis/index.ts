import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSubgraphSchema } from "@apollo/subgraph";
import type { GraphQLResolverMap } from "@apollo/subgraph/dist/schema-helper/resolverMap.js";
import { createEventSubjects, type WakeUpBus } from "@toolyard/events";
import {
  createToolLookup,
  measureHealth,
  type GraphClient,
  type Logger,
  type RequestContext,
  type Subgraph,
} from "@toolyard/service-kit";
import { openTaskQueue, type TaskQueue, type TaskWorker } from "@toolyard/tasks";
import { parse } from "graphql";
import { createAnalysisService } from "./analysis-service.ts";
import type { AnalysisConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { createEvidenceReader } from "./evidence.ts";
import { createLoaders } from "./loaders.ts";
import { resolvers } from "./resolvers.ts";
import { createIsolatedRules } from "./rules/isolated-rules.ts";
import { startAnalysisWorkers } from "./task-handlers.ts";
import { createTaskService } from "./task-service.ts";

export { parseAnalysisConfig, type AnalysisConfig } from "./config.ts";

export interface AnalysisOptions {
  config: AnalysisConfig;
  logger: Logger;
  bus: WakeUpBus;
  graph: GraphClient;
  dataDir: string;
  /** The process's queue where several subgraphs share one; it stays its owner's to close. Left out: one of its own in `dataDir`. */
  tasks?: TaskQueue;
  /** Aborts when Toolyard begins to stop: long work is not waited for. */
  signal?: AbortSignal;
  now?: () => number;
}

/** Feasibility, improvements and configurations as background tasks, and everybody's tasks in the graph. */
export async function createAnalysisSubgraph(options: AnalysisOptions): Promise<Subgraph> {
  const { logger, bus, graph, dataDir, now } = options;
  const tasks = options.tasks ?? (await openTaskQueue({ dataDir, bus, logger, ...(now && { now }) }));
  const { store } = tasks;
  const eventTasks = createEventSubjects({ read: (ids) => store.getMany(ids) });
  const analysis = createAnalysisService({ tasks, graph });
  const tools = createToolLookup({ graph });
  const evidence = createEvidenceReader({ graph, logger });
  const typeDefs = parse(readFileSync(join(import.meta.dirname, "generated", "schema.graphql"), "utf8"));
  const provider = createIsolatedRules({ logger, signal: options.signal });
  let workers: TaskWorker[] = [];

  return {
    name: "analysis",
    // The generated type says which resolvers there may be; Apollo's only that there are some, by any name.
    schema: buildSubgraphSchema({ typeDefs, resolvers: resolvers as GraphQLResolverMap<unknown> }),
    createContext({ caller, requestId }: RequestContext): Context {
      const loaders = createLoaders(store);
      return { caller, requestId, analysis, tools, tasks: createTaskService({ tasks, loaders, eventTasks }), loaders };
    },
    async start() {
      workers = startAnalysisWorkers({ tasks, provider, evidence, logger });
    },
    health: async () => [await measureHealth("queue", () => store.ping())],
    async gauges() {
      const labelled = (name: string, counts: Record<string, number>) =>
        Object.fromEntries(Object.entries(counts).map(([status, n]) => [`${name}{status="${status}"}`, n]));
      return {
        ...labelled("tasks", await store.countByStatus()),
        ...labelled("tasks_total", store.transitions),
        ...labelled("celery_tasks_total", store.transitions),
      };
    },
    async close() {
      await provider.close();
      await Promise.all(workers.map((worker) => worker.close()));
      if (!options.tasks) await tasks.close();
    },
  };
}
