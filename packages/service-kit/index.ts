export * from "./errors/errors.ts";
export { createLogger, type Logger } from "./process/log.ts";
export * from "./identity/permissions.ts";
export * from "./identity/caller.ts";
export {
  createGraphToolShares,
  createToolShares,
  MAX_TOOLS_ASKED,
  sharedAccessOf,
  shareChanges,
  type ShareChange,
  type ToolShares,
} from "./identity/tool-shares.ts";
export * from "./identity/keys.ts";
export { createSealer, type Sealer } from "./identity/sealing.ts";
export * from "./identity/tokens.ts";
export { createRevocationList, type CredentialRevocation } from "./identity/revocations.ts";
export { createDeferredGraphClient, type GraphClient, type GraphRequest } from "./graph/graph-client.ts";
export {
  measureHealth,
  type Gauge,
  type RequestContext,
  type ServiceHealth,
  type Subgraph,
  type Warn,
} from "./graph/subgraph.ts";
export * from "./graph/paging.ts";
export { reachableRows } from "./graph/reachable-rows.ts";
export { createPageLoader, type PageLoader } from "./graph/page-loader.ts";
export { createLoader, type Loader } from "./graph/loader.ts";
export { createLoaderByArguments, type LoaderByArguments } from "./graph/loader-by-arguments.ts";
export { inWords, parseInput } from "./errors/validation.ts";
export { jsonProblem } from "./errors/json-text.ts";
export * from "./errors/references.ts";
export { firstIdAt, newId } from "./identifiers.ts";
export { ConfigError, parseEnvironment, type Environment } from "./process/config.ts";
export { logLifetime, runProcess, type ProcessLifetime } from "./process/process-lifetime.ts";
export { requirePort } from "./process/required-port.ts";
export { prepareCacheDir, prepareDataDir } from "./process/data-dir.ts";
export { readSecretKey } from "./identity/secret-key.ts";
export { createSerialQueue, nextTimeSlice, sliceAfter } from "./process/time-slices.ts";
export { requestIdOf } from "./http/request-id.ts";
