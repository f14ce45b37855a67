import { readFileSync } from "node:fs";
import { join } from "node:path";
import { withLimits } from "@toolyard/launch/limits-sdl.ts";
import { withRuntimes } from "@toolyard/runtimes/registry.ts";

/** Definitions that several subgraphs share, by file. */
const PIECES = {
  shared: "schema/shared.graphql",
  launch: "packages/launch/launch.graphql",
  launchInput: "packages/launch/launch-input.graphql",
  routes: "packages/routes/routes.graphql",
  tasks: "packages/tasks/task.graphql",
} as const;

/** Toolyard's subgraphs, in the order of the supergraph's join__Graph, and the shared pieces each takes. */
export const SUBGRAPHS = [
  { name: "identity", pieces: ["shared"] },
  { name: "tools", pieces: ["shared", "launch", "launchInput"] },
  { name: "knowledge", pieces: ["shared"] },
  { name: "analysis", pieces: ["shared", "launch", "tasks"] },
  { name: "deployments", pieces: ["shared", "routes"] },
] as const;

/** A subgraph's whole SDL: its own `schema.graphql` and the shared pieces, the limits of launches and the runtimes put in. */
export function assembleSubgraph(root: string, { name, pieces }: (typeof SUBGRAPHS)[number]): string {
  const files = [...pieces.map((piece) => join(root, PIECES[piece])), join(root, "subgraphs", name, "schema.graphql")];
  return withRuntimes(withLimits(files.map((file) => readFileSync(file, "utf8").trim()).join("\n\n") + "\n"));
}
