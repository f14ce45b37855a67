import { readFileSync } from "node:fs";
import { join } from "node:path";
import { composeServices } from "@apollo/composition";
import { parse } from "graphql";

/** The subgraphs, in the order of the supergraph's join__Graph, and the shared pieces each takes. */
export const SUBGRAPHS = [
  { name: "identity", pieces: ["shared"] },
  { name: "tools", pieces: ["shared", "launch"] },
  { name: "knowledge", pieces: ["shared"] },
  { name: "analysis", pieces: ["shared", "launch"] },
  { name: "deployments", pieces: ["shared"] },
] as const;

export type SubgraphName = (typeof SUBGRAPHS)[number]["name"];

export interface Supergraph {
  /** For the gateway. */
  supergraphSdl: string;
  /** What clients see: without @inaccessible and @tag(name: "internal") elements. */
  apiSdl: string;
}

/** A subgraph's whole SDL: its own `schema.graphql` and the shared pieces. */
export function assembleSubgraph(root: string, { name, pieces }: (typeof SUBGRAPHS)[number]): string {
  const files = [
    ...pieces.map((piece) => join(root, "schema", `${piece}.graphql`)),
    join(root, "subgraphs", name, "schema.graphql"),
  ];
  return files.map((file) => readFileSync(file, "utf8").trim()).join("\n\n") + "\n";
}

/** Composes subgraphs' SDL into a supergraph. @throws Error listing every composition error with its code. */
export function composeSupergraph(subgraphs: { name: string; sdl: string; url?: string }[]): {
  supergraphSdl: string;
  hints: string[];
} {
  const { supergraphSdl, errors, hints } = composeServices(
    subgraphs.map(({ name, sdl, url }) => ({ name, url: url ?? "", typeDefs: parse(sdl) })),
  );
  if (errors || !supergraphSdl) {
    const lines = (errors ?? []).map(
      (error) => `- ${error.message}${typeof error.extensions.code === "string" ? ` (${error.extensions.code})` : ""}`,
    );
    throw new Error(`The subgraphs do not compose:\n${lines.join("\n")}`);
  }
  return { supergraphSdl, hints: (hints ?? []).map((hint) => hint.message) };
}
