import { ConfigError, misspeltVariables, type Environment } from "./config.ts";
import { isPublic, messageOf, systemCodeOf, stackOf } from "../errors/errors.ts";
import type { Logger } from "./log.ts";

export interface ProcessLifetime {
  /** Aborts at the first SIGTERM or SIGINT: no more requests are to be sent here. Those that come are still served. */
  draining: AbortSignal;
  /** How long after a SIGTERM `signal` follows `draining`. @default 0 */
  drainFor(ms: number): void;
  /** Aborts when the process begins to stop. */
  signal: AbortSignal;
  /** Adds clean-up to run at the end, in reverse order. A failure does not keep the others from running. */
  onShutdown(name: string, release: () => Promise<void> | void): void;
  /** Ends the process as a signal would. */
  stop(): void;
}

/**
 * Logs when the process begins to stop, and when everything that was started after this call has stopped; and at once, which variables of `env`
 * seem to be misspelt. To be called once that is parsed.
 */
export function logLifetime(lifetime: ProcessLifetime, logger: Pick<Logger, "info" | "warn">, env: Environment): void {
  // Who started this one has the same environment, and has said it.
  if (!process.send) for (const sentence of misspeltVariables(env)) logger.warn(sentence);
  lifetime.signal.addEventListener("abort", () => logger.info("stopping"), { once: true });
  // A failed start has logged its error.
  lifetime.onShutdown("the log", () => {
    if (lifetime.signal.aborted) logger.info("stopped");
  });
}

/** A signal this soon after the first is the same one. */
const REPEATED_SIGNAL_MS = 1_000;

/**
 * Runs a `main.ts`: parses, starts, waits for a signal, then releases in reverse order. It ends within `shutdownSeconds` of the signal, or of the
 * drain that follows it, also when the start is not done by then. A second signal ends at once. Exit code 0 after a clean stop, 78 for a wrong configuration (sysexits
 * EX_CONFIG), 1 otherwise.
 * @param options.exit, options.stderr The process's own, but in tests.
 */
export async function runProcess(
  main: (lifetime: ProcessLifetime) => Promise<void>,
  options: { shutdownSeconds?: number; exit?: (code: number) => void; stderr?: (text: string) => void } = {},
): Promise<void> {
  const {
    shutdownSeconds = 40,
    exit = (code) => process.exit(code),
    stderr = (text) => process.stderr.write(text),
  } = options;
  const draining = new AbortController();
  const controller = new AbortController();
  let drainMs = 0;
  const releases: { name: string; release: () => Promise<void> | void }[] = [];
  let deadline: NodeJS.Timeout | undefined;
  const beginShutdown = () => {
    deadline ??= setTimeout(() => {
      stderr(`Shutdown took longer than ${shutdownSeconds} s; ending anyway.\n`);
      exit(1);
    }, shutdownSeconds * 1_000);
  };
  const stopped = new Promise<void>((resolve) =>
    controller.signal.addEventListener("abort", () => resolve(beginShutdown()), { once: true }),
  );
  let firstSignalAt: number | null = null;
  let drained: NodeJS.Timeout | undefined;
  const stop = () => {
    draining.abort();
    controller.abort();
  };
  const onSignal = (name: NodeJS.Signals) => {
    // A terminal's Ctrl-C comes several times at once: from the terminal and from each npm above.
    if (firstSignalAt === null) firstSignalAt = performance.now();
    else if (performance.now() - firstSignalAt > REPEATED_SIGNAL_MS) exit(130);
    draining.abort();
    // A person at the terminal does not wait for load balancers.
    if (drainMs === 0 || name === "SIGINT") controller.abort();
    else drained ??= setTimeout(() => controller.abort(), drainMs);
  };
  // As for the log: the reader of the output may go away, such as a `tee` that the same Ctrl-C ended.
  const unread = () => undefined;
  const outputs = [process.stdout, process.stderr];
  for (const output of outputs) output.on("error", unread);
  process.on("SIGTERM", onSignal).on("SIGINT", onSignal);
  // A bug that one request met: it is logged, and all other requests go on.
  const onRejection = (reason: unknown) =>
    stderr(`A promise was rejected and nobody waited for it: ${stackOf(reason)}\n`);
  process.on("unhandledRejection", onRejection);
  let code = 0;
  try {
    await main({
      draining: draining.signal,
      drainFor: (ms) => void (drainMs = ms),
      signal: controller.signal,
      onShutdown: (name, release) => releases.push({ name, release }),
      stop,
    });
    await stopped;
  } catch (error) {
    if (!controller.signal.aborted) {
      const configuration = error instanceof ConfigError;
      code = configuration ? 78 : 1;
      stderr(configuration ? `${error.message}\n` : `Toolyard could not start: ${startFailure(error)}\n`);
    }
    beginShutdown();
  }
  for (const { name, release } of releases.toReversed()) {
    try {
      await release();
    } catch (error) {
      code ||= 1;
      stderr(`Stopping ${name} failed: ${messageOf(error)}\n`);
    }
  }
  clearTimeout(drained);
  clearTimeout(deadline);
  for (const output of outputs) output.off("error", unread);
  process.off("SIGTERM", onSignal).off("SIGINT", onSignal).off("unhandledRejection", onRejection);
  exit(code);
}

function startFailure(error: unknown): string {
  // The port was taken after `requirePort` looked.
  if (error instanceof Error && "code" in error && error.code === "EADDRINUSE" && "port" in error) {
    return `port ${String(error.port)} is in use. Stop what listens there, or choose another (PORT, PROXY_PORT).`;
  }
  const code = systemCodeOf(error);
  const told = (name: string) =>
    error instanceof Error && name in error ? String((error as Error & Record<string, unknown>)[name]) : "";
  // Written for people; a stack would only hide it.
  if (isPublic(error)) return error.message;
  if (code === "ENOSPC" || code === "EDQUOT")
    return `there is no space left on the disk${told("path") && ` for ${told("path")}`}. Make room, or choose another folder (DATA_DIR).`;
  if (["EACCES", "EPERM", "EROFS"].includes(code ?? "") && told("path"))
    return `the user that Toolyard runs as (${process.getuid?.() ?? "this one"}) may not use ${told("path")}. Give it to that user, or choose another folder (DATA_DIR).`;
  return stackOf(error);
}
