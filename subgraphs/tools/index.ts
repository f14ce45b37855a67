import { join } from "node:path";
import { createEventSubjects } from "@toolyard/events";
import { createGitHubClient } from "@toolyard/github";
import { createSchemaValidator } from "@toolyard/json-schema";
import type { MongodbConnection } from "@toolyard/mongodb";
import { createSqlJobLeases } from "@toolyard/scheduler";
import { createSealer, createToolShares, type RequestContext, type Subgraph } from "@toolyard/service-kit";
import { openSubgraph, type ConfiguredSubgraphOptions } from "@toolyard/subgraph-host";
import type { ToolsConfig } from "./config.ts";
import type { Context } from "./context.ts";
import { entities, migrationsFolder, toolEventSchema } from "./database.ts";
import { createConnectionService } from "./github/connection-service.ts";
import { createSqlConnectionStore } from "./github/connection-store.sql.ts";
import { createSyncHandler, endLostSyncs } from "./github/repository-sync.ts";
import { createSyncedDocuments } from "./github/synced-documents.ts";
import { createLoaders } from "./loaders.ts";
import { reachedBy } from "./reached-tools.ts";
import { createResolvers } from "./resolvers.ts";
import { createRepositoryTemplates } from "./templates/repository/repository-templates.ts";
import { createSqlTemplateRepositoryStore } from "./templates/repository/template-repository.sql.ts";
import { createTemplateFolder } from "./templates/template-folder.ts";
import { createTemplateImports } from "./templates/template-imports.ts";
import { createTemplateReader } from "./templates/template-reader.ts";
import { createSqlTemplateStore } from "./templates/template-store.sql.ts";
import { createShareService } from "./share-service.ts";
import { createToolReader } from "./tool-reader.ts";
import { createToolService } from "./tool-service.ts";
import { createSqlToolStore } from "./tool-store.sql.ts";
import type { ToolEventPayload } from "./tool-store.ts";
import { createVersionSecrets } from "./version-content.ts";
import type { VersionContents } from "./version-contents.ts";

/** No change to a new version takes so long. */
const UNDER_WAY_MS = 86_400_000;
/** Of Toolyard itself. */
const templatesFolder = join(import.meta.dirname, "../../templates");
/** GitHub sends deliveries of the last three days again when it is asked to. */
const REPEATED_DELIVERIES_MS = 4 * 86_400_000;
/** Syncs with repositories in one process, those that wait for another's end among them. */
const SYNCS_AT_ONCE = 4;
const SYNC_TIMEOUT_MS = 1_800_000;

/** Tools, their versions and their launches, the repositories that they follow, and the templates that they are made of. */
export function createToolsSubgraph(options: ConfiguredSubgraphOptions<ToolsConfig>): Promise<Subgraph> {
  return openSubgraph({ name: "tools", folder: import.meta.dirname }, options, async (host) => {
    const { config, logger, graph } = options;
    const { now } = host;
    const [secretKey, ...previousSecretKeys] = options.secretKeys;
    if (secretKey === undefined) throw new Error("The tools subgraph needs a secret key.");

    const database = await host.openDatabase({ entities, migrationsFolder });
    const { log: events, tail } = host.openEventLog<ToolEventPayload>({
      database,
      schema: toolEventSchema,
    });
    const mongodb = await host.mongodb();
    const contents = mongodb ? await openContents(mongodb) : null;
    const store = createSqlToolStore({ database, events, contents, logger, now });
    const eventTools = createEventSubjects({
      async read(ids) {
        const byId = new Map((await store.findByIds(ids)).map((tool) => [tool.id, tool]));
        return ids.map((id) => byId.get(id) ?? null);
      },
    });
    const secrets = createVersionSecrets({ sealer: createSealer({ secretKey, previousSecretKeys }), secretKey });
    const schemas = createSchemaValidator({ logger, signal: options.signal });
    host.onClose(() => schemas.close());
    const github = createGitHubClient({ config: config.github, now });
    const templateRepository =
      config.templateRepository === null
        ? null
        : createRepositoryTemplates({
            place: config.templateRepository,
            store: createSqlTemplateRepositoryStore({ database }),
            github,
            schemas,
            logger,
            now,
          });
    // Of two templates with the same id, the first one is the one.
    const ownTemplates = [
      ...(config.templatesDir === null ? [] : [createTemplateFolder({ folder: config.templatesDir, logger })]),
      ...(templateRepository === null ? [] : [templateRepository]),
      createTemplateFolder({ folder: templatesFolder, logger }),
    ];
    const importedTemplates = createSqlTemplateStore({ database });
    const imports = createTemplateImports({ store: importedTemplates, catalogues: ownTemplates, logger, now });
    const catalogues = [...ownTemplates, importedTemplates];
    const shares = createToolShares((userId, toolIds) => store.accessOf(userId, toolIds));
    const sharing = createShareService({ store, shares, tail, graph, logger, now });
    const tools = createToolService({ store, shares, secrets, schemas, graph, logger, now });
    const tasks = await host.tasks();
    const connectionStore = createSqlConnectionStore(database);
    const connections = createConnectionService({
      store: connectionStore,
      tools,
      toolStore: store,
      tasks,
      github,
      webhookSecret: config.github.webhookSecret,
      templateRepository,
      logger,
      now,
    });

    return {
      resolvers: createResolvers({ tail, eventTools }),
      createContext({ caller, requestId, warn }: RequestContext): Context {
        const reached = reachedBy(caller, store);
        const loaders = createLoaders(reached, connectionStore);
        return {
          caller,
          requestId,
          warn,
          loaders,
          tools,
          connections,
          imports,
          templates: createTemplateReader({ catalogues }),
          templateRepository,
          sharing,
          reader: createToolReader({ store: reached, shares, loaders }),
        };
      },
      tasks: {
        REPOSITORY_SYNC: {
          handler: createSyncHandler({
            store: connectionStore,
            tools,
            documents: createSyncedDocuments({ store: connectionStore, graph }),
            github,
            graph,
            tasks,
            now,
          }),
          concurrency: SYNCS_AT_ONCE,
          timeoutMs: SYNC_TIMEOUT_MS,
        },
      },
      start() {
        const { closing: signal } = host;
        const work = [
          endLostSyncs({ store: connectionStore, tasks, logger, signal }),
          ...(templateRepository === null ? [] : [templateRepository.follow(signal)]),
        ];
        host.onClose(() => Promise.all(work));
      },
      jobs: [
        {
          name: "tool-records",
          leases: createSqlJobLeases(database),
          async run(work) {
            const before = now() - Math.max(options.stores.retentionMs, REPEATED_DELIVERIES_MS);
            const trimmed = (await events.trim(before, work)) + (await connectionStore.trimDeliveries(before, work));
            return trimmed + (await store.removeStrayContents(now() - UNDER_WAY_MS, work));
          },
        },
        {
          name: "tool-search",
          leases: createSqlJobLeases(database),
          run: (work) => store.completeSearch(work),
        },
      ],
      async gauges() {
        const { ever, current } = await store.count();
        return [
          { name: "mcp_tools", help: "Registered tools that are not deleted.", labels: {}, value: current },
          { name: "mcp_tools_total", help: "Tools that were ever registered.", labels: {}, value: ever },
        ];
      },
    };
  });
}

/** Loaded only where it is used. */
async function openContents(mongodb: MongodbConnection): Promise<VersionContents> {
  const { createMongodbVersionContents } = await import("./version-contents.mongodb.ts");
  return createMongodbVersionContents(mongodb);
}
