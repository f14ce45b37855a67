import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { featuresOf, unknownFeatures } from "@toolyard/schema/linked-features.ts";
import type { DocumentNode } from "graphql";

/**
 * Checks that a supergraph can be executed: a feature for execution or security that is not understood would be
 * ignored, and answers would be wrong, or more than callers may have.
 *
 * @throws ToolyardError BAD_USER_INPUT saying what to do
 */
export function checkSupergraphFeatures(document: DocumentNode): void {
  const features = featuresOf(document);
  const join = features.find(({ url }) => url.startsWith("https://specs.apollo.dev/join/"));
  if (!join) {
    throw unusable(
      "This is not a supergraph: its schema links no join specification. Give the result of a composition, not a subgraph's schema or an API schema",
    );
  }
  if (join.url.endsWith("/v0.1") || join.url.endsWith("/v0.2")) {
    const version = join.url.endsWith("/v0.1") ? "Federation 1" : "an early version of Federation 2";
    throw unusable(
      `This supergraph was composed by ${version} (${join.url}). Compose its subgraphs anew with Federation 2.3 or later`,
    );
  }
  const unknown = unknownFeatures(document);
  if (unknown.length > 0) {
    const told = unknown.map(({ url, purpose }) => `${url} (for: ${String(purpose)})`).join(", ");
    throw unusable(
      `This supergraph needs features that this gateway does not have: ${told}. Leave it out of the subgraphs and compose them anew`,
    );
  }
}

function unusable(problem: string): ToolyardError {
  return new ToolyardError("BAD_USER_INPUT", `${problem}.`);
}
