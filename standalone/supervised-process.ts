import { spawn, type ChildProcess } from "node:child_process";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf, ConfigError, ToolyardError, type Logger } from "@toolyard/service-kit";
import { refuseConnections } from "@toolyard/service-kit/process/held-sockets.ts";
import { inheritsSocket } from "@toolyard/service-kit/process/listening-socket.ts";
import { OVER } from "@toolyard/service-kit/process/supervision.ts";

/** A part beside this process: a process of its own, started again when it dies, ended with this one. */
export interface SupervisedProcess<Facts = unknown> {
  /**
   * Resolves once it serves, with what it tells then (`followSupervisor`).
   * @throws ConfigError when its configuration is wrong, ToolyardError when it has ended several times and never served; it is then not started again.
   */
  readonly ready: Promise<Facts>;
  /** SIGTERM, and SIGKILL when it has not ended within `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Bounds of V8's heap, MB, and by how many percent of the live data its old space grows before it is collected. Without them it grows to a
 * multiple of the live data, and the young one very large; the calls are no faster for it. The young one is collected by one thread: to wake
 * others for so little costs more than they save, a sixth of a call's time.
 */
export const proxyHeapFlags = (maxHeapMb: number) => [
  "--max-semi-space-size=4",
  "--heap-growing-percent=25",
  "--no-parallel-scavenge",
  `--max-old-space-size=${maxHeapMb}`,
];
/**
 * glibc keeps free memory in a pool for each thread, and the threads that compile and collect are mostly idle: they share one. What is large is not of
 * it, and goes back to the system when it is freed, also after the first time.
 */
export const PROXY_ALLOCATOR = { MALLOC_ARENA_MAX: "1", MALLOC_MMAP_THRESHOLD_: "131072" };
export const PROXY_MAX_HEAP_MB = 1_024;

const FIRST_RESTART_MS = 200;
const LAST_RESTART_MS = 5_000;
/** How long connections wait for one that is started again. */
const REFUSED_AFTER_MS = 2_000;
/** One that ran this long is no longer counted as failing. */
const STEADY_MS = 10_000;
/** That of a Toolyard that was killed may keep its port for some seconds. */
const FIRST_TRIES = 5;

const exitedWith = (code: number | null) => `it exited with code ${code}`;
/** As `runProcess` has it: another try would end in the same way. */
const WRONG_CONFIGURATION = exitedWith(78);

/**
 * @param options.name As it is told of, as in `the proxy`.
 * @param options.entry Path of its main.ts.
 * @param options.flags Of Node.
 * @param options.env Its whole environment.
 * @param options.socket The descriptor of the socket that it listens on (`holdSockets`); unless given, it opens its own.
 * @param options.print Takes each line that it prints; unless given, it prints where this process does.
 */
export function superviseProcess<Facts = unknown>(options: {
  name: string;
  entry: string;
  flags: readonly string[];
  env: Record<string, string>;
  socket?: number | undefined;
  print?: (line: string) => void;
  logger: Pick<Logger, "warn">;
}): SupervisedProcess<Facts> {
  const { name, entry, flags, socket, print, logger } = options;
  const env = socket === undefined ? options.env : { ...options.env, ...inheritsSocket };
  const output = print ? ("pipe" as const) : ("inherit" as const);
  const stopping = new AbortController();
  let child: ChildProcess | null = null;
  let hasServed = false;
  /** Of connections that would wait for a part that does not come back soon; null: it may still. */
  let stopRefusing: (() => void) | null = null;
  let refusal: NodeJS.Timeout | undefined;
  const accept = (): void => {
    clearTimeout(refusal);
    refusal = undefined;
    stopRefusing?.();
    stopRefusing = null;
  };
  const ready = Promise.withResolvers<Facts>();
  // Callers may wait for it; a failure that nobody waits for is no failure of this process.
  ready.promise.catch(() => undefined);

  const run = () =>
    new Promise<string>((resolve) => {
      child = spawn(process.execPath, [...flags, entry], {
        env,
        // A group of its own: Ctrl-C reaches this process, which stops the others in its turn.
        detached: true,
        // The IPC channel tells it when this process is gone, also after kill -9.
        stdio: ["ignore", output, output, ...(socket === undefined ? [] : [socket]), "ipc"],
      });
      for (const input of [child.stdout, child.stderr])
        if (print && input) createInterface({ input, crlfDelay: Infinity }).on("line", print);
      child.once("message", (facts) => {
        hasServed = true;
        accept();
        // What its main.ts says.
        ready.resolve(facts as Facts);
      });
      child.once("error", (error) => resolve(messageOf(error)));
      child.once("exit", (code, signal) => resolve(signal ? `it was ended by ${signal}` : exitedWith(code)));
    });

  const supervised = (async () => {
    let waitMs = FIRST_RESTART_MS;
    for (let tries = 1; !stopping.signal.aborted; tries += 1) {
      const startedAt = performance.now();
      const reason = await run().catch(messageOf); // thrown where there is no memory for another process
      child = null;
      if (socket !== undefined && hasServed && !stopRefusing)
        refusal ??= setTimeout(() => (stopRefusing = refuseConnections(socket)), REFUSED_AFTER_MS);
      if (stopping.signal.aborted) return;
      if (!hasServed && (tries >= FIRST_TRIES || reason === WRONG_CONFIGURATION)) {
        const message = `${name} does not start: ${reason}. Its output above says why.`;
        // So that the whole ends as its part has.
        const isConfiguration = reason === WRONG_CONFIGURATION;
        return ready.reject(
          isConfiguration ? new ConfigError(message) : new ToolyardError("UPSTREAM_UNAVAILABLE", message),
        );
      }
      if (performance.now() - startedAt > STEADY_MS) waitMs = FIRST_RESTART_MS;
      logger.warn({ reason, restart_in_ms: waitMs }, `${name} ended and is started again`);
      await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined); // aborted: the loop ends
      waitMs = Math.min(waitMs * 2, LAST_RESTART_MS);
    }
  })();

  return {
    ready: ready.promise,
    async stop(graceMs) {
      stopping.abort();
      const last = child;
      // Told first, so that it knows at the signal that nobody starts it again; the channel of one that has just ended is closed.
      last?.send(OVER, () => last.kill("SIGTERM"));
      const kill = setTimeout(() => child?.kill("SIGKILL"), graceMs);
      await supervised;
      clearTimeout(kill);
      accept();
      // Nobody serves there any more: connections end at once instead of waiting, and the port stays taken.
      if (socket !== undefined)
        createServer((connection) => connection.resetAndDestroy())
          .listen({ fd: socket })
          .unref();
    },
  };
}
