export { DEFAULT_MCP_PATH, LIMITS } from "./limits.ts";
export {
  callOptionsSchema,
  DEFAULT_OPTIONS,
  launchSchema,
  shownLaunchSchema,
  templatesOf,
  variablesOf,
  type HealthPolicy,
  type Launch,
  type LaunchKind,
  type LaunchOptions,
  type ShownLaunch,
  type ShownVariable,
  type Variable,
} from "./launch.ts";
export { launchInput, type LaunchInput } from "./launch-input.ts";
export {
  mapSecrets,
  mapVariables,
  showLaunch,
  withEscapes,
  type DraftVariable,
  type RemoteLaunch,
  type ShownStoredLaunch,
  type StoredLaunch,
} from "./stored-launch.ts";
export { LAUNCH_FRAGMENT, launchFromGraph, launchTypeOf } from "./graph.ts";
