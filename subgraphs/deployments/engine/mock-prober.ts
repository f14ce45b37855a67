import type { MockRuntime } from "@toolyard/runtimes/mock/mock-runtime.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import type { Prober } from "./probe.ts";

export function isMockRuntime(runtime: Runtime): runtime is MockRuntime {
  return runtime.kind === "MOCK" && "isReady" in runtime;
}

/** Asks the mock runtime whether a replica would answer; replicas that it does not run are called by `others`. */
export function createMockProber(options: {
  runtime: MockRuntime;
  others: Prober;
  /** Simulates a process that runs and does not answer: for tests. */
  isSick?: (name: string) => boolean;
}): Prober {
  const { runtime, others, isSick = () => false } = options;
  const check: Prober["check"] = async (target, signal, atMost) => {
    const { handle } = target;
    if (handle?.runtime !== "MOCK") return others.check(target, signal, atMost);
    const ok = runtime.isReady(handle) && !isSick(handle.name);
    if (ok) return { outcome: "ANSWERED", kind: "mock", latencyMs: 1, detail: null, words: null };
    return {
      outcome: "FAILED",
      kind: "mock",
      latencyMs: 1,
      detail: "It does not answer.",
      words: null,
      startupFailure: "ABSENT",
    };
  };
  return {
    check,
    checkStartup: check,
    countSessions: (bridge) => others.countSessions(bridge),
    close: () => others.close(),
  };
}
