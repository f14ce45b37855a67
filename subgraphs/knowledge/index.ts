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
import { ConfigError } from "@toolyard/service-kit/process/config.ts";
import { openSubgraph, type SubgraphHost, type SubgraphOptions } from "@toolyard/subgraph-host";
import type { Context } from "./context.ts";
import { entities, isEmbeddedOnly, migrationsFolder } from "./database.ts";
import type { DocumentStore } from "./document-store.ts";
import { createDocumentService } from "./document-service.ts";
import { createSqlDocumentStore, hasDocuments } from "./document-store.sql.ts";
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
  await refuseDocumentsLeft(dataDir);
  // Loaded only where it is used.
  const { createMongodbDocumentStore } = await import("./document-store.mongodb.ts");
  return createMongodbDocumentStore({ mongodb, logger, signal });
}

/** @throws ConfigError where DATA_DIR has documents from before MONGODB_URL was set: they would vanish without a word */
async function refuseDocumentsLeft(dataDir: string): Promise<void> {
  if (existsSync(join(dataDir, "knowledge.sqlite")) && (await hasDocuments(dataDir)))
    throw new ConfigError(
      "MONGODB_URL: knowledge.sqlite in DATA_DIR has documents, which would not be shown. Copy them to MongoDB with `npm run migrate:data`, or move the file away to leave them behind.",
    );
}
