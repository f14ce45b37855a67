import { createEventSubjects } from "@toolyard/events";
import { createGitHubClient } from "@toolyard/github";
import {
  createGraphToolShares,
  createServiceCaller,
  createToolLookup,
  measureHealth,
  type RequestContext,
  type Subgraph,
} from "@toolyard/service-kit";
import { openSubgraph, type ConfiguredSubgraphOptions } from "@toolyard/subgraph-host";
import { createTaskLoaders, createTaskService } from "@toolyard/tasks";
import { createAnalysisService } from "./analysis-service.ts";
import type { AnalysisConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { createEvidenceReader } from "./evidence.ts";
import { resolvers } from "./resolvers.ts";
import { createIsolatedRules } from "./rules/isolated-rules.ts";
import { createTaskHandlers } from "./task-handlers.ts";

/** Feasibility, improvements and configurations as background tasks, and everybody's tasks in the graph. */
export function createAnalysisSubgraph(options: ConfiguredSubgraphOptions<AnalysisConfig>): Promise<Subgraph> {
  return openSubgraph({ name: "analysis", folder: import.meta.dirname }, options, async (host) => {
    const { logger, graph, signal } = options;
    const tasks = await host.tasks();
    const { store } = tasks;
    const eventTasks = createEventSubjects({ read: (ids) => store.getMany(ids) });
    const shares = createGraphToolShares({ graph, as: createServiceCaller("analysis", ["internal:tool-shares"]) });
    const analysis = createAnalysisService({ tasks, shares, graph });
    const tools = createToolLookup({ graph });
    const provider = createIsolatedRules({ logger, signal });
    host.onClose(() => provider.close());

    return {
      resolvers,
      createContext({ caller, requestId }: RequestContext): Context {
        const loaders = createTaskLoaders(store);
        return {
          caller,
          requestId,
          analysis,
          tools,
          tasks: createTaskService({ tasks, loaders, eventTasks }),
        };
      },
      tasks: createTaskHandlers({
        provider,
        evidence: createEvidenceReader({ graph, logger }),
        github: createGitHubClient({ config: options.config.github, now: host.now }),
      }),
      jobs: [
        {
          name: "ended-tasks",
          leases: store.leases,
          run: (work) => store.trim(host.now() - options.stores.retentionMs, work),
        },
      ],
      health: async () => [await measureHealth("queue", () => store.ping())],
      async gauges() {
        const byStatus = (name: string, help: string, counts: Record<string, number>) =>
          Object.entries(counts).map(([status, value]) => ({ name, help, labels: { status }, value }));
        return [
          ...byStatus("tasks", "Tasks by status.", await store.countByStatus()),
          ...byStatus("tasks_total", "Tasks that came to a status since the start.", store.transitions),
          ...byStatus("celery_tasks_total", "The same as tasks_total.", store.transitions),
        ];
      },
    };
  });
}
