import {
  DEFAULT_MCP_PATH,
  LIMITS,
  shownLaunchSchema,
  templatesOf,
  variablesOf,
  type ShownLaunch,
  type ShownVariable,
} from "@toolyard/launch";
import { placeholderKeys } from "@toolyard/launch/placeholders.ts";
import type { Evidence } from "../evidence.ts";
import type { GeneratedConfig } from "../reports.ts";
import { schemaOf } from "./launch-rules.ts";
import { packageOf, parseImage } from "./package-reference.ts";
import { looksSecret } from "./secret-names.ts";

type Property = Record<string, unknown>;

/** A launch and a configuration's schema, from a description or from a tool that there is. */
export function generateConfig(evidence: Evidence): Omit<GeneratedConfig, "provider"> {
  return evidence.tool ? fromTool({ ...evidence, tool: evidence.tool }) : fromDescription(evidence.description);
}

function fromDescription(description: string): Omit<GeneratedConfig, "provider"> {
  const { launch, because, warnings } = suggestLaunch(description);
  const names = variableNamesOf(description);
  const explanation = [
    because,
    names.length === 0
      ? "No words that look like environment variables were found, so it takes no configuration."
      : `${names.join(", ")} ${names.length === 1 ? "looks like an environment variable" : "look like environment variables"}: asked for in the configuration and passed on.`,
  ].join(" ");
  return {
    launch: launch && withVariables(launch, names),
    configSchema: objectSchema(
      Object.fromEntries(names.map((name) => [configKey(name), propertyFor(name)])),
      names.map(configKey),
    ),
    explanation,
    warnings,
  };
}

function fromTool({ tool }: Evidence & { tool: NonNullable<Evidence["tool"]> }): Omit<GeneratedConfig, "provider"> {
  const existing = schemaOf(tool.configSchema);
  const warnings: string[] = [];
  const properties: Record<string, unknown> = { ...existing.properties };
  const required = new Set(existing.required);
  for (const key of templatesOf(tool.launch).flatMap(placeholderKeys)) {
    if (Object.hasOwn(properties, key)) continue;
    properties[key] = propertyFor(key);
    required.add(key);
  }
  const names: string[] = [];
  for (const variable of variablesOf(tool.launch)) {
    if (tool.placeholderVariables.includes(variable.name)) continue;
    const key = configKey(variable.name);
    if (!Object.hasOwn(properties, key)) properties[key] = propertyFor(variable.name, variable.secret);
    if (variable.secret || looksSecret(variable.name)) required.add(key);
    names.push(variable.name);
  }
  if (names.length > 0)
    warnings.push(
      `The launch takes ${names.join(", ")} from the configuration now: what it holds at present is not shown here, so give it again when deploying.`,
    );
  const launch = withVariables(tool.launch, names);
  const explanation =
    Object.keys(properties).length === 0
      ? `${tool.name} has no variables and uses no \${config.key}: it takes no configuration.`
      : `The properties are those of ${tool.name}'s schema, the \${config.key} that its launch uses, and its variables (${names.join(", ") || "none"}).`;
  return { launch, configSchema: objectSchema(properties, [...required]), explanation, warnings };
}

interface Suggestion {
  launch: ShownLaunch | null;
  because: string;
  warnings: string[];
}

/** The launch that a description names: a command, an image, an address, or a package. */
export function suggestLaunch(description: string): Suggestion {
  return (
    commandIn(description) ??
    imageIn(description) ??
    addressIn(description) ??
    packageIn(description) ?? {
      launch: null,
      because: "No package, image, command or address could be made out.",
      warnings: ["Name what runs, as in `npx -y package`, `uvx package`, `docker run image`, or https://host/mcp."],
    }
  );
}

const WORD = String.raw`[^\s\x60"'<>|;&,]+`;

/** `npx -y @scope/server --flag`, as far as the words look like arguments. */
function commandIn(description: string): Suggestion | null {
  const quoted = new RegExp(String.raw`\x60((?:npx|uvx|bunx|pipx run|node|python3?|deno|bun) [^\x60\n]+)\x60`).exec(
    description,
  )?.[1];
  const plain = new RegExp(String.raw`\b((?:npx|uvx|bunx) (?:-[\w-]+(?:=${WORD})? )*${WORD})`).exec(description)?.[1];
  const [command = "", ...args] = (quoted ?? plain?.replace(/[.:!?)]+$/, "") ?? "").split(/\s+/);
  if (command === "") return null;
  const reference = packageOf(command, args);
  return {
    launch: stdio(command, args),
    because: `The description names the command \`${[command, ...args].join(" ")}\`, taken to be an MCP server on stdin and stdout.`,
    warnings: reference && !reference.pinned ? [floating(reference.name)] : [],
  };
}

function imageIn(description: string): Suggestion | null {
  const run = new RegExp(
    String.raw`docker (?:run|pull) (?:-[\w-]+(?:[= ](?!-)[\w./:=-]+)? )*?([\w.-]+(?::\d+)?/[\w./-]+(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?)`,
  ).exec(description)?.[1];
  const hosted =
    /\b((?:ghcr\.io|docker\.io|quay\.io|gcr\.io|mcr\.microsoft\.com|registry\.[\w.-]+)\/[\w./-]+(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?)/.exec(
      description,
    )?.[1];
  const named = /\bimage\s+[`"']?([\w.-]+\/[\w./-]+(?::[\w.-]+)?)/i.exec(description)?.[1];
  const image = (run ?? hosted ?? named)?.replace(/[.:]+$/, "");
  const reference = image === undefined ? null : parseImage(image);
  if (image === undefined || !reference) return null;
  const port = Number(/\bport\s+(\d{2,5})\b/i.exec(description)?.[1] ?? LIMITS.image.port.default);
  const floats = reference.digest === null && (reference.tag === null || reference.tag === "latest");
  return {
    launch: shownLaunchSchema.parse({ kind: "image", image, port }),
    because: `The description names the image ${image}, taken to serve MCP over HTTP on port ${port} at ${DEFAULT_MCP_PATH}.`,
    warnings: [
      ...(floats ? [`${reference.name} is not pinned: name a version or a digest.`] : []),
      "Images that speak MCP on stdin and stdout only do not serve HTTP: check the image's documentation.",
    ],
  };
}

function addressIn(description: string): Suggestion | null {
  const found = [...description.matchAll(/\bhttps?:\/\/[^\s`"'<>)\]]+/g)].map(([text]) =>
    text.replace(/[.,;:!?]+$/, ""),
  );
  const endpoint =
    found.find((text) => /\/(?:mcp|sse)(?:\/|$|\?)/.test(text)) ?? found.find((text) => /^https?:\/\/mcp\./.test(text));
  const url = endpoint === undefined ? null : URL.parse(endpoint);
  if (!url || endpoint === undefined) return null;
  return {
    launch: shownLaunchSchema.parse({ kind: "remote", url: endpoint }),
    because: `The description names the address ${url.host}${url.pathname}, taken to be an MCP server that runs elsewhere.`,
    warnings: url.protocol === "http:" ? ["The address is not encrypted: use https where the server has it."] : [],
  };
}

/** `npm install x`, `pip install x`, or a package's name that looks like a server's. */
function packageIn(description: string): Suggestion | null {
  const npm =
    /\bnpm (?:install|i|add) (?:-[\w-]+ )*((?:@[\w.-]+\/)?[\w.-]+(?:@[\w.-]+)?)/.exec(description)?.[1] ??
    /(?:^|[\s`"'(])(@[a-z0-9][\w.-]*\/[a-z0-9][\w.-]*(?:@[\w.-]+)?)/.exec(description)?.[1];
  const python = /\b(?:pip|pip3|uv pip|pipx) install ([\w.-]+(?:==[\w.]+)?)/.exec(description)?.[1];
  const bare = /\b(mcp-server-[a-z0-9-]+)\b/.exec(description)?.[1];
  const [command, name] = npm !== undefined ? ["npx", npm] : ["uvx", python ?? bare];
  if (name === undefined) return null;
  const spec = name.replace(/[.]+$/, "");
  const reference = packageOf(command, [spec]);
  return {
    launch: stdio(command, command === "npx" ? ["-y", spec] : [spec]),
    because: `The description names the package ${spec}, run by ${command}.`,
    warnings: [
      ...(reference && !reference.pinned ? [floating(reference.name)] : []),
      ...(npm === undefined && python === undefined ? [`${spec} may be on PyPI or on npm: check which.`] : []),
    ],
  };
}

function floating(name: string): string {
  return `${name} is not pinned: each start may run another version. Add the exact version that you tried.`;
}

function stdio(command: string, args: string[]): ShownLaunch {
  return shownLaunchSchema.parse({ kind: "stdio", command, args });
}

/** Words such as GITHUB_TOKEN, in the order in which they come. */
export function variableNamesOf(text: string): string[] {
  const found = [...text.matchAll(/(?<![\w/.-])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?![\w/-])/g)].map(
    ([, name = ""]) => name,
  );
  return [...new Set(found)];
}

/** `GITHUB_TOKEN` → `githubToken`. */
export function configKey(name: string): string {
  return name.toLowerCase().replaceAll(/[_.-]+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function propertyFor(name: string, secret = looksSecret(name)): Property {
  const readable = name
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replaceAll(/[_.-]+/g, " ")
    .toLowerCase();
  const number = /(?:^|_)(?:PORT|TIMEOUT|LIMIT|COUNT|SIZE|SECONDS|MAX|MIN)$/i.test(name);
  const flag = /^(?:ENABLE|DISABLE|USE|IS|ALLOW)_|(?:^|_)(?:DEBUG|ENABLED|VERBOSE)$/i.test(name);
  const address = /(?:^|_)(?:URL|URI|ENDPOINT)$/i.test(name);
  return {
    type: secret ? "string" : number ? "integer" : flag ? "boolean" : "string",
    ...(address && !secret && { format: "uri" }),
    description: `The ${readable}, given to the server as ${name}.`,
    ...(secret && { writeOnly: true }),
  };
}

function objectSchema(properties: Record<string, unknown>, required: string[]): Record<string, unknown> {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    properties,
    ...(required.length > 0 && { required: [...new Set(required)] }),
    additionalProperties: false,
  };
}

/** The launch with these variables taken from the configuration; a value that is there gives way. */
function withVariables(launch: ShownLaunch, names: string[]): ShownLaunch {
  const place = (variables: ShownVariable[]): ShownVariable[] => [
    ...variables.filter(({ name }) => !names.includes(name)),
    ...names.map((name) => ({ name, value: `\${config.${configKey(name)}}`, secret: false })),
  ];
  if (launch.kind !== "remote") return { ...launch, env: place(launch.env) };
  return { ...launch, headers: place(launch.headers) };
}
