import { templatesOf, variablesOf, type ShownLaunch } from "@toolyard/launch";
import { placeholderKeys } from "@toolyard/launch/placeholders.ts";
import type { Evidence, ToolEvidence } from "../evidence.ts";
import type { Finding, Severity } from "../reports.ts";
import { packageOf, parseImage, programName } from "./package-reference.ts";
import { isPlaceholder, looksSecret } from "./secret-names.ts";

const SHELLS = ["sh", "bash", "dash", "zsh", "ksh", "fish", "cmd", "powershell", "pwsh"];
/** Shapes of well-known tokens: GitHub, GitLab, OpenAI-like, Slack, AWS, Google, JWT. */
const TOKEN =
  /(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,})/;

export function finding(severity: Severity, title: string, detail: string, location: string | null = null): Finding {
  return { severity, title, detail, location, citations: [] };
}

/** The risks in a tool's launch. Never names a value, only its place. */
export function launchRisks(evidence: Evidence & { tool: ToolEvidence }): Finding[] {
  const { tool } = evidence;
  return [
    ...programRisks(tool.launch),
    ...imageRisks(tool.launch),
    ...remoteRisks(tool.launch),
    ...argumentSecrets(tool.launch),
    ...variableSecrets(tool),
    ...configurationRisks(tool),
    ...operationRisks(tool.launch),
  ];
}

function programRisks(launch: ShownLaunch): Finding[] {
  if (launch.kind !== "stdio" && launch.kind !== "http") return [];
  const { command, args } = launch;
  const found: Finding[] = [];
  const name = programName(command);
  if (SHELLS.includes(name))
    found.push(
      finding(
        "HIGH",
        "A shell is the command",
        `${name} interprets its text: quoting mistakes become commands, and signals may not reach the server. Name the program itself and pass arguments one by one.`,
        "launch.command",
      ),
    );
  if (name === "sudo" || name === "doas")
    found.push(
      finding(
        "HIGH",
        "The server asks for more rights",
        `${name} gives the server rights that it should not need.`,
        "launch.command",
      ),
    );
  if (name === "docker" || name === "podman")
    found.push(
      finding(
        "MEDIUM",
        "A container is started from a process",
        `Toolyard cannot stop or limit the container that ${name} starts. Use an image launch instead.`,
        "launch.command",
      ),
    );
  const reference = packageOf(command, args);
  if (reference && !reference.pinned)
    found.push(
      finding(
        "MEDIUM",
        "The package floats",
        `${reference.name} from ${reference.registry} is not pinned to an exact version: each start may run other code than was tried. Write ${
          reference.registry === "npm" ? `${reference.name}@1.2.3` : `${reference.name}==1.2.3`
        } with the version you tried.`,
        `launch.args.${reference.argIndex}`,
      ),
    );
  return found;
}

function imageRisks(launch: ShownLaunch): Finding[] {
  if (launch.kind !== "image") return [];
  const image = parseImage(launch.image);
  if (!image)
    return [
      finding("HIGH", "The image's name is not valid", "It has no form such as registry/name:tag.", "launch.image"),
    ];
  if (image.digest) return [];
  if (image.tag === null || image.tag === "latest")
    return [
      finding(
        "MEDIUM",
        "The image floats",
        `${image.name} has ${image.tag === null ? "no tag, which means latest" : "the tag latest"}: each start may run other code than was tried. Name a version, best a digest.`,
        "launch.image",
      ),
    ];
  return [
    finding(
      "INFO",
      "The image's tag may move",
      "Only a digest (@sha256:…) always names the same image.",
      "launch.image",
    ),
  ];
}

function remoteRisks(launch: ShownLaunch): Finding[] {
  if (launch.kind !== "remote") return [];
  const url = URL.parse(launch.url);
  if (!url)
    return [
      finding(
        "HIGH",
        "The address is not a URL",
        "A remote server needs an address such as https://host/mcp.",
        "launch.url",
      ),
    ];
  const found: Finding[] = [];
  const loopback = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol === "http:" && !loopback)
    found.push(
      finding(
        "HIGH",
        "The remote server is called without encryption",
        "Credentials and answers cross the network in the clear. Use https.",
        "launch.url",
      ),
    );
  if (loopback)
    found.push(
      finding(
        "LOW",
        "The remote server is on this host",
        "Other hosts of this installation cannot reach it.",
        "launch.url",
      ),
    );
  if (url.username || url.password)
    found.push(
      finding(
        "CRITICAL",
        "The address holds credentials",
        "Every reader of the tool sees them. Put them into a secret header.",
        "launch.url",
      ),
    );
  if (!launch.urlSecret && url.search !== "")
    found.push(
      finding(
        "MEDIUM",
        "The address has a query",
        "It may hold a key. Set urlSecret, which seals the address.",
        "launch.url",
      ),
    );
  return found;
}

function argumentSecrets(launch: ShownLaunch): Finding[] {
  if (launch.kind === "remote") return [];
  return launch.args.flatMap((arg, index) => {
    const [option = "", inline] = arg.split(/=(.*)/s);
    const value = inline ?? (option.startsWith("-") ? launch.args[index + 1] : undefined);
    const named = option.startsWith("-") && looksSecret(option) && value !== undefined && !value.startsWith("-");
    const held = named && placeholderKeys(value).length === 0;
    if (!TOKEN.test(arg) && !held) return [];
    const detail =
      "Arguments are shown to everybody who may read the tool, and command lines to everybody on the host. Use a secret variable.";
    return [finding("CRITICAL", "An argument seems to hold a secret", detail, `launch.args.${index}`)];
  });
}

function variableSecrets(tool: ToolEvidence): Finding[] {
  const place = tool.launch.kind === "remote" ? "launch.headers" : "launch.env";
  return variablesOf(tool.launch).flatMap(({ name, value, secret }) => {
    if (secret || !looksSecret(name) || tool.placeholderVariables.includes(name)) return [];
    if (value !== null && isPlaceholder(value)) return [];
    const seen = value !== null || tool.plainVariables.includes(name);
    const detail = seen
      ? "By its name it holds a secret, but it is kept as plain text. Mark it secret, or take it from the configuration by ${config.key}."
      : "By its name it may hold a secret, and it is not marked as one. Its value could not be seen here.";
    return [finding(seen ? "HIGH" : "MEDIUM", `${name} is not marked secret`, detail, `${place}.${name}`)];
  });
}

function configurationRisks(tool: ToolEvidence): Finding[] {
  const { properties, required } = schemaOf(tool.configSchema);
  const used = new Set(templatesOf(tool.launch).flatMap(placeholderKeys));
  const undeclared = [...used].filter(
    (key) => !Object.hasOwn(properties, key) && !Object.hasOwn(properties, key.split(".")[0] ?? key),
  );
  const found = undeclared.map((key) =>
    finding(
      "HIGH",
      `config.${key} is used but not declared`,
      "The configuration's schema has no such property: nobody is asked for it.",
      "configSchema",
    ),
  );
  for (const [key, property] of Object.entries(properties)) {
    const writeOnly =
      typeof property === "object" && property !== null && "writeOnly" in property && property.writeOnly === true;
    if (looksSecret(key) && !writeOnly)
      found.push(
        finding(
          "MEDIUM",
          `config.${key} is not writeOnly`,
          "By its name it holds a secret: with `writeOnly: true` it is sealed and never shown.",
          `configSchema.properties.${key}`,
        ),
      );
  }
  for (const key of required) {
    if (!Object.hasOwn(properties, key))
      found.push(
        finding(
          "LOW",
          `config.${key} is required but not described`,
          "Give it a type and a description.",
          "configSchema.required",
        ),
      );
  }
  return found;
}

/** The parts of a JSON Schema of an object that the rules look at. */
export function schemaOf(configSchema: unknown): { properties: Record<string, unknown>; required: string[] } {
  if (typeof configSchema !== "object" || configSchema === null) return { properties: {}, required: [] };
  const properties = "properties" in configSchema ? configSchema.properties : null;
  const required = "required" in configSchema && Array.isArray(configSchema.required) ? configSchema.required : [];
  return {
    properties: typeof properties === "object" && properties !== null ? { ...properties } : {},
    required: required.filter((key) => typeof key === "string"),
  };
}

function operationRisks(launch: ShownLaunch): Finding[] {
  const { health, resources, maxConcurrentCalls } = launch.options;
  const found: Finding[] = [];
  const local = launch.kind !== "remote";
  if (health.livenessPath === null && health.readinessPath === null) {
    found.push(
      launch.kind === "stdio"
        ? finding(
            "INFO",
            "Health is checked by MCP calls",
            "No health configuration is set: each probe is a real call of the server, which is right for most.",
            "launch.options.health",
          )
        : finding(
            "LOW",
            "No health configuration",
            "Each probe is a real MCP call. Where the server has a health address, livenessPath and readinessPath are cheaper and find hangs sooner.",
            "launch.options.health",
          ),
    );
  }
  if (local && resources === null)
    found.push(
      finding(
        "LOW",
        "No resource limits",
        "A replica may take all memory and processors of its host. Set resources.",
        "launch.options.resources",
      ),
    );
  if (local && maxConcurrentCalls === null)
    found.push(
      finding(
        "INFO",
        "No limit of concurrent calls",
        "Bursts all reach the server at once. Set maxConcurrentCalls where it cannot bear them.",
        "launch.options.maxConcurrentCalls",
      ),
    );
  if (launch.kind === "stdio" && launch.sessions === "SHARED")
    found.push(
      finding(
        "LOW",
        "Sessions share one server process",
        "One user may see state that another left in the server's memory. Keep ISOLATED unless the server holds no state.",
        "launch.sessions",
      ),
    );
  return found;
}
