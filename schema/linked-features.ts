import { Kind, type ConstDirectiveNode, type DocumentNode } from "graphql";

/** The specifications (https://specs.apollo.dev/…) that execution understands, with their versions. */
const understood: Readonly<Record<string, readonly string[]>> = {
  link: ["v1.0"],
  core: ["v0.2"],
  join: ["v0.3", "v0.4", "v0.5"],
  tag: ["v0.1", "v0.2", "v0.3"],
  inaccessible: ["v0.1", "v0.2"],
  authenticated: ["v0.1"],
  requiresScopes: ["v0.1"],
  policy: ["v0.1"],
  cost: ["v0.1"],
};

/** As URLs, for a planner that checks them itself. */
export const understoodFeatures: ReadonlySet<string> = new Set(
  Object.entries(understood).flatMap(([name, versions]) =>
    versions.map((version) => `https://specs.apollo.dev/${name}/${version}`),
  ),
);

/** A specification that a schema links. */
export interface Feature {
  url: string;
  /** `EXECUTION` or `SECURITY`: software that does not understand it must not go on. */
  purpose: string | null;
}

/** Of a supergraph or a subgraph's schema. */
export function featuresOf({ definitions }: DocumentNode): Feature[] {
  return definitions.flatMap((definition) => {
    if (definition.kind !== Kind.SCHEMA_DEFINITION && definition.kind !== Kind.SCHEMA_EXTENSION) return [];
    return (definition.directives ?? []).flatMap((directive) => {
      if (directive.name.value !== "link" && directive.name.value !== "core") return [];
      const url = argumentOf(directive, "url") ?? argumentOf(directive, "feature");
      return url === null ? [] : [{ url: url.replace(/\/$/, ""), purpose: argumentOf(directive, "for") }];
    });
  });
}

function argumentOf(directive: ConstDirectiveNode, name: string): string | null {
  const value = directive.arguments?.find((argument) => argument.name.value === name)?.value;
  return value?.kind === Kind.STRING || value?.kind === Kind.ENUM ? value.value : null;
}

/** Unknown features for execution or security: ignored, they would make answers wrong, or more than callers may have. */
export function unknownFeatures(document: DocumentNode): Feature[] {
  return featuresOf(document).filter(({ url, purpose }) => purpose !== null && !understoodFeatures.has(url));
}
