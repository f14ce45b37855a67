import { ToolyardError } from "@toolyard/service-kit";
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

/**
 * Holds a supergraph to what can be executed: a feature that is there for execution or for security and is not understood would be
 * passed over, and answers would be wrong, or more than callers may have.
 *
 * @throws ToolyardError BAD_USER_INPUT saying what to do
 */
export function checkSupergraphFeatures(document: DocumentNode): void {
  const features = featuresOf(document);
  const join = features.find(({ url }) => url.startsWith("https://specs.apollo.dev/join/"));
  if (!join) {
    throw unusable(
      "This is no supergraph: its schema links no join specification. Give the outcome of a composition, not a subgraph's schema or an API schema",
    );
  }
  if (join.url.endsWith("/v0.1") || join.url.endsWith("/v0.2")) {
    const version = join.url.endsWith("/v0.1") ? "Federation 1" : "an early version of Federation 2";
    throw unusable(
      `This supergraph was composed by ${version} (${join.url}). Compose its subgraphs anew with Federation 2.3 or later`,
    );
  }
  const unknown = features.filter(({ url, purpose }) => purpose !== null && !understoodFeatures.has(url));
  if (unknown.length > 0) {
    const told = unknown.map(({ url, purpose }) => `${url} (for: ${String(purpose)})`).join(", ");
    throw unusable(
      `This supergraph needs what this gateway does not have: ${told}. Leave it out of the subgraphs and compose them anew`,
    );
  }
}

interface Feature {
  url: string;
  /** `EXECUTION` or `SECURITY`: who does not understand it must not go on. */
  purpose: string | null;
}

function featuresOf({ definitions }: DocumentNode): Feature[] {
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

function unusable(problem: string): ToolyardError {
  return new ToolyardError("BAD_USER_INPUT", `${problem}.`);
}
