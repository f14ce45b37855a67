import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { ToolyardError, isPublic, publicMessage, type Logger } from "@toolyard/service-kit";
import { statusOf } from "@toolyard/service-kit/errors/error-codes.ts";
import type { Sealer } from "@toolyard/service-kit/identity/sealing.ts";
import { z } from "zod";
import type { Job } from "@toolyard/scheduler";
import type { Claimed, Entry, IdempotencyStore, Room } from "./idempotency-store.ts";

/** An answer over HTTP, as it is sent. */
export interface KeptAnswer {
  status: number;
  headers: Record<string, string>;
  body?: string;
}

interface KeyedRequest {
  /** As the client gave it. */
  key: string;
  /** Who may have the answer, and whose room it takes. */
  caller: string;
  /** Method and pattern: a key is one's own at each. */
  route: string;
  /** All by which the answer may differ. */
  content: string;
}

/**
 * Answers once what is sent again under the same `Idempotency-Key`
 * (https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/).
 */
export interface Idempotency {
  /**
   * Runs a request, or waits for the one that runs, and answers as the first was answered. Errors of `run` pass through; the request
   * may be sent again under its key where nothing was begun.
   * @throws ToolyardError BAD_USER_INPUT for a key that is none, or that had other content; CONFLICT when nobody knows what came of the
   * first request; RATE_LIMITED when the caller has too many keys
   */
  once(request: KeyedRequest, run: () => Promise<KeptAnswer>): Promise<KeptAnswer & { isReplayed: boolean }>;
  /** Removes what has expired. */
  readonly job: Job;
  close(): Promise<void>;
}

const KEEP_MS = 24 * 3_600_000;
/** How long after an operation's end its answer may take to be kept. */
const MARGIN_MS = 5_000;
/** How often one asks for the answer of another process. */
const ASK_AGAIN_MS = 100;
const KEY = /^[\x21-\x7e]{1,255}$/;
const defaultRoom: Room = { entries: 5_000, characters: 32 * 1_048_576 };

const keptAnswer = z.object({
  status: z.int(),
  headers: z.record(z.string(), z.string()),
  body: z.string().exactOptional(),
});

/** Whether an answer is kept: others are no reason not to try again. */
export function isKept(status: number): boolean {
  return status < 500 && status !== 401 && status !== 403 && status !== 429;
}

/** Whether an error that is not kept says that nothing was begun: every 503 does. */
function isUndone(error: unknown): boolean {
  if (!isPublic(error)) return false;
  const status = statusOf(error.code, error.extensions["retryAfterSeconds"]);
  return status < 500 || status === 503;
}

/** @param options.timeoutMs The longest that a request may run */
export function createIdempotency(options: {
  store: IdempotencyStore;
  /** Answers may hold secrets, and what was sent as well. */
  sealer: Sealer;
  timeoutMs: number;
  room?: Room;
  now?: () => number;
  logger: Pick<Logger, "error">;
}): Idempotency {
  const { store, sealer, timeoutMs, room = defaultRoom, now = Date.now, logger } = options;
  /** Those of this process, by id. Each ends when its answer is kept, or when there is none. */
  const running = new Map<string, Promise<void>>();

  /** @returns null when it is not there yet */
  function answerIn(id: string, entry: Entry, fingerprint: string): KeptAnswer | null {
    if (sealer.open(entry.fingerprint, fingerprintPlace(id)) !== fingerprint)
      throw new ToolyardError(
        "BAD_USER_INPUT",
        "This Idempotency-Key was used for another request. Send a key of its own with each request, and the same only to repeat it.",
        { problems: [{ path: "Idempotency-Key", message: "was used for another request" }] },
      );
    if (entry.answer !== null) return keptAnswer.parse(JSON.parse(sealer.open(entry.answer, answerPlace(id))));
    if (running.has(id) || now() <= entry.runningUntil) return null;
    throw new ToolyardError(
      "CONFLICT",
      "The first request under this Idempotency-Key was interrupted, and may have been done or not. Look, and send it under another key where it was not.",
    );
  }

  async function runFirst(id: string, run: () => Promise<KeptAnswer>): Promise<KeptAnswer> {
    let answer: KeptAnswer;
    try {
      answer = await run();
    } catch (error) {
      await (isUndone(error) ? store.release(id) : store.abandon(id));
      throw error;
    }
    try {
      await store.finish(id, sealer.seal(JSON.stringify(answer), answerPlace(id)));
    } catch (error) {
      // What was asked for is done, and its client is told so.
      logger.error({ err: error }, `The answer under an Idempotency-Key was not kept: ${publicMessage(error)}`);
    }
    return answer;
  }

  return {
    async once({ key, caller, route, content }, run) {
      if (!KEY.test(key))
        throw new ToolyardError("BAD_USER_INPUT", "The Idempotency-Key is not one.", {
          problems: [{ path: "Idempotency-Key", message: "must be 1 to 255 visible ASCII characters" }],
        });
      const id = digest([caller, route, key]);
      const fingerprint = digest([content]);
      for (;;) {
        const claimed: Claimed = await store.claim(
          {
            id,
            callerId: digest([caller]),
            fingerprint: sealer.seal(fingerprint, fingerprintPlace(id)),
            runningUntil: now() + timeoutMs + MARGIN_MS,
            expiresAt: now() + KEEP_MS,
          },
          now(),
          room,
        );
        if (claimed.state === "full")
          throw new ToolyardError(
            "RATE_LIMITED",
            "You have used too many Idempotency-Keys within a day. Send this without one, or later.",
            { retryAfterSeconds: Math.ceil((claimed.until - now()) / 1_000) },
          );
        if (claimed.state === "claimed") {
          const first = runFirst(id, run);
          const ended = first.then(
            () => undefined,
            () => undefined,
          );
          running.set(id, ended);
          try {
            return { ...(await first), isReplayed: false };
          } finally {
            running.delete(id);
          }
        }
        const answer = answerIn(id, claimed.entry, fingerprint);
        if (answer) return { ...answer, isReplayed: true };
        await (running.get(id) ?? delay(ASK_AGAIN_MS));
      }
    },
    job: { name: "idempotency-keys", leases: store.leases, run: (work) => store.purge(now(), work) },
    close: () => store.close(),
  };
}

const fingerprintPlace = (id: string) => `idempotency_keys.fingerprint:${id}`;
const answerPlace = (id: string) => `idempotency_keys.answer:${id}`;

function digest(parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url");
}
