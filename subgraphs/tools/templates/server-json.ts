import { literal, writeOnlyInArguments } from "@toolyard/launch/placeholders.ts";
import { badInput, parseInput, type Problem } from "@toolyard/service-kit";
import { problemOfJson, type JsonBounds } from "@toolyard/service-kit/bounded-json.ts";
import { z } from "zod";
import { templateFile } from "./template-file.ts";
import type { Template } from "./template.ts";

/**
 * `server.json` of the official MCP registry, revision 2025-12-11, as far as it says how a server is run; all else in it is ignored.
 * https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json
 */
const plainInput = z.object({
  description: z.string().optional(),
  isRequired: z.boolean().default(false),
  isSecret: z.boolean().default(false),
  format: z.enum(["string", "number", "boolean", "filepath"]).default("string"),
  value: z.string().optional(),
  default: z.string().optional(),
  placeholder: z.string().optional(),
  choices: z.array(z.string()).max(100).optional(),
});
const input = plainInput.extend({ variables: z.record(z.string(), plainInput).default({}) });
const named = input.extend({ name: z.string().min(1).max(128) });
const argument = z.discriminatedUnion("type", [
  named.extend({ type: z.literal("named") }),
  input.extend({ type: z.literal("positional"), valueHint: z.string().max(128).optional() }),
]);
const args = z.array(argument).max(100).default([]);
const namedInputs = z.array(named).max(100).default([]);

const transport = z.object({
  type: z.enum(["stdio", "streamable-http", "sse"]),
  url: z.string().max(2_048).optional(),
});
const PACKAGE_NAMES: Record<string, RegExp> = {
  npm: /^(?:@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~][a-z0-9._~-]*$/i,
  pypi: /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/i,
  oci: /^[a-z0-9][^\s]*$/,
};
const packages = z.object({
  registryType: z.string(),
  registryBaseUrl: z.string().optional(),
  identifier: z.string().max(1_024),
  version: z
    .string()
    .regex(/^[0-9a-z][0-9a-z.+!_-]*$/i, "must be one version, as in 1.0.2")
    .refine((text) => text !== "latest", "must be one version, not the latest one")
    .optional(),
  fileSha256: z.string().optional(),
  runtimeHint: z.string().optional(),
  transport,
  runtimeArguments: args,
  packageArguments: args,
  environmentVariables: namedInputs,
});
const remote = z.object({
  type: z.enum(["streamable-http", "sse"]),
  url: z.string().max(2_048),
  headers: namedInputs,
});
const server = z.object({
  name: z
    .string()
    .max(200)
    .regex(/^[a-zA-Z0-9.-]+\/[a-zA-Z0-9._-]+$/, "must be a namespace and a name, as in io.github.user/weather"),
  title: z.string().optional(),
  description: z.string(),
  version: z.string(),
  repository: z.object({ url: z.string() }).optional(),
  packages: z.array(packages).max(20).default([]),
  remotes: z.array(remote).max(20).default([]),
});

type Input = z.output<typeof input>;
type PlainInput = z.output<typeof plainInput>;
type Package = z.output<typeof packages>;

const BOUNDS: JsonBounds = { depth: 16, characters: 131_072 };
const RUNNERS: Record<string, { command: string; registry: string }> = {
  npm: { command: "npx", registry: "registry.npmjs.org" },
  pypi: { command: "uvx", registry: "pypi.org" },
};

/** A template without what its place gives it. */
export type ServerTemplate = Pick<
  Template,
  "name" | "description" | "launch" | "configSchema" | "repository" | "version"
> & { serverName: string };

/**
 * The template of a server: of its first package on npm or PyPI that speaks stdio, else its
 * first remote, else its first image that serves HTTP. Environment variables, headers and
 * arguments become properties of `configSchema`, secret ones `writeOnly`.
 * @throws ToolyardError BAD_USER_INPUT, with problems at places below `json`
 */
export function templateOfServer(json: unknown): ServerTemplate {
  const bound = problemOfJson(json, BOUNDS);
  if (bound !== null) throw badInput([{ path: "json", message: bound }]);
  const parsed = parseInput(server, json, "json");
  const properties = createProperties();
  const launch = launchOf(parsed, properties);
  if (properties.problems.length > 0) throw badInput(properties.problems);
  const file = {
    name: parsed.title ?? parsed.name.slice(parsed.name.indexOf("/") + 1),
    description: parsed.description,
    version: parsed.version,
    repository: parsed.repository?.url,
    launch,
    configSchema: properties.schema(),
  };
  return { ...parseInput(templateFile, file, "json → template"), serverName: parsed.name };
}

function launchOf({ packages: all, remotes }: z.output<typeof server>, properties: Properties): object {
  const isProgram = ({ registryType }: Package): boolean => Object.hasOwn(RUNNERS, registryType);
  const isImage = ({ registryType }: Package): boolean => registryType === "oci";
  const program = all.findIndex((one) => isProgram(one) && one.transport.type === "stdio");
  if (all[program]) return programOf(all[program], `json.packages.${program}`, properties);
  const streamable = remotes.findIndex(({ type }) => type === "streamable-http");
  const endpoint = Math.max(0, streamable);
  if (remotes[endpoint]) return remoteOf(remotes[endpoint], `json.remotes.${endpoint}`, properties);
  const image = all.findIndex((one) => isImage(one) && one.transport.type === "streamable-http");
  // Where none can be run, the first says why it cannot.
  const last = image === -1 ? all.findIndex((one) => isProgram(one) || isImage(one)) : image;
  if (all[last]) return (isImage(all[last]) ? imageOf : programOf)(all[last], `json.packages.${last}`, properties);
  const found = all.map(({ registryType }) => registryType).join(", ");
  throw badInput([
    {
      path: "json",
      message: `must have a package on npm or PyPI, a remote or an image${found && `: it has ${found}`}`,
    },
  ]);
}

function remoteOf({ url, headers }: z.output<typeof remote>, path: string, properties: Properties): object {
  if (url.includes("{")) properties.report(`${path}.url`, "must have no variables: Toolyard calls one address");
  // It is published: nothing in it is a secret.
  return { remote: { url, urlSecret: false, headers: variablesOf(headers, `${path}.headers`, properties) } };
}

function programOf(chosen: Package, path: string, properties: Properties): object {
  const { registryType, identifier, version, runtimeHint, runtimeArguments } = chosen;
  const { command = "", registry = "" } = RUNNERS[registryType] ?? {};
  if (chosen.transport.type !== "stdio")
    properties.report(`${path}.transport`, "must be stdio: packages that serve HTTP choose their own port");
  if (chosen.registryBaseUrl !== undefined && hostOf(chosen.registryBaseUrl) !== registry)
    properties.report(`${path}.registryBaseUrl`, `must be https://${registry}, which is where ${command} looks`);
  if (runtimeArguments.length > 0 && runtimeHint !== undefined && runtimeHint !== command)
    properties.report(`${path}.runtimeHint`, `must be ${command}, for which the runtimeArguments are`);
  checkPackage(chosen, path, properties);
  const before = argumentsOf(runtimeArguments, `${path}.runtimeArguments`, properties);
  return {
    stdio: {
      command,
      args: [
        ...(registryType === "npm" && !before.includes("-y") && !before.includes("--yes") ? ["-y"] : []),
        ...before,
        version === undefined ? identifier : `${identifier}@${version}`,
        ...argumentsOf(chosen.packageArguments, `${path}.packageArguments`, properties),
      ],
      env: variablesOf(chosen.environmentVariables, `${path}.environmentVariables`, properties),
    },
  };
}

function imageOf(chosen: Package, path: string, properties: Properties): object {
  const { identifier, version, transport: by, registryBaseUrl } = chosen;
  if (by.type !== "streamable-http")
    properties.report(`${path}.transport`, "must be streamable-http: images are called by HTTP");
  if (chosen.runtimeArguments.length > 0)
    properties.report(`${path}.runtimeArguments`, "must be empty: there is no docker run to give them to");
  checkPackage(chosen, path, properties);
  const url = by.url !== undefined && URL.canParse(by.url) ? new URL(by.url) : null;
  if (url === null)
    properties.report(`${path}.transport.url`, "must be a URL without variables, whose port the image serves");
  const host = registryBaseUrl === undefined ? null : hostOf(registryBaseUrl);
  const name = host === null || identifier.startsWith(`${host}/`) ? identifier : `${host}/${identifier}`;
  const hasTag = /[:@][^/]*$/.test(name);
  return {
    image: {
      image: hasTag || version === undefined ? name : `${name}:${version}`,
      port: Number(url?.port || 80),
      path: url?.pathname,
      args: argumentsOf(chosen.packageArguments, `${path}.packageArguments`, properties),
      env: variablesOf(chosen.environmentVariables, `${path}.environmentVariables`, properties),
    },
  };
}

function checkPackage({ registryType, identifier, fileSha256 }: Package, path: string, { report }: Properties): void {
  if (!PACKAGE_NAMES[registryType]?.test(identifier))
    report(`${path}.identifier`, `must be the name of a package of ${registryType}`);
  if (fileSha256 !== undefined)
    report(`${path}.fileSha256`, "must be left out: what installs the package does not verify it");
}

function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : url;
}

function argumentsOf(given: z.output<typeof args>, path: string, properties: Properties): string[] {
  return given.map((each, index) => {
    const at = `${path}.${index}`;
    const key = each.type === "named" ? each.name : (each.valueHint ?? `argument_${index + 1}`);
    const text = properties.textOf(each, key, at);
    for (const secret of text.secrets) properties.report(at, writeOnlyInArguments(secret));
    return each.type === "named" ? `${literal(each.name)}=${text.value}` : text.value;
  });
}

function variablesOf(given: z.output<typeof namedInputs>, path: string, properties: Properties): object[] {
  return given.map((each, index) => ({
    name: each.name,
    value: properties.textOf(each, each.name, `${path}.${index}`).value,
  }));
}

interface Properties {
  readonly problems: Problem[];
  report(path: string, message: string): void;
  /** The launch's text for an input, with placeholders of the properties that it needs. `secrets` are those of them that are writeOnly. */
  textOf(given: Input, key: string, path: string): { value: string; secrets: string[] };
  /** Of all properties so far. */
  schema(): Record<string, unknown>;
}

/** Properties of a configuration, as inputs ask for them. */
function createProperties(): Properties {
  const problems: Problem[] = [];
  const properties = new Map<string, { schema: object; isRequired: boolean; isSecret: boolean }>();
  const report = (path: string, message: string): void => void problems.push({ path, message });

  /** The name of the property for an input. Two that are alike share one. */
  function propertyOf(given: PlainInput, wanted: string, path: string): string {
    const schema = propertySchema(given, path, report);
    const isRequired = given.isRequired && given.default === undefined;
    const base = wanted.replace(/^-+/, "").replaceAll(/[^A-Za-z0-9_-]+/g, "_") || "value";
    for (let count = 1; ; count += 1) {
      const name = count === 1 ? base : `${base}_${count}`;
      const known = properties.get(name);
      if (known && JSON.stringify([known.schema, known.isRequired]) !== JSON.stringify([schema, isRequired])) continue;
      properties.set(name, { schema, isRequired, isSecret: given.isSecret });
      return name;
    }
  }

  return {
    problems,
    report,
    textOf(given, key, path) {
      const secrets: string[] = [];
      const placeholder = (one: PlainInput, wanted: string, at: string): string => {
        const name = propertyOf(one, wanted, at);
        if (one.isSecret) secrets.push(name);
        return `\${config.${name}}`;
      };
      if (given.value === undefined) return { value: placeholder(given, key, path), secrets };
      const parts = given.value.split(/\{([A-Za-z_][\w.-]*)\}/);
      // Odd parts are names in braces; those that no variable has stay as they are.
      const texts = parts.map((part, index) => {
        const variable = index % 2 === 1 && Object.hasOwn(given.variables, part) ? given.variables[part] : undefined;
        if (variable === undefined) return { text: index % 2 === 1 ? `{${part}}` : part, isFixed: true };
        if (variable.value !== undefined && !variable.isSecret) return { text: variable.value, isFixed: true };
        return { text: placeholder(variable, part, `${path}.variables.${part}`), isFixed: false };
      });
      if (given.isSecret && texts.every(({ isFixed }) => isFixed))
        report(`${path}.value`, "must be left out where isSecret: everybody reads templates");
      // Neighbours that are fixed are one text: a dollar and a brace may come from two of them.
      const value = texts.reduce(
        (made, { text, isFixed }) =>
          isFixed
            ? { ...made, fixed: made.fixed + text }
            : { done: made.done + beforePlaceholder(made.fixed) + text, fixed: "" },
        { done: "", fixed: "" },
      );
      return { value: value.done + literal(value.fixed), secrets };
    },
    schema: () => ({
      type: "object",
      properties: Object.fromEntries([...properties].map(([name, { schema }]) => [name, schema])),
      required: [...properties].filter(([, { isRequired }]) => isRequired).map(([name]) => name),
      additionalProperties: false,
    }),
  };
}

/** A text that is followed by a placeholder, whose dollar would make one escaped that ends the text. */
function beforePlaceholder(text: string): string {
  return literal(text).replace(/\$+$/, (dollars) => dollars + dollars);
}

function propertySchema(given: PlainInput, path: string, report: Properties["report"]): object {
  const { description, format, isSecret, placeholder, choices } = given;
  const type = format === "number" || format === "boolean" ? format : "string";
  const valueOf = (text: string, at: string): unknown => {
    if (type === "string") return text;
    const value: unknown =
      type === "boolean" ? { true: true, false: false }[text] : text.trim() === "" ? NaN : Number(text);
    if (value === undefined || Number.isNaN(value) || value === Infinity || value === -Infinity)
      report(at, `must be a ${type}`);
    return value;
  };
  if (isSecret && given.default !== undefined)
    report(`${path}.default`, "must be left out where isSecret: everybody reads templates");
  return {
    type,
    ...(description !== undefined && { description }),
    ...(isSecret && { writeOnly: true }),
    ...(given.default !== undefined && { default: valueOf(given.default, `${path}.default`) }),
    ...(placeholder !== undefined && { examples: [placeholder] }),
    ...(choices !== undefined &&
      choices.length > 0 && {
        enum: [...new Set(choices)].map((each, index) => valueOf(each, `${path}.choices.${index}`)),
      }),
    ...(type === "string" && given.isRequired && given.default === undefined && { minLength: 1 }),
  };
}
