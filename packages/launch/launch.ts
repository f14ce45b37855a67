import { z } from "zod";
import { DEFAULT_MCP_PATH, LIMITS, type Limit } from "./limits.ts";

const given = (limit: { default: number }) => z.number().positive().default(limit.default);
const perhaps = z.number().nonnegative().nullable().default(null);
/** A field for each number that has limits: null, where that is its default. */
const numbers = <Limits extends Record<string, Limit>>(limits: Limits) =>
  // fromEntries forgets which names there are.
  Object.fromEntries(
    Object.entries(limits).map(([name, { default: value }]) => [
      name,
      value === null ? perhaps : given({ default: value }),
    ]),
  ) as { [Name in keyof Limits]: Limits[Name]["default"] extends number ? ReturnType<typeof given> : typeof perhaps };
const path = z.string().startsWith("/");

const health = z.object({
  livenessPath: z.string().nullable().default(null),
  readinessPath: z.string().nullable().default(null),
  ...numbers(LIMITS.health),
  timeoutSeconds: given(LIMITS.options.timeoutSeconds),
});

export const optionsSchema = z.object({
  ...numbers(LIMITS.options),
  health: health.prefault({}),
  resources: z
    .object({ cpus: perhaps, ...numbers(LIMITS.resources) })
    .nullable()
    .default(null),
  egress: z
    .object({ allow: z.array(z.string()) })
    .nullable()
    .default(null),
  enforceApproval: z.boolean().default(false),
});

/** The options that concern calls: what proxies are told of a launch. */
export const callOptionsSchema = optionsSchema.omit({ health: true, resources: true, egress: true });

const launchOf = <Var extends z.ZodType>(variable: Var) => {
  const common = {
    /** Whether `$${` is an escape in its texts (placeholders.ts). Left out where none has one. */
    escapes: z.boolean().optional(),
    options: optionsSchema.prefault({}),
  };
  const started = { args: z.array(z.string()).default([]), env: z.array(variable).default([]) };
  const program = {
    command: z.string().min(1),
    ...started,
    workingDirectory: z.string().nullable().default(null),
    /** Of the host, besides its own folders. */
    writablePaths: z.array(z.string()).default([]),
  };
  return z.discriminatedUnion("kind", [
    z.object({
      kind: z.literal("stdio"),
      ...program,
      sessions: z.enum(["ISOLATED", "SHARED"]).default("ISOLATED"),
      ...numbers(LIMITS.stdio),
      ...common,
    }),
    z.object({ kind: z.literal("http"), ...program, path: path.default(DEFAULT_MCP_PATH), ...common }),
    z.object({
      kind: z.literal("image"),
      image: z.string().min(1),
      ...started,
      /** Of the container, besides /tmp: folders that are empty at each start. */
      writablePaths: z.array(z.string()).default([]),
      ...numbers(LIMITS.image),
      path: path.default(DEFAULT_MCP_PATH),
      ...common,
    }),
    z.object({
      kind: z.literal("remote"),
      /** Its origin where the URL is secret. */
      url: z.url({ protocol: /^https?$/ }),
      urlSecret: z.boolean().default(false),
      /** Sealed, with the version's id as context; null where the URL is none, and for readers. */
      secretUrl: z.string().nullable().default(null),
      /** Besides the MCP endpoint's. */
      paths: z.array(path).default([]),
      headers: z.array(variable).default([]),
      ...common,
    }),
  ]);
};

const variable = z.object({ name: z.string().min(1), value: z.string(), secret: z.boolean() });
const shownVariable = variable.extend({ value: z.string().nullable() });

/**
 * A complete launch: parsed from `sealedLaunch.launch` or a deployment's row, whichever version wrote it, with defaults for fields that
 * are left out. Values of secret variables are sealed.
 */
export const launchSchema = launchOf(variable);
/** The view of readers: values are null where they are secret, and for readers who may not see the environment. */
export const shownLaunchSchema = launchOf(shownVariable);

export type Launch = z.output<typeof launchSchema>;
export type ShownLaunch = z.output<typeof shownLaunchSchema>;
export type LaunchKind = Launch["kind"];
export type LaunchOptions = z.output<typeof optionsSchema>;
export type HealthPolicy = z.output<typeof health>;
/** An environment variable or a header. */
export type Variable = z.output<typeof variable>;
export type ShownVariable = z.output<typeof shownVariable>;

/** The default options of a launch. */
export const DEFAULT_OPTIONS: LaunchOptions = optionsSchema.parse({});

/** The environment, or the headers of a remote server. */
export function variablesOf<Var>(
  launch: { kind: "remote"; headers: Var[] } | { kind: Exclude<LaunchKind, "remote">; env: Var[] },
): Var[] {
  return launch.kind === "remote" ? launch.headers : launch.env;
}

/** The texts of a launch in which placeholders are replaced, without variables whose value is not known. */
export function templatesOf(
  launch:
    | { kind: "remote"; headers: { value: string | null }[] }
    | { kind: Exclude<LaunchKind, "remote">; args: string[]; env: { value: string | null }[] },
): string[] {
  const values = variablesOf<{ value: string | null }>(launch).flatMap(({ value }) => (value === null ? [] : [value]));
  return launch.kind === "remote" ? values : [...launch.args, ...values];
}
