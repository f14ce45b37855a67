import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSubgraphSchema } from "@apollo/subgraph";
import type { GraphQLResolverMap } from "@apollo/subgraph/dist/schema-helper/resolverMap.js";
import { createEventLog, createEventSubjects, createEventTail, type WakeUpBus } from "@toolyard/events";
import { createSchemaValidator } from "@toolyard/json-schema";
import {
  createSealer,
  measureHealth,
  type GraphClient,
  type Logger,
  type RequestContext,
  type Subgraph,
} from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { parse } from "graphql";
import type { ToolsConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { entities, migrationsFolder, toolEventSchema } from "./database.ts";
import { createLoaders } from "./loaders.ts";
import { createResolvers } from "./resolvers.ts";
import { createToolReader } from "./tool-reader.ts";
import { createToolService } from "./tool-service.ts";
import { createSqlToolStore, type ToolEventPayload } from "./tool-store.sql.ts";
import { createVersionSecrets } from "./version-content.ts";

export { parseToolsConfig, type ToolsConfig } from "./config.ts";

export interface ToolsSubgraphOptions {
  config: ToolsConfig;
  logger: Logger;
  bus: WakeUpBus;
  graph: GraphClient;
  /** Current first. */
  secretKeys: readonly string[];
  /** Folder of `tools.sqlite`. */
  dataDir: string;
  /** Aborts when Toolyard begins to stop: long work is not waited for. */
  signal?: AbortSignal;
  /** Epoch milliseconds. */
  now?: () => number;
}

/** Tools, their versions and their launches. */
export async function createToolsSubgraph(options: ToolsSubgraphOptions): Promise<Subgraph> {
  const { logger, bus, graph, dataDir, now = Date.now } = options;
  const [secretKey, ...previousSecretKeys] = options.secretKeys;
  if (secretKey === undefined) throw new Error("The tools subgraph needs a secret key.");

  const database = await openDatabase({
    file: join(dataDir, "tools.sqlite"),
    entities,
    migrations: readMigrations(migrationsFolder),
  });
  const events = createEventLog<ToolEventPayload>({
    database,
    schema: toolEventSchema,
    bus,
    topic: "tools.events",
    now,
  });
  const tail = createEventTail({ log: events, bus, logger });
  const store = createSqlToolStore({ database, events });
  const eventTools = createEventSubjects({
    async read(ids) {
      const byId = new Map((await store.findByIds(ids)).map((tool) => [tool.id, tool]));
      return ids.map((id) => byId.get(id) ?? null);
    },
  });
  const secrets = createVersionSecrets({ sealer: createSealer({ secretKey, previousSecretKeys }), secretKey });
  const schemas = createSchemaValidator({ logger, signal: options.signal });
  const tools = createToolService({ store, secrets, schemas, graph, logger, now });

  const schema = buildSubgraphSchema({
    typeDefs: parse(readFileSync(join(import.meta.dirname, "generated", "schema.graphql"), "utf8")),
    // The generated type says which resolvers there may be; Apollo's only that there are some, by any name.
    resolvers: createResolvers({ tail, eventTools }) as GraphQLResolverMap<unknown>,
  });

  return {
    name: "tools",
    schema,
    createContext({ caller, requestId, warn }: RequestContext): Context {
      const loaders = createLoaders(store);
      return { caller, requestId, warn, loaders, tools, reader: createToolReader({ store, loaders }) };
    },
    async start() {},
    health: async () => [await measureHealth("sqlite", () => database.ping())],
    async gauges() {
      const { ever, current } = await store.count();
      return { mcp_tools: current, mcp_tools_total: ever };
    },
    async close() {
      tail.close();
      await schemas.close();
      await database.close();
    },
  };
}
