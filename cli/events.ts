import { setTimeout as delay } from "node:timers/promises";
import { GraphError, type Graph } from "./graph.ts";

export interface DeploymentEvent {
  sequence: string;
  at: string;
  kind: string;
  message: string;
  status: string;
  health: string;
  deployment: { name: string } | null;
}

const FIELDS = "sequence at kind message status health deployment { name }";
const FIRST_WAIT_MS = 250;
const LAST_WAIT_MS = 5_000;
/** How long a broken stream is tried again. */
const PATIENCE_MS = 120_000;

/**
 * Events of deployments: of one, of a tool, or of all. A stream that breaks, as it does when its token expires, goes on after the
 * last event that came, so that none is missed.
 * @throws GraphError when it is refused, or stays broken for too long
 */
export async function* followEvents(
  graph: Graph,
  filter: { deploymentId?: string; toolId?: string; after: string | null },
  options: { signal: AbortSignal; onBreak?: (reason: string, after: string | null) => void },
): AsyncGenerator<DeploymentEvent> {
  const { signal, onBreak } = options;
  let { after } = filter;
  let brokenSince: number | null = null;
  for (let waitMs = FIRST_WAIT_MS; !signal.aborted; waitMs = Math.min(waitMs * 2, LAST_WAIT_MS)) {
    try {
      const stream = graph.subscribe<{ deploymentEvents: DeploymentEvent }>(
        `subscription ($deploymentId: ID, $toolId: ID, $after: String) {
          deploymentEvents(deploymentId: $deploymentId, toolId: $toolId, after: $after) { ${FIELDS} }
        }`,
        { ...filter, after },
        signal,
      );
      for await (const { deploymentEvents: event } of stream) {
        after = event.sequence;
        brokenSince = null;
        waitMs = FIRST_WAIT_MS;
        yield event;
      }
      if (signal.aborted) return;
      throw new GraphError("STREAM_ENDED", "The stream ended.");
    } catch (error) {
      if (!(error instanceof GraphError) || !["STREAM_ENDED", "UNREACHABLE"].includes(error.code)) throw error;
      if (brokenSince === null) onBreak?.(error.message, after);
      brokenSince ??= Date.now();
      if (Date.now() - brokenSince > PATIENCE_MS) throw error;
    }
    await delay(waitMs, undefined, { signal }).catch(() => undefined); // aborted: the loop ends
  }
}
