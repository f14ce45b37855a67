import { LIMITS, variablesOf, type Variable } from "@toolyard/launch";
import { currentText, missingKeys, substitute, type Configuration } from "@toolyard/launch/placeholders.ts";
import type { ReplicaLaunch, ReplicaResources } from "@toolyard/runtimes/runtime.ts";
import { ToolyardError, type Sealer } from "@toolyard/service-kit";
import type { Deployment } from "../deployment.ts";
import { readable, type DeployedLaunch } from "./deployed-launch.ts";

/**
 * The launch that a replica runs, with secrets opened and configuration filled in. Never logged.
 * @throws ToolyardError when the launch cannot be read or a secret cannot be opened
 */
export function openLaunch(deployment: Deployment, sealer: Sealer): ReplicaLaunch {
  const { escapes, options, ...launch } = readable(deployment.launch);
  if (launch.kind === "remote") return { kind: "remote", url: new URL(launch.url).origin };
  const configuration = openConfiguration(deployment, sealer);
  const env = Object.fromEntries(openVariables(deployment, launch.env, sealer, configuration));
  if (configuration !== null && env["CONFIG_JSON"] === undefined) env["CONFIG_JSON"] = JSON.stringify(configuration);
  const args = launch.args
    .map((arg) => currentText({ escapes }, arg))
    .filter((arg) => isWhole(arg, configuration))
    .map((arg) => substitute(arg, configuration));
  const resolved = { ...launch, args, env };
  if (resolved.kind !== "stdio") return resolved;
  const { timeoutSeconds, health } = options;
  return { ...resolved, timeoutSeconds, startTimeoutSeconds: health.startTimeoutSeconds };
}

/** Threads of a server that is a Node program, and a little more. */
const TASKS_A_SESSION = 16;

/** A replica's resources. Where the launch has no limit of processes and threads, it follows from the sessions that may run. */
export function resourcesOf(launch: DeployedLaunch): ReplicaResources {
  const given = launch.options.resources ?? { cpus: null, memoryMb: null, processes: null, diskMb: null };
  if (launch.kind !== "stdio" || launch.sessions === "SHARED" || given.processes !== null) return given;
  return {
    ...given,
    processes:
      LIMITS.resources.processes.whenNull + TASKS_A_SESSION * (launch.maxSessions ?? LIMITS.stdio.maxSessions.whenNull),
  };
}

/** Headers that a remote server takes, opened. Secret. */
export function openHeaders(deployment: Deployment, sealer: Sealer): Record<string, string> {
  if (deployment.launch.kind !== "remote") return {};
  return Object.fromEntries(
    openVariables(deployment, deployment.launch.headers, sealer, openConfiguration(deployment, sealer)),
  );
}

/**
 * All secrets that a deployment's server is given: sealed variables and headers, with placeholders and with their values, and the hidden
 * parts of the configuration. Values that `open` cannot open are left out.
 */
export function openSecrets(deployment: Deployment, open: (sealed: string, context: string) => string[]): string[] {
  const { launch, sealedConfiguration, toolVersionId, id } = deployment;
  if (launch.kind === "unreadable")
    return [...launch.text.matchAll(SEALED)].flatMap(([sealed]) => open(sealed, toolVersionId));
  const [text] = sealedConfiguration === null ? [] : open(sealedConfiguration, id);
  // It was a checked configuration when it was sealed.
  const configuration = text === undefined ? null : (JSON.parse(text) as Configuration);
  const variables = variablesOf(launch)
    .filter(({ secret }) => secret)
    .flatMap(({ value }) => open(value, toolVersionId));
  const complete = variables.map((value) => substitute(currentText(launch, value), configuration));
  const urls =
    launch.kind === "remote" ? (launch.secretUrl == null ? [launch.url] : open(launch.secretUrl, toolVersionId)) : [];
  return [
    ...variables,
    ...complete,
    ...urls.flatMap(secretsOfUrl),
    ...hiddenLeaves(configuration, deployment.configuration),
  ];
}

/** Sealed values that stand in text. */
const SEALED = /sealed:v1:[\w-]+:[\w-]+/g;
const LONG_SEGMENT = 16;

/** The parts of a URL that may be a key: its query, and long parts of its path. */
function secretsOfUrl(text: string): string[] {
  const { pathname, search, searchParams } = new URL(text);
  const segments = pathname.split("/").filter((segment) => segment.length >= LONG_SEGMENT);
  return [search.slice(1), ...searchParams.values(), ...segments];
}

/** Texts and numbers of a value that its shown part does not have. */
function hiddenLeaves(value: unknown, shown: unknown): string[] {
  if (typeof value === "string" || typeof value === "number") return shown == null ? [String(value)] : [];
  if (typeof value !== "object" || value === null) return [];
  // Null where all of it is hidden, else of the same shape.
  const shownItems = (shown ?? {}) as Record<string, unknown>;
  return Object.entries(value).flatMap(([key, item]) => hiddenLeaves(item, shownItems[key]));
}

/** The URL of a remote server's MCP endpoint, opened; null for servers that run here. Secret. */
export function openUrl({ launch, toolVersionId }: Deployment, sealer: Sealer): URL | null {
  if (launch.kind !== "remote") return null;
  return new URL(launch.secretUrl == null ? launch.url : sealer.open(launch.secretUrl, toolVersionId));
}

/**
 * Why a server's secrets cannot be opened, for everybody who may see the deployment. Messages of JSON.parse and URL are not for them:
 * they quote the text that could not be read.
 */
export function whyUnopened(error: unknown): string {
  return error instanceof ToolyardError ? error.message : "Its secrets were changed after they were sealed.";
}

function openVariables(
  deployment: Deployment,
  variables: readonly Variable[],
  sealer: Sealer,
  configuration: Configuration | null,
): [string, string][] {
  const launch = readable(deployment.launch);
  return variables.flatMap(({ name, value, secret }): [string, string][] => {
    const text = currentText(launch, secret ? sealer.open(value, deployment.toolVersionId) : value);
    return secret || isWhole(text, configuration) ? [[name, substitute(text, configuration)]] : [];
  });
}

/** Whether a text has a value for each of its placeholders: only those that may be left out have none. */
function isWhole(text: string, configuration: Configuration | null): boolean {
  return missingKeys(text, configuration).length === 0;
}

function openConfiguration({ id, sealedConfiguration }: Deployment, sealer: Sealer): Configuration | null {
  // It was a checked configuration when it was sealed.
  return sealedConfiguration === null ? null : (JSON.parse(sealer.open(sealedConfiguration, id)) as Configuration);
}
