import { dirname, resolve } from "node:path";
import { inWords, ToolyardError, messageOf, type Environment } from "@toolyard/service-kit";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { expandVariables, type VariableSources } from "./variable-expansion.ts";

/** rover's `supergraph.yaml`: the supergraph's subgraphs, and the sources of their schemas. */
export interface SupergraphConfig {
  /** As written, such as `2` or `=2.9.0`; null when left out. */
  federationVersion: string | null;
  /** By name, so that the order in the file does not matter. */
  subgraphs: readonly ConfiguredSubgraph[];
}

export interface ConfiguredSubgraph {
  name: string;
  /** The URL at which the gateway asks it. */
  routingUrl: string;
  schema: SchemaSource;
}

export type SchemaSource =
  | { kind: "file"; /** Absolute. */ path: string }
  | { kind: "introspection"; url: string; headers: Readonly<Record<string, string>> }
  | { kind: "inline"; sdl: string };

/** The reason why a supergraph.yaml cannot be used. */
function unusable(file: string, what: string, cause?: unknown): ToolyardError {
  return new ToolyardError("BAD_USER_INPUT", `${file} cannot be used:${what}`, { cause });
}

const text = z.string("must be a string").min(1, "must not be empty");
const httpUrl = text.refine(
  (url) => /^https?:/.test(url) && URL.canParse(url),
  "must be a URL, as http://localhost:4001/graphql",
);
/** Names the expected type where a value has another one; other problems describe themselves. */
const unless = (what: string) => ({
  error: ({ code }: { code?: string | undefined }) => (code === "invalid_type" ? what : undefined),
});
const subgraph = z.strictObject(
  {
    routing_url: httpUrl.nullish(),
    // Told apart by its keys, for a message that helps.
    schema: z.record(z.string(), z.unknown(), "must say where the schema is: `file`, `subgraph_url` or `sdl`"),
  },
  unless("must have `routing_url` and `schema`"),
);
const shape = z.strictObject(
  {
    federation_version: z.union([z.string(), z.number()], "must be 2, or as =2.9.0").nullish(),
    subgraphs: z.record(z.string(), subgraph, unless("must be subgraphs by name")),
  },
  unless("must have `subgraphs`"),
);
const sources = {
  file: z.strictObject({ file: text }),
  subgraph_url: z.strictObject({
    subgraph_url: httpUrl,
    introspection_headers: z.record(z.string(), z.coerce.string(), "must be headers by name").nullish(),
  }),
  sdl: z.strictObject({ sdl: text }),
};

/**
 * Reads a supergraph.yaml (https://www.apollographql.com/docs/rover/commands/supergraphs#yaml-configuration-file): files relative to it,
 * `${env.NAME}` and `${file.PATH}` replaced in every value.
 * @param options.file The file of `yaml`
 * @throws ToolyardError BAD_USER_INPUT with all problems
 */
export function parseSupergraphConfig(
  yaml: string,
  options: { file: string; env: Environment; readFile?: VariableSources["readFile"] },
): SupergraphConfig {
  const { file } = options;
  const folder = dirname(resolve(file));
  let value: unknown;
  try {
    value = expandVariables(parseYaml(yaml), { env: options.env, folder, readFile: options.readFile });
  } catch (error) {
    throw unusable(file, ` ${messageOf(error)}`, error);
  }
  const parsed = shape.safeParse(value, { error: inWords });
  if (!parsed.success) throw unusable(file, listed(issuesOf(parsed.error, [])));
  const version = parsed.data.federation_version;
  const federationVersion = version === null || version === undefined ? null : String(version);
  const problems: string[] = [];
  if (federationVersion !== null && !/^(=?v?2(\.\d+)*(-[\w.]+)?|latest-2)$/.test(federationVersion))
    problems.push(
      `\`federation_version\` is ${federationVersion}: only Federation 2 is composed here. Write \`federation_version: 2\`, subgraphs of Federation 1 are upgraded`,
    );
  const names = Object.keys(parsed.data.subgraphs).sort();
  if (names.length === 0) problems.push("`subgraphs` is empty");
  const subgraphs: ConfiguredSubgraph[] = [];
  for (const name of names) {
    const given = parsed.data.subgraphs[name];
    const source = sourceOf(name, given?.schema ?? {}, folder);
    if ("problems" in source) {
      problems.push(...source.problems);
      continue;
    }
    const routingUrl = given?.routing_url ?? (source.kind === "introspection" ? source.url : null);
    if (routingUrl === null)
      problems.push(`\`subgraphs.${name}.routing_url\` is missing: it says where the gateway asks this subgraph`);
    else subgraphs.push({ name, routingUrl, schema: source });
  }
  if (problems.length > 0) throw unusable(file, listed(problems));
  return { federationVersion, subgraphs };
}

function sourceOf(
  name: string,
  schema: Record<string, unknown>,
  folder: string,
): SchemaSource | { problems: readonly string[] } {
  const path = ["subgraphs", name, "schema"];
  const where = `\`${path.join(".")}\``;
  if ("graphref" in schema)
    return {
      problems: [
        `${where} names a graph of Apollo GraphOS (\`graphref\`), which is not asked here. Save its schema to a file (\`rover subgraph fetch\`) and name that: \`file: ./${name}.graphql\``,
      ],
    };
  const kinds = (["file", "subgraph_url", "sdl"] as const).filter((key) => key in schema);
  const [kind] = kinds;
  if (kind === undefined || kinds.length > 1)
    return { problems: [`${where} must have one of \`file\`, \`subgraph_url\` and \`sdl\``] };
  if (kind === "file") {
    const { success, data, error } = sources.file.safeParse(schema, { error: inWords });
    return success ? { kind: "file", path: resolve(folder, data.file) } : { problems: issuesOf(error, path) };
  }
  if (kind === "sdl") {
    const { success, data, error } = sources.sdl.safeParse(schema, { error: inWords });
    return success ? { kind: "inline", sdl: data.sdl } : { problems: issuesOf(error, path) };
  }
  const { success, data, error } = sources.subgraph_url.safeParse(schema, { error: inWords });
  if (!success) return { problems: issuesOf(error, path) };
  return { kind: "introspection", url: data.subgraph_url, headers: data.introspection_headers ?? {} };
}

function issuesOf(error: z.ZodError, path: readonly string[]): string[] {
  return error.issues.map((issue) => {
    const where = [...path, ...issue.path].join(".");
    return where === "" ? `it ${issue.message}` : `\`${where}\`: ${issue.message}`;
  });
}

function listed(problems: readonly string[]): string {
  return problems.length === 1 ? ` ${problems[0]}.` : `\n${problems.map((problem) => `- ${problem}.`).join("\n")}`;
}
