import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { Runtime } from "../runtime.ts";

/** Servers that others run: there is nothing to start, to list or to stop, and whether they are well is seen by calling them. */
export function createRemoteRuntime(options: { now?: () => number } = {}): Runtime {
  const { now = Date.now } = options;
  return {
    kind: "REMOTE",
    capabilities: {
      launches: ["remote"],
      maxReplicas: { count: 1, why: "a remote server is one replica: Toolyard does not start it" },
      location: "ELSEWHERE",
      egress: false,
      adopts: true,
      isolation: null,
    },
    needsPort: () => false,
    async start({ name, launch }) {
      if (launch.kind !== "remote")
        throw new ToolyardError("BAD_USER_INPUT", `Nothing runs a launch of kind ${launch.kind} elsewhere.`);
      const identity = { startedAt: now() };
      return { runtime: "REMOTE", name, identity, endpoint: { url: launch.url, owner: null } };
    },
    list: async () => [],
    recognize: async (handle) => handle,
    inspect: async ({ identity }) => ({ alive: true, startedAt: Number(identity["startedAt"]) }),
    logs: async () => [],
    async *followLogs() {},
    stop: async () => undefined,
    forget: async () => undefined,
    onExit: () => () => undefined,
    close: async () => undefined,
  };
}
