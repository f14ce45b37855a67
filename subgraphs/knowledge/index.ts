import {
  createGraphToolShares,
  createServiceCaller,
  createToolLookup,
  type RequestContext,
  type Subgraph,
} from "@toolyard/service-kit";
import { openSubgraph, type SubgraphOptions } from "@toolyard/subgraph-host";
import type { Context } from "./context.ts";
import { entities, migrationsFolder } from "./database.ts";
import { createDocumentService } from "./document-service.ts";
import { createSqlDocumentStore } from "./document-store.sql.ts";
import { createLoaders } from "./loaders.ts";
import { createResolvers } from "./resolvers.ts";

/** Documents and the search over them. */
export function createKnowledgeSubgraph(options: SubgraphOptions): Promise<Subgraph> {
  return openSubgraph({ name: "knowledge", folder: import.meta.dirname }, options, async (host) => {
    const { logger, graph, signal } = options;
    const database = await host.openDatabase({ entities, migrationsFolder });
    const store = await createSqlDocumentStore({ database, logger, signal });
    host.onClose(() => store.close());
    const shares = createGraphToolShares({ graph, as: createServiceCaller("knowledge", ["internal:tool-shares"]) });
    const documents = createDocumentService({ store, shares, graph, now: host.now });
    const tools = createToolLookup({ graph });

    return {
      resolvers: createResolvers(),
      createContext: ({ caller, requestId }: RequestContext): Context => ({
        caller,
        requestId,
        documents,
        tools,
        loaders: createLoaders(store),
      }),
    };
  });
}
