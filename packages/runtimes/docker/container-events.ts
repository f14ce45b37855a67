import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import { linesOf, type Engine } from "./engine.ts";

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5_000;

interface ContainerEvent {
  Action?: string;
  /** Of the container. */
  id?: string;
  Actor?: { ID?: string };
}

/**
 * Tells of containers that end, over the engine's stream of events, which is opened again whenever it breaks. What happened meanwhile is not told:
 * `onConnected` is called each time, to look for it.
 */
export function watchContainers(options: {
  engine: Engine;
  labels: Record<string, string>;
  onDeath: (containerId: string) => void;
  onConnected: () => Promise<void>;
  logger: Logger;
}): { close(): Promise<void> } {
  const { engine, onDeath, onConnected, logger } = options;
  const closing = new AbortController();
  const { signal } = closing;
  const filters = {
    type: ["container"],
    label: Object.entries(options.labels).map(([name, value]) => `${name}=${value}`),
  };

  async function watch(onOpen: () => void): Promise<void> {
    const stream = await engine.open(
      (docker, abortSignal) => docker.getEvents({ filters, abortSignal } as Parameters<typeof docker.getEvents>[0]),
      signal,
    );
    // Seen from here on; what is told meanwhile waits in the stream.
    await onConnected();
    onOpen();
    for await (const line of linesOf(stream)) {
      // Docker's EventMessage.
      const { Action: action, Actor: actor, id = actor?.ID } = JSON.parse(line) as ContainerEvent;
      if ((action === "die" || action === "died") && id !== undefined) onDeath(id);
    }
  }

  async function keepWatching(): Promise<void> {
    let waitMs = FIRST_WAIT_MS;
    let told = false;
    while (!signal.aborted) {
      try {
        await watch(() => {
          if (told) logger.info("the container engine answers again");
          told = false;
          waitMs = FIRST_WAIT_MS;
        });
      } catch (error) {
        if (signal.aborted) return;
        if (!told) logger.warn({ err: error }, "the container engine cannot be watched; it is tried again");
        told = true;
      }
      await delay(waitMs, undefined, { signal, ref: false }).catch(() => undefined); // closed
      waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2);
    }
  }

  const watching = keepWatching();
  return {
    async close() {
      closing.abort();
      await watching;
    },
  };
}
