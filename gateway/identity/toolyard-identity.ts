import type { CacheCount } from "@toolyard/cache";
import { createIdentityClient, createIdentityClock } from "@toolyard/identity-client";
import {
  GATEWAY_AUDIENCE,
  createCallerHeaderVerifier,
  createServiceCaller,
  createTokenVerifier,
  type GraphClient,
  type Logger,
  type ServiceHealth,
} from "@toolyard/service-kit";
import type { ClockWatch } from "@toolyard/service-kit/identity/clock-watch.ts";
import { clockHealth } from "@toolyard/service-kit/process/measured-clock.ts";
import type { Authenticator } from "./authentication.ts";

/** Callers as Toolyard's identity subgraph knows them. */
export interface ToolyardIdentity {
  authenticator: Authenticator;
  /** Epoch ms by the clock of tokens. */
  now(): number;
  /** `clock`, where this host's differs from it. */
  health(): ServiceHealth[];
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
  /** Epoch milliseconds by the clock of all who sign calls to the gateway. */
  now: () => number;
  watch: ClockWatch;
}): ToolyardIdentity {
  const { graph, secretKeys, count, logger, now, watch } = options;
  const verifyCallerHeader = createCallerHeaderVerifier({ secretKeys, audience: GATEWAY_AUDIENCE, now, watch });
  const as = createServiceCaller("gateway", ["internal:introspect", "internal:revocations"]);
  const clock = createIdentityClock({ graph, as });
  const { authenticate, onRevoked, start, close } = createIdentityClient({
    graph,
    as,
    verifier: createTokenVerifier({ keys: { secretKeys }, now: clock.now }),
    clock,
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
    now: clock.now,
    health: () =>
      clockHealth(
        clock.aheadMs(),
        (difference) => `A gateway's clock is ${difference} identity's, by which credentials are judged.`,
      ),
    start,
    close,
  };
}
