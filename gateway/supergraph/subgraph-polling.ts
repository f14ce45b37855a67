import { setTimeout as delay } from "node:timers/promises";
import { messageOf, type Logger } from "@toolyard/service-kit";
import { readSubgraph } from "@toolyard/schema/subgraph-schemas.ts";
import type { SubgraphSdl } from "@toolyard/schema/composition.ts";
import type { ConfiguredSubgraph } from "@toolyard/schema/supergraph-config.ts";

const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 10_000;

/**
 * Asks for a subgraph's schema until it is there, with growing delays. Logs which subgraph is awaited, and why.
 * @throws the signal's reason
 */
export async function awaitSubgraph(
  subgraph: ConfiguredSubgraph,
  options: { signal: AbortSignal; log: Pick<Logger, "info" | "warn"> },
): Promise<SubgraphSdl> {
  const { signal, log } = options;
  for (let attempt = 1; ; attempt++) {
    try {
      const found = await readSubgraph(subgraph, signal);
      if (attempt > 1) log.info({ subgraph: subgraph.name }, "the awaited subgraph is there");
      return found;
    } catch (error) {
      signal.throwIfAborted();
      const retryMs = Math.min(FIRST_RETRY_MS * 2 ** (attempt - 1), LAST_RETRY_MS);
      log.warn(
        { subgraph: subgraph.name, reason: messageOf(error), retry_ms: retryMs },
        `waiting for the schema of the subgraph "${subgraph.name}"`,
      );
      await delay(retryMs, undefined, { signal });
    }
  }
}

/** Asks running subgraphs for their schemas again and again. */
export interface SubgraphPolling {
  /** Asks these from now on, and no others. */
  follow(subgraphs: readonly ConfiguredSubgraph[]): void;
  close(): Promise<void>;
}

/** @param options.onSchema Called with each answer, changed or not */
export function createSubgraphPolling(options: {
  intervalMs: number;
  onSchema: (schema: SubgraphSdl) => void;
  log: Pick<Logger, "info" | "warn">;
}): SubgraphPolling {
  const { intervalMs, onSchema, log } = options;
  const polled = new Map<string, { stop: AbortController; done: Promise<void> }>();

  async function poll(subgraph: ConfiguredSubgraph, signal: AbortSignal): Promise<void> {
    let isAway = false;
    while (!signal.aborted) {
      try {
        await delay(intervalMs, undefined, { signal, ref: false });
        const schema = await readSubgraph(subgraph, signal);
        if (isAway) log.info({ subgraph: subgraph.name }, "the subgraph serves its schema again");
        isAway = false;
        onSchema(schema);
      } catch (error) {
        if (signal.aborted) return;
        // Logged once: it may be away for long.
        if (!isAway)
          log.warn(
            { subgraph: subgraph.name, reason: messageOf(error) },
            "the subgraph does not serve its schema; the previous one stays in use",
          );
        isAway = true;
      }
    }
  }

  return {
    follow(subgraphs) {
      const wanted = new Map(subgraphs.map((subgraph) => [JSON.stringify(subgraph), subgraph]));
      for (const [key, { stop }] of polled) {
        if (wanted.has(key)) continue;
        stop.abort();
        polled.delete(key);
      }
      for (const [key, subgraph] of wanted) {
        if (polled.has(key)) continue;
        const stop = new AbortController();
        polled.set(key, { stop, done: poll(subgraph, stop.signal) });
      }
    },
    async close() {
      const all = [...polled.values()];
      this.follow([]);
      await Promise.all(all.map(({ done }) => done));
    },
  };
}
