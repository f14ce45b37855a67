import { composeServices } from "@apollo/composition";
import { GraphQLError, Source, parse, type ASTNode, type DocumentNode } from "graphql";
import type { CompositionProblem, ProblemLocation } from "./composition-problem.ts";
import { unsupportedDirectives } from "./unsupported-directives.ts";

/** A subgraph's schema and URL. */
export interface SubgraphSdl {
  name: string;
  /** Goes into the supergraph. */
  url: string;
  sdl: string;
  /** The file or URL that the SDL is from; null where it was given as such. */
  origin: string | null;
}

export type Composition =
  | { supergraphSdl: string; hints: readonly CompositionProblem[] }
  | { errors: readonly [CompositionProblem, ...CompositionProblem[]] };

/** Composes subgraphs into a Federation 2 supergraph, upgrading Federation 1 schemas. Never throws for a schema's faults. */
export function compose(subgraphs: readonly SubgraphSdl[]): Composition {
  const definitions: { name: string; url: string; typeDefs: DocumentNode }[] = [];
  const failures: CompositionProblem[] = [];
  for (const subgraph of subgraphs) {
    try {
      const typeDefs = parse(new Source(subgraph.sdl, subgraph.name));
      definitions.push({ name: subgraph.name, url: subgraph.url, typeDefs });
    } catch (error) {
      if (!(error instanceof GraphQLError)) throw error;
      failures.push(unparsable(subgraph, error));
    }
  }
  const [firstFailure, ...otherFailures] = failures;
  if (firstFailure) return { errors: [firstFailure, ...otherFailures] };
  const { supergraphSdl, errors, hints } = composeServices(definitions);
  const byName = new Map(subgraphs.map((subgraph) => [subgraph.name, subgraph]));
  if (errors || !supergraphSdl) {
    const [first, ...others] = (errors ?? []).map(({ message, extensions, nodes }): CompositionProblem => ({
      code: typeof extensions["code"] === "string" ? extensions["code"] : "UNKNOWN",
      message,
      locations: locationsOf(nodes, byName),
    }));
    return {
      errors: [first ?? { code: "UNKNOWN", message: "Composition gave no supergraph.", locations: [] }, ...others],
    };
  }
  const unsupported = unsupportedDirectives(parse(supergraphSdl), definitions).map(
    ({ name, subgraph, nodes }): CompositionProblem => ({
      code: "UNSUPPORTED_DIRECTIVE",
      message: `${subgraph === "" ? "" : `[${subgraph}] `}@${name} is not supported: the gateway does not have what it asks for. Leave it out`,
      locations: locationsOf(nodes, byName),
    }),
  );
  const [firstUnsupported, ...otherUnsupported] = unsupported;
  if (firstUnsupported) return { errors: [firstUnsupported, ...otherUnsupported] };
  return {
    supergraphSdl,
    hints: hints.map(({ definition, message, nodes }) => ({
      code: definition.code,
      message,
      locations: locationsOf(nodes, byName),
    })),
  };
}

function unparsable(subgraph: SubgraphSdl, error: GraphQLError): CompositionProblem {
  const { name, origin } = subgraph;
  return {
    code: "INVALID_GRAPHQL",
    message: `[${name}] ${error.message}`,
    locations: (error.locations ?? []).map(({ line, column }) => ({ subgraph: name, origin, line, column })),
  };
}

/** The places of nodes from a subgraph's SDL: composition names others, too, such as its own additions. */
function locationsOf(
  nodes: readonly ASTNode[] | undefined,
  byName: ReadonlyMap<string, SubgraphSdl>,
): ProblemLocation[] {
  return (nodes ?? []).flatMap(({ loc }) => {
    const subgraph = loc && byName.get(loc.source.name);
    if (!subgraph || loc.source.body !== subgraph.sdl) return [];
    const { line, column } = loc.startToken;
    return [{ subgraph: subgraph.name, origin: subgraph.origin, line, column }];
  });
}
