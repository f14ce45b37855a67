import { spawn, type ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, ToolyardError, type Logger } from "@toolyard/service-kit";

/** The proxy beside standalone: a process of its own, started again when it dies, ended with this one. */
export interface ProxyProcess {
  /** @throws ToolyardError when it has ended several times and never listened; it is then not started again. */
  readonly listening: Promise<void>;
  /** SIGTERM, and SIGKILL when it has not ended within `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Bounds of V8's heap, MB. Without them it lets the old space grow to a multiple of the live data, and the young one very large, before it
 * collects either; the calls are no faster for it.
 */
export const proxyHeapFlags = (maxHeapMb: number) => ["--max-semi-space-size=4", `--max-old-space-size=${maxHeapMb}`];
export const PROXY_MAX_HEAP_MB = 1_024;

const FIRST_RESTART_MS = 200;
const LAST_RESTART_MS = 5_000;
/** A proxy that ran this long is no longer counted as failing. */
const STEADY_MS = 10_000;
/** The proxy of a Toolyard that was killed may keep its port for some seconds. */
const FIRST_TRIES = 5;

/**
 * @param entry Path of the proxy's main.ts.
 * @param maxHeapMb Of V8's old space.
 * @param env The proxy's whole environment.
 */
export function startProxyProcess(options: {
  entry: string;
  maxHeapMb: number;
  env: Record<string, string>;
  logger: Logger;
}): ProxyProcess {
  const { entry, maxHeapMb, env, logger } = options;
  const stopping = new AbortController();
  let child: ChildProcess | null = null;
  let hasListened = false;
  const listening = Promise.withResolvers<void>();
  // Callers may wait for it; a failure that nobody waits for is no failure of this process.
  listening.promise.catch(() => undefined);

  const run = () =>
    new Promise<string>((resolve) => {
      child = spawn(process.execPath, [...proxyHeapFlags(maxHeapMb), entry], {
        env,
        // A group of its own: Ctrl-C reaches this process, which stops the proxy in its turn.
        detached: true,
        // The IPC channel tells it when this process is gone, also after kill -9.
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      child.once("message", () => {
        hasListened = true;
        listening.resolve();
      });
      child.once("error", (error) => resolve(messageOf(error)));
      child.once("exit", (code, signal) =>
        resolve(signal ? `it was ended by ${signal}` : `it exited with code ${code}`),
      );
    });

  const supervised = (async () => {
    let waitMs = FIRST_RESTART_MS;
    for (let tries = 1; !stopping.signal.aborted; tries += 1) {
      const startedAt = performance.now();
      const reason = await run().catch(messageOf); // thrown where there is no memory for another process
      child = null;
      if (stopping.signal.aborted) return;
      if (!hasListened && tries >= FIRST_TRIES) {
        const message = `the proxy does not start: ${reason}. Its output above says why.`;
        return listening.reject(new ToolyardError("UPSTREAM_UNAVAILABLE", message));
      }
      if (performance.now() - startedAt > STEADY_MS) waitMs = FIRST_RESTART_MS;
      logger.warn({ reason, restart_in_ms: waitMs }, "the proxy ended and is started again");
      await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined); // aborted: the loop ends
      waitMs = Math.min(waitMs * 2, LAST_RESTART_MS);
    }
  })();

  return {
    listening: listening.promise,
    async stop(graceMs) {
      stopping.abort();
      child?.kill("SIGTERM");
      const kill = setTimeout(() => child?.kill("SIGKILL"), graceMs);
      await supervised;
      clearTimeout(kill);
    },
  };
}
