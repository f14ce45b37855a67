import { readFileSync } from "node:fs";
import leven from "leven";
import { z } from "zod";
import { messageOf, systemCodeOf, withoutStop } from "../errors/errors.ts";
import { LOG_LEVELS } from "./log.ts";
import { inWords } from "../errors/validation.ts";
import { intervalsOf } from "./schedule.ts";

/** A wrong environment variable: the message names it, what is wrong, and an example. Stops the start. */
export class ConfigError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ConfigError";
  }
}

export type Environment = Record<string, string | undefined>;

/** Variables whose values are never shown, even when they are wrong; URLs among them, since they may hold a password. */
const SECRET_NAME = /SECRET|PASSWORD|TOKEN|CREDENTIAL|KEY|DATABASE_URL|MONGODB_URL|REDIS_URL/;

/** The names that were asked for in an environment: what it may be told by. */
const namesRead = new WeakMap<Environment, Set<string>>();

/**
 * Parses the variables of `shape`, each a zod schema over a string with `.meta({ example })`. An empty value counts as left out. What has
 * `.meta({ secret: true })` may lie in a file that NAME_FILE names.
 * @throws ConfigError naming every wrong variable with its value, except a secret's.
 */
export function parseEnvironment<Shape extends z.ZodRawShape>(
  shape: Shape,
  env: Environment,
): z.infer<z.ZodObject<Shape>> {
  const lines: string[] = [];
  noteVariables(shape, env);
  const values = Object.fromEntries(
    Object.entries(shape).flatMap(([name, schema]) => {
      const found = metaOf(schema)["secret"] === true ? secretOf(name, env) : { value: env[name] || undefined };
      if ("value" in found) return [[name, found.value]];
      lines.push(found.problem);
      return [];
    }),
  );
  const parsed = z.object(shape).safeParse(values, { error: inWords });
  if (parsed.success && lines.length === 0) return parsed.data;
  for (const issue of parsed.error?.issues ?? []) {
    const name = String(issue.path[0]);
    // A file without a value is reported already.
    if (!(name in values)) continue;
    const meta = metaOf(shape[name]);
    const value = JSON.stringify(values[name])?.replace(/\/\/[^/@]*@/g, "//…@");
    const shown = SECRET_NAME.test(name) ? "" : ` (it is ${value})`;
    const example =
      meta.example === undefined ? "" : ` Example: ${name}=${JSON.stringify(meta.example).replace(/^"|"$/g, "")}`;
    lines.push(`${name}: ${withoutStop(issue.message)}${values[name] === undefined ? "" : shown}.${example}`);
  }
  throw new ConfigError(lines.join("\n"));
}

/** Has variables count as read that another process reads, to which they are handed on. */
export function noteVariables(shape: z.ZodRawShape, env: Environment): void {
  const names = namesRead.get(env) ?? new Set();
  namesRead.set(env, names);
  for (const [name, schema] of Object.entries(shape)) {
    names.add(name);
    if (metaOf(schema)["secret"] === true) names.add(`${name}_FILE`);
  }
}

/** Shorter names are like too many of other programs': HOST_ID is like HOST_IP. */
const MIN_NAME_LENGTH = 8;
/** Names of this length are told from others' also with two letters that are not theirs. */
const LONG_NAME_LENGTH = 11;

/** A sentence for each variable that nothing has read so far, and whose name is like that of one which was looked for and is not set. Never a value. */
export function misspeltVariables(env: Environment): string[] {
  const names = namesRead.get(env) ?? new Set<string>();
  const wanted = [...names].filter((name) => name.length >= MIN_NAME_LENGTH && !env[name] && !env[`${name}_FILE`]);
  return Object.entries(env).flatMap(([name, value]) => {
    if (!value || names.has(name)) return [];
    const meant = wanted.find((known) => leven(name, known) <= (known.length >= LONG_NAME_LENGTH ? 2 : 1));
    return meant === undefined ? [] : `${name} is no variable of Toolyard; did you mean ${meant}?`;
  });
}

/** A variable's value, or that of the file which NAME_FILE names, without the line's end. */
function secretOf(name: string, env: Environment): { value: string | undefined } | { problem: string } {
  const [given, file] = [env[name] || undefined, env[`${name}_FILE`] || undefined];
  if (file === undefined) return { value: given };
  if (given !== undefined) return { problem: `${name}_FILE: ${name} is set as well. Keep one of the two.` };
  try {
    const value = readNamed(`${name}_FILE`, file).replace(/\r?\n$/, "");
    return value === "" ? { problem: `${name}_FILE: ${file} is empty.` } : { value };
  } catch (error) {
    return { problem: messageOf(error) };
  }
}

/** The file that a variable names. @throws ConfigError */
export function readNamed(variable: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new ConfigError(`${variable}: ${file} cannot be read (${systemCodeOf(error) ?? "no file"}).`);
  }
}

/** The result of each parser. @throws ConfigError naming every wrong variable of all of them. */
export function parseTogether<Parsed extends readonly unknown[]>(
  ...parsers: { [Each in keyof Parsed]: () => Parsed[Each] }
): Parsed {
  const problems = new Set<string>();
  const parsed = parsers.map((parse) => {
    try {
      return parse();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.add(error.message);
      return undefined;
    }
  });
  if (problems.size > 0) throw new ConfigError([...problems].join("\n"));
  // None threw, so each is its parser's result.
  return parsed as unknown as Parsed;
}

/** The meta of a schema, or of the schema that it makes optional or gives a default. */
function metaOf(schema: unknown): Record<string, unknown> {
  if (!(schema instanceof z.ZodType)) return {};
  const inner = schema instanceof z.ZodOptional || schema instanceof z.ZodDefault ? schema.unwrap() : null;
  return schema.meta() ?? (inner === null ? {} : metaOf(inner));
}

export const port = (fallback: number) =>
  z
    .string()
    .default(String(fallback))
    .refine((text) => /^\d+$/.test(text) && Number(text) <= 65_535, "must be a port from 0 to 65535")
    .transform(Number)
    .meta({ example: fallback });

export const flag = (fallback: boolean) =>
  z
    .enum(["true", "false"], "must be true or false")
    .default(fallback ? "true" : "false")
    .transform((text) => text === "true")
    .meta({ example: fallback });

export const integer = (options: { fallback: number; min: number; max: number }) =>
  z
    .string()
    .default(String(options.fallback))
    .refine(
      (text) => /^\d+$/.test(text) && Number(text) >= options.min && Number(text) <= options.max,
      `must be a whole number from ${options.min} to ${options.max}`,
    )
    .transform(Number)
    .meta({ example: options.fallback });

export const ratio = (fallback: number) =>
  z
    .string()
    .default(String(fallback))
    .refine((text) => /^\d*\.?\d+$/.test(text) && Number(text) <= 1, "must be a number from 0 to 1")
    .transform(Number);

export const list = (fallback: readonly string[], example: string) =>
  z
    .string()
    .default(fallback.join(","))
    .transform((text) =>
      text
        .split(",")
        .map((item) => item.trim())
        .filter((item) => item !== ""),
    )
    .meta({ example });

/** When something is done again and again: see `intervalsOf`. */
export const schedule = (fallback: string) =>
  z
    .string()
    .default(fallback)
    .refine(
      (text) => intervalsOf(text) !== null,
      "must be five or six fields of cron, or @hourly, @daily or @weekly, that come about again and again",
    )
    .meta({ example: fallback });

export const logLevel = z
  .enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(", ")}`)
  .default("info")
  .meta({ example: "info" });

export const httpUrl = (example: string) =>
  z.url({ protocol: /^https?$/, error: "must be an http or https URL" }).meta({ example });

/** Toolyard's own paths begin with one of these: a prefix that begins likewise would make paths ambiguous. */
const OWN_PATH = /^\/(?:graphql|mcp|health|healthz|metrics|\.well-known)(?:\/|$)/;

/** An address below which Toolyard's own paths lie, without a trailing slash: `https://example.com`, `https://example.com/toolyard`. */
export const baseUrl = (example: string) =>
  httpUrl(example)
    .transform((text, context) => {
      const { origin, pathname, username, password, search, hash } = new URL(text);
      const path = pathname.replace(/\/+$/, "");
      const own = OWN_PATH.exec(path)?.[0].replace(/\/$/, "");
      const problem =
        username + password + search + hash !== "" || /[?#]$/.test(text)
          ? "must be an address without user, password, query and fragment"
          : own !== undefined
            ? `must be the address before Toolyard's own paths, without ${own}`
            : /^(?:\/[\w.~-]+)*$/.test(path)
              ? null
              : "may have only letters, digits and -._~ between the slashes of its path";
      if (problem === null) return origin + path;
      context.addIssue(problem);
      return z.NEVER;
    })
    .meta({ example });

/** How Toolyard is reached from outside: everything at PUBLIC_URL, or tools at PROXY_URL where that differs. */
export const publicAddresses = {
  PUBLIC_URL: baseUrl("https://tools.example.com/toolyard").optional(),
  PROXY_URL: baseUrl("https://mcp.example.com").optional(),
};

/** The path of an address at its origin: `/toolyard`, or "". */
export function prefixOf(url: string | null): string {
  return url === null ? "" : new URL(url).pathname.replace(/\/$/, "");
}

/** The credential that scrapers of /metrics send. */
export const metricsToken = z
  .string()
  .min(16, "must have at least 16 characters")
  .regex(/^[\w.~+/=-]*$/, "must be what a bearer token may be: letters, digits and -._~+/=")
  .optional()
  .meta({ secret: true, example: "the output of `openssl rand -hex 32`" });

export const secretKey = z
  .string()
  .min(32, "must have at least 32 characters")
  .meta({ secret: true, example: "the output of `openssl rand -base64 32`" });
