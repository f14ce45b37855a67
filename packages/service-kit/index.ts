export * from "./errors.ts";
export { createLogger, LOG_LEVELS, type LogLevel, type Logger } from "./log.ts";
export * from "./permissions.ts";
export * from "./caller.ts";
export * from "./keys.ts";
export { createSealer, type Sealer } from "./sealing.ts";
export * from "./tokens.ts";
export { createRevocationList, type CredentialRevocation, type RevocationList } from "./revocations.ts";
export {
  createDeferredGraphClient,
  type DeferredGraphClient,
  type GraphClient,
  type GraphRequest,
} from "./graph-client.ts";
export { measureHealth, type RequestContext, type ServiceHealth, type Subgraph, type Warn } from "./subgraph.ts";
export { DateTimeScalar, JsonScalar } from "./scalars.ts";
export * from "./paging.ts";
export { createPageLoader, type PageLoader } from "./page-loader.ts";
export { createLoaderByArguments, type LoaderByArguments } from "./loader-by-arguments.ts";
export { inWords, parseInput } from "./validation.ts";
export { jsonProblem } from "./json-text.ts";
export * from "./references.ts";
export { firstIdAt, newId } from "./identifiers.ts";
export { ConfigError, parseEnvironment, type Environment } from "./config.ts";
export { logLifetime, runProcess, type ProcessLifetime } from "./process-lifetime.ts";
export { maskErrors } from "./mask-errors.ts";
export { requirePort } from "./required-port.ts";
export { prepareCacheDir, prepareDataDir } from "./data-dir.ts";
export { readSecretKey } from "./secret-key.ts";
export { requestIdOf } from "./request-id.ts";
