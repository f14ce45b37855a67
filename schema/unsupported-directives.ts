import { Kind, visit, type ConstDirectiveNode, type DirectiveNode, type DocumentNode } from "graphql";
import { unknownFeatures } from "./linked-features.ts";

export interface UnsupportedDirective {
  /** As its specification names it. */
  name: string;
  subgraph: string;
  nodes: readonly DirectiveNode[];
}

/** Federation's own directives that it composes into a feature of another name. */
const OF_FEDERATION: Readonly<Record<string, readonly string[]>> = { context: ["context", "fromContext"] };

/**
 * The directives of subgraphs that made a supergraph need unsupported features, so that the author who composes gets the error, not the
 * operator who serves. A feature whose directives are not found is reported for all subgraphs, as "".
 */
export function unsupportedDirectives(
  supergraph: DocumentNode,
  subgraphs: readonly { name: string; typeDefs: DocumentNode }[],
): UnsupportedDirective[] {
  return unknownFeatures(supergraph).flatMap(({ url }) => {
    const feature = specOf(url);
    const found = subgraphs.flatMap(({ name: subgraph, typeDefs }): UnsupportedDirective[] => {
      const names = localNames(typeDefs, feature);
      const uses = new Map<string, DirectiveNode[]>();
      visit(typeDefs, {
        Directive(node) {
          const name = names(node.name.value);
          if (name !== null) uses.set(name, [...(uses.get(name) ?? []), node]);
        },
      });
      return [...uses].map(([name, nodes]) => ({ name, subgraph, nodes }));
    });
    return found.length > 0 ? found : [{ name: feature, subgraph: "", nodes: [] }];
  });
}

/** The feature's directive that a name in a subgraph's schema stands for (https://specs.apollo.dev/link/v1.0/); else null. */
function localNames({ definitions }: DocumentNode, feature: string): (local: string) => string | null {
  const names = new Map<string, string>();
  const prefixes: string[] = [];
  for (const link of definitions.flatMap(linksOf)) {
    const spec = specOf(textOf(link, "url") ?? "");
    const wanted = spec === "federation" ? (OF_FEDERATION[feature] ?? []) : spec === feature ? null : [];
    const isWanted = (name: string) => wanted === null || wanted.includes(name);
    const prefix = textOf(link, "as") ?? spec;
    if (wanted === null) {
      names.set(prefix, feature);
      prefixes.push(prefix);
    } else for (const name of wanted) names.set(`${prefix}__${name}`, name);
    for (const [name, local] of importsOf(link)) if (isWanted(name)) names.set(local, name);
  }
  return (local) =>
    names.get(local) ?? prefixes.flatMap((prefix) => (local.startsWith(`${prefix}__`) ? [local] : []))[0] ?? null;
}

function linksOf(definition: DocumentNode["definitions"][number]): ConstDirectiveNode[] {
  if (definition.kind !== Kind.SCHEMA_DEFINITION && definition.kind !== Kind.SCHEMA_EXTENSION) return [];
  return (definition.directives ?? []).filter(({ name }) => name.value === "link");
}

/** Imported directives and their names here: `"@key"`, or `{name: "@key", as: "@primaryKey"}`. */
function importsOf(link: ConstDirectiveNode): [name: string, local: string][] {
  const list = link.arguments?.find(({ name }) => name.value === "import")?.value;
  return (list?.kind === Kind.LIST ? list.values : []).flatMap((item): [string, string][] => {
    if (item.kind === Kind.STRING) return [[bare(item.value), bare(item.value)]];
    if (item.kind !== Kind.OBJECT) return [];
    const text = (field: string) => {
      const value = item.fields.find(({ name }) => name.value === field)?.value;
      return value?.kind === Kind.STRING ? bare(value.value) : undefined;
    };
    const name = text("name");
    return name === undefined ? [] : [[name, text("as") ?? name]];
  });
}

function bare(name: string): string {
  return name.replace(/^@/, "");
}

function textOf(directive: ConstDirectiveNode, name: string): string | null {
  const value = directive.arguments?.find((argument) => argument.name.value === name)?.value;
  return value?.kind === Kind.STRING ? value.value : null;
}

/** `context` of `https://specs.apollo.dev/context/v0.1`. */
function specOf(url: string): string {
  return /\/([^/]+)\/v\d+\.\d+\/?$/.exec(url)?.[1] ?? "";
}
