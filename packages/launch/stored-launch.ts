/**
 * How a tool is launched. `Var` is what its variables hold: a value (sealed where secret, at rest), a draft of one, or what a
 * reader may see of it. This is also the JSON shape of `sealedLaunch.launch`, which the deployments subgraph parses.
 */
export type Launch<Var = Variable> = StdioLaunch<Var> | HttpLaunch<Var> | ImageLaunch<Var> | RemoteLaunch<Var>;

/** An environment variable or a header. */
export interface Variable {
  name: string;
  value: string;
  secret: boolean;
}

/** A variable as one asks for it: without a value, a secret keeps the one it has. */
export interface DraftVariable {
  name: string;
  value: string | null;
  secret: boolean;
}

/** A variable as a reader may see it: null where secret, and to those who may not see the environment. */
export type ShownVariable = DraftVariable;

export interface StdioLaunch<Var = Variable> {
  kind: "stdio";
  command: string;
  args: string[];
  env: Var[];
  workingDirectory: string | null;
  /** Left out where there are none, as in launches of before there were any: digests are of what is said. */
  writablePaths?: string[] | undefined;
  sessions: "ISOLATED" | "SHARED";
  /** These, too. */
  maxSessions?: number | undefined;
  idleSeconds?: number | undefined;
  maxMessageBytes?: number | undefined;
  options: LaunchOptions;
}

export interface HttpLaunch<Var = Variable> {
  kind: "http";
  command: string;
  args: string[];
  env: Var[];
  workingDirectory: string | null;
  /** Left out where there are none, as in launches of before there were any: digests are of what is said. */
  writablePaths?: string[] | undefined;
  path: string;
  options: LaunchOptions;
}

export interface ImageLaunch<Var = Variable> {
  kind: "image";
  image: string;
  args: string[];
  env: Var[];
  port: number;
  path: string;
  options: LaunchOptions;
}

export interface RemoteLaunch<Var = Variable> {
  kind: "remote";
  /** Where it is secret: its origin. */
  url: string;
  /** Whether the URL is secret. */
  urlSecret: boolean;
  /** The whole URL where it is secret: sealed at rest, never shown. Null in a draft that keeps the one there is. */
  secretUrl: string | null;
  /** Besides the MCP endpoint's. */
  paths: string[];
  headers: Var[];
  options: LaunchOptions;
}

export interface LaunchOptions {
  timeoutSeconds: number;
  maxConcurrentCalls: number | null;
  health: {
    livenessPath: string | null;
    readinessPath: string | null;
    startTimeoutSeconds: number;
    intervalSeconds: number;
    timeoutSeconds: number;
    failureThreshold: number;
    successThreshold: number;
  };
  resources: {
    cpus: number | null;
    memoryMb: number | null;
    processes?: number | undefined;
    diskMb?: number | undefined;
  } | null;
  enforceApproval: boolean;
}

export type ShownLaunch = Launch<ShownVariable>;
export type ShownStdioLaunch = StdioLaunch<ShownVariable>;
export type ShownHttpLaunch = HttpLaunch<ShownVariable>;
export type ShownImageLaunch = ImageLaunch<ShownVariable>;
export type ShownRemoteLaunch = RemoteLaunch<ShownVariable>;

/** The same launch with each variable mapped. `path` is the variable's place in LaunchInput, as in `stdio.env.0`. */
export function mapVariables<From, To>(launch: Launch<From>, map: (variable: From, path: string) => To): Launch<To> {
  const field = launch.kind === "remote" ? "headers" : "env";
  const mapped = variablesOf(launch).map((variable, index) => map(variable, `${launch.kind}.${field}.${index}`));
  switch (launch.kind) {
    case "stdio":
      return { ...launch, env: mapped };
    case "http":
      return { ...launch, env: mapped };
    case "image":
      return { ...launch, env: mapped };
    case "remote":
      return { ...launch, headers: mapped };
  }
}

export function variablesOf<Var>(launch: Launch<Var>): Var[] {
  return launch.kind === "remote" ? launch.headers : launch.env;
}

/** The launch with each of its secrets changed: values of variables, and a secret URL. */
export function mapSecrets(launch: Launch, change: (value: string) => string): Launch {
  const mapped = mapVariables(launch, (variable) =>
    variable.secret ? { ...variable, value: change(variable.value) } : variable,
  );
  // Versions that were made before URLs could be secret have none.
  return mapped.kind === "remote" && mapped.secretUrl != null
    ? { ...mapped, secretUrl: change(mapped.secretUrl) }
    : mapped;
}

/** What a reader sees: names always, values only of what is not secret and only with `showValues`. */
export function showLaunch(launch: Launch, options: { showValues: boolean }): ShownLaunch {
  const shown = mapVariables<Variable, ShownVariable>(launch, ({ name, value, secret }) => ({
    name,
    value: secret || !options.showValues ? null : value,
    secret,
  }));
  if (shown.kind !== "remote") return shown;
  const url = options.showValues ? shown.url : shown.url.replace(/\?.*/s, "?…");
  const { urlSecret = false, paths = [] } = shown as Partial<ShownRemoteLaunch>; // of an earlier version
  return { ...shown, url, urlSecret, paths, secretUrl: null };
}
