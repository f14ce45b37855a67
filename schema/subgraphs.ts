import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Toolyard's subgraphs, in the order of the supergraph's join__Graph, and the shared pieces each takes. */
export const SUBGRAPHS = [
  { name: "identity", pieces: ["shared"] },
  { name: "tools", pieces: ["shared", "launch"] },
  { name: "knowledge", pieces: ["shared"] },
  { name: "analysis", pieces: ["shared", "launch"] },
  { name: "deployments", pieces: ["shared"] },
] as const;

/** A subgraph's whole SDL: its own `schema.graphql` and the shared pieces. */
export function assembleSubgraph(root: string, { name, pieces }: (typeof SUBGRAPHS)[number]): string {
  const files = [
    ...pieces.map((piece) => join(root, "schema", `${piece}.graphql`)),
    join(root, "subgraphs", name, "schema.graphql"),
  ];
  return files.map((file) => readFileSync(file, "utf8").trim()).join("\n\n") + "\n";
}
