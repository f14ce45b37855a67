import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSubgraphSchema } from "@apollo/subgraph";
import type { GraphQLResolverMap } from "@apollo/subgraph/dist/schema-helper/resolverMap.js";
import type { WakeUpBus } from "@toolyard/events";
import {
  createToolLookup,
  measureHealth,
  type GraphClient,
  type Logger,
  type RequestContext,
  type Subgraph,
} from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { parse } from "graphql";
import type { KnowledgeConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { entities, migrationsFolder } from "./database.ts";
import { createDocumentService } from "./document-service.ts";
import { createSqlDocumentStore } from "./document-store.sql.ts";
import { createLoaders } from "./loaders.ts";
import { createResolvers } from "./resolvers.ts";

export { parseKnowledgeConfig, type KnowledgeConfig } from "./config.ts";

export interface KnowledgeSubgraphOptions {
  config: KnowledgeConfig;
  logger: Logger;
  bus: WakeUpBus;
  graph: GraphClient;
  /** Current first. */
  secretKeys: readonly string[];
  /** Folder of `knowledge.sqlite`. */
  dataDir: string;
  /** Aborts when Toolyard begins to stop: long work is not waited for. */
  signal?: AbortSignal;
  /** Epoch milliseconds. */
  now?: () => number;
}

/** Documents and the search over them. */
export async function createKnowledgeSubgraph(options: KnowledgeSubgraphOptions): Promise<Subgraph> {
  const { logger, graph, dataDir, now = Date.now } = options;
  const file = join(dataDir, "knowledge.sqlite");
  const database = await openDatabase({ file, entities, migrations: readMigrations(migrationsFolder) });
  const store = await createSqlDocumentStore({ database, file, logger, signal: options.signal });
  const documents = createDocumentService({ store, graph, now });
  const tools = createToolLookup({ graph });

  const schema = buildSubgraphSchema({
    typeDefs: parse(readFileSync(join(import.meta.dirname, "generated", "schema.graphql"), "utf8")),
    // The generated type says which resolvers there may be; Apollo's only that there are some, by any name.
    resolvers: createResolvers() as GraphQLResolverMap<unknown>,
  });

  return {
    name: "knowledge",
    schema,
    createContext: ({ caller, requestId }: RequestContext): Context => ({
      caller,
      requestId,
      documents,
      tools,
      loaders: createLoaders(store),
    }),
    async start() {},
    health: async () => [await measureHealth("sqlite", () => database.ping())],
    async close() {
      await store.close();
      await database.close();
    },
  };
}
