import { createSqlJobLeases } from "@toolyard/scheduler";
import { createSealer, createTokenSigner, createTokenVerifier, type Subgraph } from "@toolyard/service-kit";
import { openSubgraph, type ConfiguredSubgraphOptions } from "@toolyard/subgraph-host";
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
import { createRecentRefreshes } from "./recent-refreshes.ts";
import { resolvers } from "./resolvers.ts";
import { createRevocationLog } from "./revocation-log.ts";
import { createSessionService } from "./session-service.ts";
import { createUserService } from "./user-service.ts";

export { parseIdentityConfig, type IdentityConfig } from "./config.ts";
export type { FirstAdministrator } from "./first-administrator.ts";
export { resetPasswordOnHost } from "./password-reset.ts";

/** Of one process: those of ten seconds. */
const MAX_RECENT_REFRESHES = 10_000;

export interface IdentitySubgraph extends Subgraph {
  /** Makes the first administrator when there is no user. Call it before the graph answers anybody. */
  ensureFirstAdministrator(): Promise<FirstAdministrator>;
}

/** Users, sessions, API keys, and revocations. */
export function createIdentitySubgraph(options: ConfiguredSubgraphOptions<IdentityConfig>): Promise<IdentitySubgraph> {
  return openSubgraph({ name: "identity", folder: import.meta.dirname }, options, async (host) => {
    const { config, logger, secretKeys, dataDir } = options;
    const { now } = host;
    const [secretKey = "", ...previousSecretKeys] = secretKeys;
    const database = await host.openDatabase({ entities, migrationsFolder });
    const store = createSqlIdentityStore({ database });
    const signer = createTokenSigner({ secretKey, previousSecretKeys });
    const verifier = createTokenVerifier({ keys: { secretKeys }, now });
    const hasher = createPasswordHasher();
    const kept = createKeptPassword({ dataDir, hasher, logger });
    const limiter = createLoginLimiter({
      enabled: config.rateLimitEnabled,
      createBuckets: options.stores.createTokenBuckets,
      now,
    });
    const recent = createRecentRefreshes({
      cache: options.stores.createCache("recent-refreshes", { maxEntries: MAX_RECENT_REFRESHES, now }),
      sealer: createSealer({ secretKey, previousSecretKeys }),
    });
    const revocations = createRevocationLog({ database, bus: options.stores.bus, logger, now });
    const apiKeys = createApiKeyService({ store, revocations, graph: options.graph, logger, now });
    host.onClose(() => apiKeys.close());
    host.onClose(() => revocations.close());
    const services: Services = {
      sessions: createSessionService({
        store,
        revocations,
        hasher,
        kept,
        limiter,
        recent,
        signer,
        config,
        logger,
        now,
      }),
      users: createUserService({ store, revocations, hasher, kept, logger, now }),
      apiKeys,
      introspection: createIntrospectionService({ store, apiKeys, verifier, now }),
      revocations,
    };

    return {
      resolvers,
      createContext: ({ caller, requestId, clientAddress }): Context => ({
        caller,
        requestId,
        clientAddress: clientAddress ?? null,
        loaders: createLoaders(store),
        services,
      }),
      methods: { ensureFirstAdministrator: () => ensureFirstAdministrator({ store, hasher, config, kept, now }) },
      jobs: [
        {
          name: "expired-sessions",
          leases: createSqlJobLeases(database),
          run: async (work) => (await store.deleteExpired(now(), work)) + (await revocations.trim(now(), work)),
        },
      ],
      gauges: async () => [
        {
          name: "user_sessions",
          help: "Logins that have not ended.",
          labels: {},
          value: await store.countSessions(now()),
        },
      ],
    };
  });
}
