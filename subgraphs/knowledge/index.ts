import { existsSync } from "node:fs";
import { join } from "node:path";
import type { MongodbConnection } from "@toolyard/mongodb";
import {
  createGraphToolShares,
  createServiceCaller,
  createToolLookup,
  type RequestContext,
  type Subgraph,
} from "@toolyard/service-kit";
import { openSubgraph, type SubgraphHost, type SubgraphOptions } from "@toolyard/subgraph-host";
import type { Context } from "./context.ts";
import { entities, isEmbeddedOnly, migrationsFolder } from "./database.ts";
import type { DocumentStore } from "./document-store.ts";
import { createDocumentService } from "./document-service.ts";
import { createSqlDocumentStore } from "./document-store.sql.ts";
import { createLoaders } from "./loaders.ts";
import { createResolvers } from "./resolvers.ts";

/** Documents and the search over them. */
export function createKnowledgeSubgraph(options: SubgraphOptions): Promise<Subgraph> {
  return openSubgraph({ name: "knowledge", folder: import.meta.dirname }, options, async (host) => {
    const { graph } = options;
    const mongodb = await host.mongodb();
    const store = mongodb ? await onMongodb(mongodb, options) : await onSqlite(host, options);
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

async function onSqlite(host: SubgraphHost, { logger, signal }: SubgraphOptions): Promise<DocumentStore> {
  return createSqlDocumentStore({
    database: await host.openDatabase({ entities, migrationsFolder, isEmbeddedOnly }),
    logger,
    signal,
  });
}

async function onMongodb(mongodb: MongodbConnection, options: SubgraphOptions): Promise<DocumentStore> {
  const { logger, signal, dataDir } = options;
  if (existsSync(join(dataDir, "knowledge.sqlite")))
    logger.warn(
      "documents from before MONGODB_URL was set stay in DATA_DIR/knowledge.sqlite, and are not shown while it is set",
    );
  // Loaded only where it is used.
  const { createMongodbDocumentStore } = await import("./document-store.mongodb.ts");
  return createMongodbDocumentStore({ mongodb, logger, signal });
}
