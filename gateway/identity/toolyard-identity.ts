import { setTimeout as delay } from "node:timers/promises";
import {
  GATEWAY_AUDIENCE,
  createCallerHeaderVerifier,
  createRevocationList,
  createServiceCaller,
  createTokenVerifier,
  type GraphClient,
  type Logger,
} from "@toolyard/service-kit";
import { createAuthenticator, type Authenticator, type Introspection } from "./authentication.ts";

/** Callers as Toolyard's identity subgraph knows them. */
export interface ToolyardIdentity {
  authenticator: Authenticator;
  /** Follows revocations until `close`. */
  start(): void;
  close(): Promise<void>;
}

/** How one gets a credential: whatever came with them instead of one is not looked at. */
/** Whose fields say who calls. */
export const IDENTITY_SUBGRAPH = "identity";

export const OPEN_MUTATIONS: readonly string[] = ["login", "register", "refreshSession"];

const REVOCATIONS =
  "subscription Revocations($after: String) { credentialsRevoked(after: $after) { sequence at tokenId apiKeyId userId } }";
const INTROSPECT =
  "query Introspect($credential: String!) { introspectCredential(credential: $credential) { active subject role scopes expiresAt apiKeyId tokenId issuedAt } }";

export function createToolyardIdentity(options: {
  graph: GraphClient;
  /** Current first. */
  secretKeys: readonly string[];
  logger: Logger;
}): ToolyardIdentity {
  const { graph, secretKeys, logger } = options;
  const self = createServiceCaller("gateway", ["internal:introspect", "internal:revocations"]);
  const stopping = new AbortController();
  let following: Promise<void> = Promise.resolve();

  const verifyCallerHeader = createCallerHeaderVerifier({ secretKeys, audience: GATEWAY_AUDIENCE });

  const authenticator = createAuthenticator({
    verifier: createTokenVerifier({ keys: { secretKeys } }),
    verifyCallerHeader: async (header) => (await verifyCallerHeader(header)).caller,
    revocations: createRevocationList(),
    introspect: async (credential) => {
      type Times = "expiresAt" | "issuedAt";
      type Answer = { introspectCredential: Omit<Introspection, Times> & Record<Times, string | null> };
      const { introspectCredential: found } = await graph.query<Answer>({
        query: INTROSPECT,
        variables: { credential },
        as: self,
      });
      const time = (text: string | null) => (text === null ? null : Date.parse(text));
      return { ...found, expiresAt: time(found.expiresAt), issuedAt: time(found.issuedAt) };
    },
  });

  /** Learns of revocations for as long as the gateway runs; where the stream breaks, it goes on from the last one. */
  async function followRevocations(): Promise<void> {
    type Event = {
      credentialsRevoked: {
        sequence: string;
        at: string;
        tokenId: string | null;
        apiKeyId: string | null;
        userId: string | null;
      };
    };
    let after = "0";
    while (!stopping.signal.aborted) {
      try {
        for await (const event of graph.subscribe<Event>({
          query: REVOCATIONS,
          variables: { after },
          as: self,
          signal: stopping.signal,
        })) {
          const { sequence, at, ...ids } = event.credentialsRevoked;
          after = sequence;
          authenticator.revoke({ at: Date.parse(at), ...ids });
        }
      } catch (error) {
        if (!stopping.signal.aborted)
          logger.warn({ err: error }, "the stream of revocations broke; it is opened again");
      }
      await delay(500, undefined, { signal: stopping.signal }).catch(() => undefined); // aborted: the loop ends
    }
  }

  return {
    authenticator,
    start() {
      following = followRevocations();
    },
    async close() {
      stopping.abort();
      await following;
    },
  };
}
