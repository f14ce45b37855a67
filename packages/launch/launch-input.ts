import { isAbsolute, normalize } from "node:path/posix";
import { CONNECTION_HEADERS } from "@toolyard/service-kit/http/connection-headers.ts";
import { staysAtOrigin } from "@toolyard/service-kit/http/origin-path.ts";
import { filled, plainText, withoutDuplicates } from "@toolyard/service-kit/text-input.ts";
import { z } from "zod";
import { commandLineProblems, type CommandLine } from "./command-line.ts";
import { problemOfEgress } from "./egress-list.ts";
import { DEFAULT_MCP_PATH, LIMITS, type Limit } from "./limits.ts";
import { mentionsPlaceholder } from "./placeholders.ts";
import type { DraftVariable, StoredLaunch, StoredOptions } from "./stored-launch.ts";

/** Linux takes at most 128 KiB for one argument or variable (MAX_ARG_STRLEN); a quarter of it is plenty. */
const MAX_TEXT = 32_768;
const MAX_PATH = 1_024;
const MAX_ARGS = 256;
const MAX_WRITABLE_PATHS = 16;
const MAX_VARIABLES = 128;
const MAX_PATHS = 64;
const MAX_EGRESS = 64;
/** For the whole launch, so that a version stays small. */
const MAX_LAUNCH_CHARACTERS = 262_144;

const within = ({ least, most }: Limit) =>
  z
    .int(`must be a whole number from ${least} to ${most}`)
    .min(least, `must be from ${least} to ${most}`)
    .max(most, `must be from ${least} to ${most}`)
    .nullish();
const whole = (limit: Limit & { default: number }) => within(limit).transform((value) => value ?? limit.default);
const wholeOrNull = (limit: Limit) => within(limit).transform((value) => value ?? null);
/** A field for each number that has limits. */
const numbers = <Limits extends Record<string, Limit>>(limits: Limits) =>
  // fromEntries forgets which names there are.
  Object.fromEntries(
    Object.entries(limits).map(([name, limit]) => [
      name,
      limit.default === null ? wholeOrNull(limit) : whole({ ...limit, default: limit.default }),
    ]),
  ) as {
    [Name in keyof Limits]: Limits[Name]["default"] extends number
      ? ReturnType<typeof whole>
      : ReturnType<typeof wholeOrNull>;
  };
const wholeOrNothing = (limit: Limit) => within(limit).transform((value) => value ?? undefined);

const replacesNothing = (text: string): boolean => !mentionsPlaceholder(text);
const NOT_HERE = "${config.key} is replaced in args, env and headers only";

const command = plainText(MAX_PATH)
  .refine((text) => text.trim() !== "", "must not be empty: name a program")
  .refine(replacesNothing, NOT_HERE);
const args = z
  .array(plainText(MAX_TEXT))
  .max(MAX_ARGS, `must have at most ${MAX_ARGS} arguments`)
  .nullish()
  .transform((value) => value ?? []);
const workingDirectory = filled(MAX_PATH)
  .refine(replacesNothing, NOT_HERE)
  .nullish()
  .transform((value) => value ?? null);
const writablePath = filled(MAX_PATH).refine(
  (path) => isAbsolute(path) && normalize(path) === path,
  "must be an absolute path without . and .. in it, as in /srv/notes",
);
const writable = (path: z.ZodType<string, string>) =>
  z
    .array(path)
    .max(MAX_WRITABLE_PATHS, `must have at most ${MAX_WRITABLE_PATHS} paths`)
    .nullish()
    .transform((value) => (value && value.length > 0 ? [...new Set(value)] : undefined));
const writablePaths = writable(writablePath);
/** Engines and clusters take no colon there, and not every one more than ASCII. */
const NO_FOLDER = /[^\x20-\x7e]|[:\\]|\/$/;
const KERNELS = /^\/(?:proc|sys|dev)(?:\/|$)/;
const foldersOfImage = writable(
  writablePath
    .refine((path) => !NO_FOLDER.test(path), "must be a folder of ASCII letters without : and \\, as in /var/cache")
    .refine((path) => !KERNELS.test(path), "must not be the kernel's: /proc, /sys and /dev stay as they are"),
);
const urlPath = plainText(MAX_PATH).check((context) => {
  const message = problemOfPath(context.value);
  if (message !== null) context.issues.push({ code: "custom", input: context.value, message });
});
const mcpPath = urlPath.nullish().transform((value) => value ?? DEFAULT_MCP_PATH);
const probePath = urlPath.nullish().transform((value) => value ?? null);

/** A variable: `name` has its own rules for environments and headers. */
const variable = (name: z.ZodType<string, string>, value: z.ZodType<string, string>) =>
  z
    .object({
      name,
      value: value.nullish().transform((text) => text ?? null),
      secret: z
        .boolean()
        .nullish()
        .transform((flag) => flag ?? false),
    })
    .refine(({ value: text, secret }) => secret || text !== null, {
      path: ["value"],
      message: 'give a value; "" is one. Only a secret may leave it out, in an update, to keep the one it has',
    });

const RESERVED_NAME = /^(TOOLYARD|BRIDGE)_/i;
const envName = z
  .string()
  .max(128, "must have at most 128 characters")
  .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be letters, digits and _, not beginning with a digit")
  .refine((text) => !RESERVED_NAME.test(text), "must not begin with TOOLYARD_ or BRIDGE_: these are Toolyard's own");

const env = z
  .array(variable(envName, plainText(MAX_TEXT)))
  .max(MAX_VARIABLES, `must have at most ${MAX_VARIABLES} variables`)
  .check(withoutDuplicates((item) => item.name, "name", "this variable is set twice"))
  .nullish()
  .transform((value): DraftVariable[] => value ?? []);

/** Headers that belong to the connection or to the proxy (MCP's transport). */
const PROXY_HEADERS = new Set([
  ...CONNECTION_HEADERS,
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "last-event-id",
  "mcp-protocol-version",
  "mcp-session-id",
]);
const headerName = z
  .string()
  .max(128, "must have at most 128 characters")
  .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, "must be a header's name, as in Authorization")
  .refine((text) => !PROXY_HEADERS.has(text.toLowerCase()), "is set by the proxy itself");
const headerValue = plainText(8_192)
  .refine((text) => /^[\t\x20-\x7e\x80-\xff]*$/.test(text), "must be one line of Latin-1 text")
  .refine((text) => text.trim() === text, "must not begin or end with spaces");
const headers = z
  .array(variable(headerName, headerValue))
  .max(MAX_VARIABLES, `must have at most ${MAX_VARIABLES} headers`)
  .check(withoutDuplicates((item) => item.name.toLowerCase(), "name", "this header is set twice"))
  .nullish()
  .transform((value): DraftVariable[] => value ?? []);

const health = z.object({
  livenessPath: probePath,
  readinessPath: probePath,
  ...numbers(LIMITS.health),
});

const resources = z.object({
  cpus: z
    .number()
    .gt(0, "must be above 0")
    .max(256, "must be at most 256")
    .nullish()
    .transform((value) => value ?? null),
  memoryMb: wholeOrNull(LIMITS.resources.memoryMb),
  processes: wholeOrNothing(LIMITS.resources.processes),
  diskMb: wholeOrNothing(LIMITS.resources.diskMb),
});

const egress = z.object({
  allow: z
    .array(
      z
        .string()
        .max(300, "must have at most 300 characters")
        .toLowerCase()
        .check((context) => {
          const message = problemOfEgress(context.value);
          if (message !== null) context.issues.push({ code: "custom", input: context.value, message });
        }),
    )
    .max(MAX_EGRESS, `must have at most ${MAX_EGRESS} hosts`)
    .transform((hosts) => [...new Set(hosts)]),
});

const launchOptions = z
  .object({
    ...numbers(LIMITS.options),
    health: health.nullish().transform((value) => value ?? health.parse({})),
    resources: resources
      .nullish()
      .transform((value) => (value && Object.values(value).some((given) => given != null) ? value : null)),
    egress: egress.nullish().transform((value) => value ?? undefined),
    // Accepted settings must be enforced: nothing approves tools yet, and the proxy would let everything pass.
    enforceApproval: z
      .boolean()
      .refine((value) => !value, "approval of tools is not part of this version of Toolyard: leave it out")
      .nullish()
      .transform(() => false),
  })
  // A server that may take long for a call is not dead when it takes long for a probe.
  .transform((value): StoredOptions => {
    const timeoutSeconds =
      value.health.timeoutSeconds ?? Math.min(value.timeoutSeconds, LIMITS.health.timeoutSeconds.most);
    return { ...value, health: { ...value.health, timeoutSeconds } };
  });
const options = launchOptions.nullish().transform((value) => value ?? launchOptions.parse({}));
const remoteOptions = options.refine(({ egress: list }) => list === undefined, {
  path: ["egress"],
  message: "is for servers that Toolyard starts: whom a remote one reaches is decided where it runs",
});

/**
 * The grammar of the distribution project's reference package: `[host[:port]/]path[:tag][@digest]`.
 * https://github.com/distribution/reference/blob/main/regexp.go
 */
const IMAGE_REFERENCE = (() => {
  const domainPart = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
  const host = `(?:${domainPart}(?:\\.${domainPart})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
  const component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
  const name = `(?:${host}/)?${component}(?:/${component})*`;
  return new RegExp(
    `^${name}(?::[\\w][\\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$`,
  );
})();
const image = z
  .string()
  .max(512, "must have at most 512 characters")
  .regex(IMAGE_REFERENCE, "must be an image reference, as in ghcr.io/owner/name:1.2");

const remoteUrl = plainText(2_048).check((context) => {
  const problem = problemOfUrl(context.value);
  if (problem !== null) context.issues.push({ code: "custom", input: context.value, message: problem });
});

function problemOfPath(text: string): string | null {
  if (!text.startsWith("/")) return 'must begin with "/", as in "/mcp"';
  if (/[^\x21-\x7e]/.test(text)) return "must not have spaces or characters outside ASCII: percent-encode them";
  if (text.includes("#")) return "must not have a fragment";
  if (!replacesNothing(text)) return NOT_HERE;
  return staysAtOrigin(text)
    ? null
    : 'must lead to the server itself: "//" at its beginning or a backslash can be read as another host';
}

function problemOfUrl(text: string): string | null {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol) || !/^https?:\/\//i.test(text)) {
    return "must be an http or https URL, as in https://example.com/mcp";
  }
  if (url.username !== "" || url.password !== "") return "must not hold credentials: put them into a secret header";
  if (url.hash !== "") return "must not have a fragment";
  return replacesNothing(text) ? null : NOT_HERE;
}

/** Told when the tool is registered, not when it fails to start. */
const startable = z.check<CommandLine>((context) => {
  if (context.issues.length > 0) return;
  for (const { path, message } of commandLineProblems(context.value))
    context.issues.push({ code: "custom", input: context.value, path: path.split("."), message });
});

const stdio = z
  .object({
    command,
    args,
    env,
    workingDirectory,
    writablePaths,
    sessions: z
      .enum(["ISOLATED", "SHARED"])
      .nullish()
      .transform((value) => value ?? "ISOLATED"),
    maxSessions: wholeOrNothing(LIMITS.stdio.maxSessions),
    idleSeconds: wholeOrNothing(LIMITS.stdio.idleSeconds),
    maxMessageBytes: wholeOrNothing(LIMITS.stdio.maxMessageBytes),
    options,
  })
  .check(startable);
const http = z.object({ command, args, env, workingDirectory, writablePaths, path: mcpPath, options }).check(startable);
const container = z.object({
  image,
  args,
  env,
  writablePaths: foldersOfImage,
  port: whole(LIMITS.image.port),
  path: mcpPath,
  options,
});
const remote = z
  .object({
    url: remoteUrl.nullish(),
    urlSecret: z.boolean().nullish(),
    paths: z
      .array(urlPath.refine((text) => !/[?;%]|\/\//.test(text), "must be a plain path, without a query"))
      .max(MAX_PATHS, `must have at most ${MAX_PATHS} paths`)
      .nullish()
      .transform((value) => value ?? []),
    headers,
    options: remoteOptions,
  })
  .transform(({ url, urlSecret, ...rest }, context) => {
    const given = url ?? null;
    const secret = urlSecret ?? (given === null || new URL(given).search !== "");
    if (given === null && !secret)
      context.addIssue({ code: "custom", path: ["url"], message: "give the URL: only a secret one may be left out" });
    const shown = given === null ? "" : secret ? `${new URL(given).origin}/` : given;
    return { ...rest, url: shown, urlSecret: secret, secretUrl: secret ? given : null };
  });

/** LaunchInput of the graph: exactly one field. Answers the launch with every default filled in. */
export const launchInput = z
  .object({ stdio: stdio.nullish(), http: http.nullish(), image: container.nullish(), remote: remote.nullish() })
  .transform((value, context): StoredLaunch<DraftVariable> => {
    const given: StoredLaunch<DraftVariable>[] = [
      ...(value.stdio ? [{ kind: "stdio" as const, ...value.stdio }] : []),
      ...(value.http ? [{ kind: "http" as const, ...value.http }] : []),
      ...(value.image ? [{ kind: "image" as const, ...value.image }] : []),
      ...(value.remote ? [{ kind: "remote" as const, ...value.remote }] : []),
    ];
    const [only] = given;
    if (only === undefined || given.length > 1) {
      const found = given.length === 0 ? "none is" : `${given.map((launch) => launch.kind).join(" and ")} are`;
      context.addIssue({ code: "custom", message: `set exactly one of stdio, http, image and remote; ${found} set` });
      return z.NEVER;
    }
    if (JSON.stringify(only).length > MAX_LAUNCH_CHARACTERS) {
      context.addIssue({
        code: "custom",
        message: `is too large: at most ${MAX_LAUNCH_CHARACTERS} characters as JSON`,
      });
    }
    return only;
  });

/** LaunchInput as the graph takes it. */
export type LaunchInput = z.input<typeof launchInput>;
