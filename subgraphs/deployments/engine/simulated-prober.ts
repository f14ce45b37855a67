import type { InterfaceReading } from "@toolyard/bridge/interface.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import type { Prober } from "./probe.ts";

/** Asks runtimes whose replicas cannot be called whether one would answer; all others are called by `others`. */
export function createSimulatedProber(options: {
  runtimes: readonly Runtime[];
  others: Prober;
  /** Simulates a process that runs and does not answer: for tests. */
  isSick?: (name: string) => boolean;
  /** What a process offers: likewise. @default nothing that can be read */
  interfaceOf?: (name: string) => InterfaceReading | null;
}): Prober {
  const { others, isSick = () => false, interfaceOf = () => null } = options;
  const runtimes: ReadonlyMap<string, Runtime> = new Map(options.runtimes.map((runtime) => [runtime.kind, runtime]));
  const asked =
    (how: "check" | "checkStartup"): Prober["check"] =>
    async (target, signal, atMost) => {
      const { handle } = target;
      const runtime = handle && runtimes.get(handle.runtime);
      if (!handle || !runtime?.answers) return others[how](target, signal, atMost);
      const answered = { kind: runtime.kind.toLowerCase(), latencyMs: 1 };
      if (runtime.answers(handle) && !isSick(handle.name))
        return { ...answered, outcome: "ANSWERED", detail: null, words: null };
      return { ...answered, outcome: "FAILED", detail: "It does not answer.", words: null, startupFailure: "ABSENT" };
    };
  return {
    check: asked("check"),
    checkStartup: asked("checkStartup"),
    async readInterface(target, signal) {
      const { handle } = target;
      const isSimulated = handle && runtimes.get(handle.runtime)?.answers;
      return isSimulated ? interfaceOf(handle.name) : others.readInterface(target, signal);
    },
    countSessions: (bridge) => others.countSessions(bridge),
    close: () => others.close(),
  };
}
