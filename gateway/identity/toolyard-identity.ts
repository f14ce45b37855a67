import type { CacheCount } from "@toolyard/cache";
import { createIdentityClient } from "@toolyard/identity-client";
import {
  GATEWAY_AUDIENCE,
  createCallerHeaderVerifier,
  createServiceCaller,
  createTokenVerifier,
  type GraphClient,
  type Logger,
} from "@toolyard/service-kit";
import type { Authenticator } from "./authentication.ts";

/** Callers as Toolyard's identity subgraph knows them. */
export interface ToolyardIdentity {
  authenticator: Authenticator;
  /** Follows revocations until `close`. */
  start(): void;
  close(): Promise<void>;
}

/** The subgraph whose fields identify callers. */
export const IDENTITY_SUBGRAPH = "identity";

/** Mutations that give a credential: a bad one sent with them is ignored. */
export const OPEN_MUTATIONS: readonly string[] = ["login", "register", "refreshSession"];

export function createToolyardIdentity(options: {
  graph: GraphClient;
  /** Current first. */
  secretKeys: readonly string[];
  /** Whether a credential was known. */
  count: CacheCount;
  logger: Logger;
}): ToolyardIdentity {
  const { graph, secretKeys, count, logger } = options;
  const verifyCallerHeader = createCallerHeaderVerifier({ secretKeys, audience: GATEWAY_AUDIENCE });
  const { authenticate, onRevoked, start, close } = createIdentityClient({
    graph,
    as: createServiceCaller("gateway", ["internal:introspect", "internal:revocations"]),
    verifier: createTokenVerifier({ keys: { secretKeys } }),
    takesTickets: true,
    count,
    logger,
  });
  return {
    authenticator: {
      authenticate,
      authenticateHeader: async (header) => (await verifyCallerHeader(header)).caller,
      onRevoked,
    },
    start,
    close,
  };
}
