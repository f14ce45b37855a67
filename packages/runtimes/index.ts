export { createMockRuntime, createMockWorld } from "./mock-runtime.ts";
export type { MockFault, MockRuntime, MockWorld } from "./mock-runtime.ts";
export { isPortFree } from "./port-probe.ts";
export { createProcessRuntime } from "./process-runtime.ts";
export type { ProcessRuntimeOptions } from "./process-runtime.ts";
export type { Isolation } from "./process/bubblewrap.ts";
export { DEFAULT_REPLICA_ENV } from "./process/replica-environment.ts";
export type {
  ReplicaHandle,
  ReplicaLaunch,
  ReplicaLiveness,
  ReplicaLogLine,
  ReplicaSpec,
  Runtime,
  RuntimeCapabilities,
  RuntimeKind,
} from "./runtime.ts";
export { stopAll } from "./stop-all.ts";
