import { spawn, type ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, type Logger } from "@toolyard/service-kit";

/** The proxy beside standalone: a process of its own, started again when it dies, ended with this one. */
export interface ProxyProcess {
  /** SIGTERM, and SIGKILL when it has not ended within `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

const FIRST_RESTART_MS = 200;
const LAST_RESTART_MS = 5_000;
/** A proxy that ran this long is no longer counted as failing. */
const STEADY_MS = 10_000;

/**
 * @param entry Path of the proxy's main.ts.
 * @param env The proxy's whole environment.
 */
export function startProxyProcess(options: {
  entry: string;
  env: Record<string, string>;
  logger: Logger;
}): ProxyProcess {
  const { entry, env, logger } = options;
  const stopping = new AbortController();
  let child: ChildProcess | null = null;

  const run = () =>
    new Promise<string>((resolve) => {
      child = spawn(process.execPath, [entry], {
        env,
        // A group of its own: Ctrl-C reaches this process, which stops the proxy in its turn.
        detached: true,
        // The IPC channel tells it when this process is gone, also after kill -9.
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      child.once("error", (error) => resolve(messageOf(error)));
      child.once("exit", (code, signal) =>
        resolve(signal ? `it was ended by ${signal}` : `it exited with code ${code}`),
      );
    });

  const supervised = (async () => {
    let waitMs = FIRST_RESTART_MS;
    while (!stopping.signal.aborted) {
      const startedAt = Date.now();
      const reason = await run();
      child = null;
      if (stopping.signal.aborted) return;
      if (Date.now() - startedAt > STEADY_MS) waitMs = FIRST_RESTART_MS;
      logger.warn({ reason, restart_in_ms: waitMs }, "the proxy ended and is started again");
      await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined); // aborted: the loop ends
      waitMs = Math.min(waitMs * 2, LAST_RESTART_MS);
    }
  })();

  return {
    async stop(graceMs) {
      stopping.abort();
      child?.kill("SIGTERM");
      const kill = setTimeout(() => child?.kill("SIGKILL"), graceMs);
      await supervised;
      clearTimeout(kill);
    },
  };
}
