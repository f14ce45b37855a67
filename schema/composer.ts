import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { ToolyardError } from "@toolyard/service-kit";
import { compileCacheEnvironment } from "@toolyard/service-kit/process/compile-cache.ts";
import type { Composition, SubgraphSdl } from "./composition.ts";

export interface ComposeOptions {
  signal?: AbortSignal | undefined;
  timeoutMs?: number;
  maxHeapMb?: number;
}

/**
 * Composes in a process of its own, which ends with it: a large graph takes seconds and hundreds of megabytes, and neither may be taken
 * from a process that serves.
 * @throws ToolyardError CAPACITY_EXHAUSTED, TIMEOUT when it cannot be done, or the signal's reason; faults of schemas are in the result
 */
export function composeApart(subgraphs: readonly SubgraphSdl[], options: ComposeOptions = {}): Promise<Composition> {
  const { signal, timeoutMs = 120_000, maxHeapMb = 2_048 } = options;
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error); // an AbortSignal's reason is given to fetch and timers just so
      return;
    }
    const child = fork(fileURLToPath(new URL("./composer-process.ts", import.meta.url)), [], {
      // No secrets, no flags of this process, and no share in its terminal's signals: it ends when the channel does.
      env: compileCacheEnvironment(),
      execArgv: [`--max-old-space-size=${maxHeapMb}`],
      detached: true,
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    let outcome: { composition: Composition } | { error: unknown } | null = null;
    const end = (found: NonNullable<typeof outcome>) => {
      outcome ??= found;
      child.kill("SIGKILL");
    };
    const onAbort = () => end({ error: signal?.reason });
    signal?.addEventListener("abort", onAbort, { once: true });
    const timer = setTimeout(
      () =>
        end({ error: new ToolyardError("TIMEOUT", `The subgraphs were not composed within ${timeoutMs / 1_000} s.`) }),
      timeoutMs,
    );
    // Settled when the process is gone, so that none is left behind.
    const settle = (code: number | null) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      if (outcome && "composition" in outcome) resolve(outcome.composition);
      else reject((outcome?.error as Error | undefined) ?? died(code)); // a thrown error, or an abort's reason
    };
    child.once("exit", settle);
    child.once("error", (cause) => {
      outcome ??= { error: died(null, cause) };
      if (child.pid === undefined) settle(null);
      else child.kill("SIGKILL");
    });
    // Sent by composer-process.ts only.
    child.once("message", (message) => end(message as { composition: Composition }));
    child.send(subgraphs, () => undefined); // a process that cannot be written to ends, which is heard above
  });
}

function died(code: number | null, cause?: unknown): ToolyardError {
  return new ToolyardError(
    "CAPACITY_EXHAUSTED",
    `The process that composes the subgraphs ended${code === null ? "" : ` with ${code}`}: there may not be enough memory.`,
    { cause },
  );
}
