import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildSubgraphSchema } from "@apollo/subgraph";
import type { GraphQLResolverMap } from "@apollo/subgraph/dist/schema-helper/resolverMap.js";
import type { WakeUpBus } from "@toolyard/events";
import {
  createTokenSigner,
  createTokenVerifier,
  measureHealth,
  type GraphClient,
  type Logger,
  type Subgraph,
} from "@toolyard/service-kit";
import { openDatabase, readMigrations } from "@toolyard/storage";
import { parse } from "graphql";
import { createApiKeyService } from "./api-key-service.ts";
import type { IdentityConfig } from "./config.ts";
import type { Context, Services } from "./context.ts";
import { entities, migrationsFolder } from "./database.ts";
import { ensureFirstAdministrator, type FirstAdministrator } from "./first-administrator.ts";
import { createSqlIdentityStore } from "./identity-store.sql.ts";
import { createIntrospectionService } from "./introspection-service.ts";
import { createKeptPassword } from "./kept-password.ts";
import { createLoaders } from "./loaders.ts";
import { createLoginLimiter } from "./login-limiter.ts";
import { createPasswordHasher } from "./password-hash.ts";
import { resolvers } from "./resolvers.ts";
import { createRevocationLog } from "./revocation-log.ts";
import { createSessionService } from "./session-service.ts";
import { createUserService } from "./user-service.ts";

export { parseIdentityConfig, type IdentityConfig } from "./config.ts";
export { resetPasswordInDataDir } from "./password-reset.ts";
export type { FirstAdministrator } from "./first-administrator.ts";

/** How often what has ended is removed. */
const SWEEP_INTERVAL_MS = 3_600_000;

export interface IdentitySubgraph extends Subgraph {
  /** Makes the first administrator when there is no user. Call it before the graph answers anybody. */
  ensureFirstAdministrator(): Promise<FirstAdministrator>;
}

/** Users, sessions, API keys, and what has been revoked. Keeps it in `identity.sqlite` in `dataDir`. */
export async function createIdentitySubgraph(options: {
  config: IdentityConfig;
  logger: Logger;
  bus: WakeUpBus;
  /** Not asked: identity knows everything it needs. */
  graph: GraphClient;
  /** Current first. */
  secretKeys: readonly string[];
  dataDir: string;
  now?: () => number;
}): Promise<IdentitySubgraph> {
  const { config, logger, bus, secretKeys, dataDir, now = Date.now } = options;
  const [secretKey = "", ...previousSecretKeys] = secretKeys;
  const migrations = readMigrations(migrationsFolder);
  const database = await openDatabase({ file: join(dataDir, "identity.sqlite"), entities, migrations });
  const store = createSqlIdentityStore({ database });
  const signer = createTokenSigner({ secretKey, previousSecretKeys });
  const verifier = createTokenVerifier({ keys: { secretKeys } });
  const hasher = createPasswordHasher();
  const kept = createKeptPassword({ dataDir, hasher, logger });
  const limiter = createLoginLimiter({ enabled: config.rateLimitEnabled, now });
  const revocations = createRevocationLog({ database, bus, logger, now });
  const apiKeys = createApiKeyService({ store, revocations, logger, now });
  const services: Services = {
    sessions: createSessionService({ store, revocations, hasher, kept, limiter, signer, config, logger, now }),
    users: createUserService({ store, revocations, hasher, kept, logger, now }),
    apiKeys,
    introspection: createIntrospectionService({ store, apiKeys, verifier, now }),
    revocations,
  };
  const typeDefs = parse(readFileSync(join(import.meta.dirname, "generated", "schema.graphql"), "utf8"));
  let timer: NodeJS.Timeout | null = null;
  const closing = new AbortController();

  async function sweep(): Promise<void> {
    try {
      await store.deleteExpired(now(), closing.signal);
      await revocations.trim(now(), closing.signal);
    } catch (error) {
      logger.warn({ err: error }, "removing expired sessions failed; it is tried again in an hour");
    }
  }

  return {
    name: "identity",
    // The generated type says which resolvers there may be; Apollo's only that there are some, by any name.
    schema: buildSubgraphSchema({ typeDefs, resolvers: resolvers as GraphQLResolverMap<unknown> }),
    createContext: ({ caller, requestId, clientAddress }): Context => ({
      caller,
      requestId,
      clientAddress: clientAddress ?? null,
      loaders: createLoaders(store),
      services,
    }),
    ensureFirstAdministrator: () => ensureFirstAdministrator({ store, hasher, config, kept, now }),
    async start() {
      timer = setInterval(() => void sweep(), SWEEP_INTERVAL_MS).unref();
      await sweep();
    },
    health: async () => [await measureHealth("sqlite", () => database.ping())],
    gauges: async () => ({ user_sessions: await store.countSessions(now()) }),
    async close() {
      if (timer) clearInterval(timer);
      closing.abort();
      revocations.close();
      await apiKeys.close();
      await database.close();
    },
  };
}
