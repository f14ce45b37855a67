import { z } from "zod";

const variable = z.object({ name: z.string(), value: z.string().nullable(), secret: z.boolean() });
const options = z.object({
  timeoutSeconds: z.number(),
  maxConcurrentCalls: z.number().nullable(),
  health: z.object({
    livenessPath: z.string().nullable(),
    readinessPath: z.string().nullable(),
    startTimeoutSeconds: z.number(),
    intervalSeconds: z.number(),
    timeoutSeconds: z.number(),
    failureThreshold: z.number(),
    successThreshold: z.number(),
  }),
  resources: z
    .object({
      cpus: z.number().nullable(),
      memoryMb: z.number().nullable(),
      processes: z.number().nullable().default(null),
      diskMb: z.number().nullable().default(null),
    })
    .nullable(),
  enforceApproval: z.boolean(),
});
const program = {
  command: z.string(),
  args: z.array(z.string()),
  env: z.array(variable),
  workingDirectory: z.string().nullable(),
  writablePaths: z.array(z.string()).default([]),
  options,
};

/** A launch as the graph answers it: the JSON of the union Launch. */
export const launchSchema = z.discriminatedUnion("__typename", [
  z.object({
    __typename: z.literal("StdioLaunch"),
    ...program,
    sessions: z.enum(["ISOLATED", "SHARED"]),
    maxSessions: z.number().nullable().default(null),
    idleSeconds: z.number().nullable().default(null),
    maxMessageBytes: z.number().nullable().default(null),
  }),
  z.object({ __typename: z.literal("HttpLaunch"), ...program, path: z.string() }),
  z.object({
    __typename: z.literal("ImageLaunch"),
    image: z.string(),
    args: z.array(z.string()),
    env: z.array(variable),
    port: z.number(),
    path: z.string(),
    options,
  }),
  z.object({
    __typename: z.literal("RemoteLaunch"),
    url: z.string(),
    urlSecret: z.boolean(),
    paths: z.array(z.string()),
    headers: z.array(variable),
    options,
  }),
]);

export type Launch = z.infer<typeof launchSchema>;
export type LaunchOptions = z.infer<typeof options>;
export type Variable = z.infer<typeof variable>;

/** Selects all of a launch. */
export const LAUNCH_FRAGMENT = `
  fragment WholeLaunch on Launch {
    __typename
    ... on StdioLaunch { command args env { ...WholeVariable } workingDirectory writablePaths sessions maxSessions idleSeconds maxMessageBytes options { ...WholeOptions } }
    ... on HttpLaunch { command args env { ...WholeVariable } workingDirectory writablePaths path options { ...WholeOptions } }
    ... on ImageLaunch { image args env { ...WholeVariable } port path options { ...WholeOptions } }
    ... on RemoteLaunch { url urlSecret paths headers { ...WholeVariable } options { ...WholeOptions } }
  }
  fragment WholeVariable on EnvVar { name value secret }
  fragment WholeOptions on LaunchOptions {
    timeoutSeconds maxConcurrentCalls enforceApproval
    health { livenessPath readinessPath startTimeoutSeconds intervalSeconds timeoutSeconds failureThreshold successThreshold }
    resources { cpus memoryMb processes diskMb }
  }
`;

/** The options of a launch that says nothing of them. */
export const DEFAULT_OPTIONS: LaunchOptions = {
  timeoutSeconds: 30,
  maxConcurrentCalls: null,
  health: {
    livenessPath: null,
    readinessPath: null,
    startTimeoutSeconds: 60,
    intervalSeconds: 10,
    timeoutSeconds: 30,
    failureThreshold: 3,
    successThreshold: 1,
  },
  resources: null,
  enforceApproval: false,
};

/** The environment, or the headers of a remote server. */
export function variablesOf(launch: Launch): Variable[] {
  return launch.__typename === "RemoteLaunch" ? launch.headers : launch.env;
}

/** The texts of a launch in which `${config.key}` is replaced. */
export function templatesOf(launch: Launch): string[] {
  const values = variablesOf(launch).flatMap(({ value }) => (value === null ? [] : [value]));
  return launch.__typename === "RemoteLaunch" ? values : [...launch.args, ...values];
}

/** The keys of `${config.key}` in a text. */
export function configKeysOf(text: string): string[] {
  return [...text.matchAll(/\$\{config\.([A-Za-z0-9_.-]+)\}/g)].map(([, key = ""]) => key);
}

/** Whether a value is made of placeholders alone, perhaps after a scheme such as `Bearer`. */
export function isPlaceholder(value: string): boolean {
  return /^(?:(?:Bearer|Basic|Token)\s+)?(?:\$\{config\.[A-Za-z0-9_.-]+\})+$/i.test(value.trim());
}

const SECRET_NAME =
  /(?:^|[_.-])(?:key|token|secret|password|passwd|pwd|credential|credentials|apikey|auth|authorization|dsn|cookie)(?:$|[_.-])/i;

/** Whether a variable of this name usually holds a secret. */
export function looksSecret(name: string): boolean {
  return SECRET_NAME.test(name.replaceAll(/([a-z])([A-Z])/g, "$1_$2")) || /(?:apikey|accesskey|authtoken)/i.test(name);
}
