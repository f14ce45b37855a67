import {
  createEventLog,
  createEventTail,
  subscriptionStream,
  type EventLogRange,
  type WakeUpBus,
} from "@toolyard/events";
import { ACCESS_TOKEN_SECONDS, type Caller, type CredentialRevocation, type Logger } from "@toolyard/service-kit";
import type { Database, LongWork } from "@toolyard/storage";
import { revocationLogSchema } from "./database.ts";
import type { IdentityWrites } from "./identity-store.ts";

/** How long the log reaches back: far longer than an access token lives, for verifiers that were away. */
const KEPT_MS = 7 * 24 * 3_600_000;

export interface SequencedRevocation extends CredentialRevocation {
  sequence: string;
}

/** The revocations, for all verifiers of credentials. Each function writes in the given transaction, as its last act. */
export interface RevocationLog {
  /** All access tokens of the user issued until now; their sessions and stream tickets end with them. */
  revokeUser(tx: IdentityWrites, userId: string, at: number): Promise<void>;
  /** A login's session: its refresh token, and all its access tokens that could still be good. */
  revokeSession(tx: IdentityWrites, sessionId: string, at: number): Promise<void>;
  revokeApiKey(tx: IdentityWrites, apiKeyId: string, at: number): Promise<void>;
  /** The revocations after `after`, then live ones; null: from now. @throws ToolyardError FORBIDDEN unless a service asks. */
  follow(caller: Caller, after: string | null): AsyncIterableIterator<SequencedRevocation>;
  /** Where the log begins and ends. @throws ToolyardError FORBIDDEN unless a service asks. */
  range(caller: Caller): Promise<EventLogRange>;
  /** Removes revocations that nobody needs any more. */
  trim(now: number, work?: LongWork): Promise<number>;
  close(): void;
}

export function createRevocationLog(options: {
  database: Database;
  bus: WakeUpBus;
  logger: Logger;
  now: () => number;
}): RevocationLog {
  const { database, bus, logger, now } = options;
  const log = createEventLog<Omit<CredentialRevocation, "at">>({
    database,
    schema: revocationLogSchema,
    bus,
    now,
  });
  const tail = createEventTail({ log, bus, logger });
  const nothing = { tokenId: null, apiKeyId: null, userId: null };
  return {
    async revokeUser(tx, userId, now) {
      // No earlier than what it is to end, also where a clock was set back or another process's is ahead.
      const at = Math.max(now, await tx.lastIssueTo(userId, now));
      await tx.revokeSessionsOf(userId, at);
      await tx.deleteStreamTicketsOf({ userId });
      await log.append(tx.transaction, [{ kind: "user", subjectId: userId, at, payload: { ...nothing, userId } }]);
    },
    async revokeSession(tx, sessionId, at) {
      const tokenIds = await tx.accessTokensOf(sessionId, at - (ACCESS_TOKEN_SECONDS + 60) * 1000);
      await tx.revokeSession(sessionId, at);
      await tx.deleteStreamTicketsOf({ tokenIds });
      await log.append(
        tx.transaction,
        tokenIds.map((tokenId) => ({ kind: "token", subjectId: tokenId, at, payload: { ...nothing, tokenId } })),
      );
    },
    async revokeApiKey(tx, apiKeyId, at) {
      await tx.revokeApiKey(apiKeyId, at);
      await tx.deleteStreamTicketsOf({ apiKeyId });
      await log.append(tx.transaction, [
        { kind: "api-key", subjectId: apiKeyId, at, payload: { ...nothing, apiKeyId } },
      ]);
    },
    follow(caller, after) {
      caller.require("internal:revocations");
      return subscriptionStream(tail, { after }, ({ sequence, at, payload }) => ({
        sequence: String(sequence),
        at,
        ...payload,
      }));
    },
    async range(caller) {
      caller.require("internal:revocations");
      return tail.range();
    },
    trim: (at, work) => log.trim(at - KEPT_MS, work),
    close: () => tail.close(),
  };
}
