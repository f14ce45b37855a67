import { templatesOf, variablesOf, type LaunchOptions, type ShownVariable, type Variable } from "./launch.ts";
import { currentText, hasEscape } from "./placeholders.ts";

/**
 * A launch as versions of tools store it. Fields that did not exist when a version was made are left out, so that its digest stays the
 * same; `launchSchema` completes them. `Var` is the type of its variables: a value (secrets are sealed at rest), a draft of one, or the
 * view of a reader.
 */
export type StoredLaunch<Var = Variable> = StdioLaunch<Var> | HttpLaunch<Var> | ImageLaunch<Var> | RemoteLaunch<Var>;

/** A variable as it is asked for: a secret without a value keeps its stored one. */
export interface DraftVariable {
  name: string;
  value: string | null;
  secret: boolean;
}

interface Common {
  /** Set where a text has an escape (placeholders.ts). */
  escapes?: boolean | undefined;
  options: StoredOptions;
}

interface Program<Var> extends Common {
  command: string;
  args: string[];
  env: Var[];
  workingDirectory: string | null;
  /** Left out where there are none. */
  writablePaths?: string[] | undefined;
}

interface StdioLaunch<Var = Variable> extends Program<Var> {
  kind: "stdio";
  sessions: "ISOLATED" | "SHARED";
  maxSessions?: number | undefined;
  idleSeconds?: number | undefined;
  maxMessageBytes?: number | undefined;
}

interface HttpLaunch<Var = Variable> extends Program<Var> {
  kind: "http";
  path: string;
}

interface ImageLaunch<Var = Variable> extends Common {
  kind: "image";
  image: string;
  args: string[];
  env: Var[];
  /** Left out where there are none. */
  writablePaths?: string[] | undefined;
  port: number;
  path: string;
}

export interface RemoteLaunch<Var = Variable> extends Common {
  kind: "remote";
  /** Where it is secret: its origin. */
  url: string;
  /** Whether the URL is secret. */
  urlSecret: boolean;
  /** The whole URL where it is secret: sealed at rest, never shown. Null in a draft that keeps the stored one. */
  secretUrl: string | null;
  /** Besides the MCP endpoint's. */
  paths: string[];
  headers: Var[];
}

export interface StoredOptions extends Omit<LaunchOptions, "resources" | "egress"> {
  resources: {
    cpus: number | null;
    memoryMb: number | null;
    processes?: number | undefined;
    diskMb?: number | undefined;
  } | null;
  /** Left out where any host may be reached. */
  egress?: LaunchOptions["egress"] | undefined;
}

export type ShownStoredLaunch = StoredLaunch<ShownVariable>;
export type ShownStdioLaunch = StdioLaunch<ShownVariable>;
export type ShownHttpLaunch = HttpLaunch<ShownVariable>;
export type ShownImageLaunch = ImageLaunch<ShownVariable>;
export type ShownRemoteLaunch = RemoteLaunch<ShownVariable>;

/** The same launch with each variable mapped. `path` is the variable's place in LaunchInput, as in `stdio.env.0`. */
export function mapVariables<From, To>(
  launch: StoredLaunch<From>,
  map: (variable: From, path: string) => To,
): StoredLaunch<To> {
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

/** The launch, whose texts are in today's notation, as it is stored. */
export function withEscapes(launch: StoredLaunch): StoredLaunch {
  return templatesOf(launch).some(hasEscape) ? { ...launch, escapes: true } : launch;
}

/** The launch with each of its secrets changed: values of variables, and a secret URL. */
export function mapSecrets(launch: StoredLaunch, change: (value: string) => string): StoredLaunch {
  const mapped = mapVariables(launch, (variable) =>
    variable.secret ? { ...variable, value: change(variable.value) } : variable,
  );
  // Versions that were made before URLs could be secret have none.
  return mapped.kind === "remote" && mapped.secretUrl != null
    ? { ...mapped, secretUrl: change(mapped.secretUrl) }
    : mapped;
}

/**
 * The view of a reader: names always; values only with `showValues`, and never of secrets. Texts are in today's notation, so that a
 * launch that was read may be sent back.
 */
export function showLaunch(stored: StoredLaunch, { showValues }: { showValues: boolean }): ShownStoredLaunch {
  const { escapes, ...shown } = mapVariables<Variable, ShownVariable>(stored, ({ name, value, secret }) => ({
    name,
    value: secret || !showValues ? null : currentText(stored, value),
    secret,
  }));
  if (shown.kind !== "remote") return { ...shown, args: shown.args.map((arg) => currentText({ escapes }, arg)) };
  const url = showValues ? shown.url : shown.url.replace(/\?.*/s, "?…");
  const { urlSecret = false, paths = [] } = shown as Partial<ShownRemoteLaunch>; // of an earlier version
  return { ...shown, url, urlSecret, paths, secretUrl: null };
}
