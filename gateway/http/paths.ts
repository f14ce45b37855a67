import { ToolyardError } from "@toolyard/service-kit";

/** The path of the graph. */
export const GRAPHQL_PATH = "/graphql";
/** The path at which clients of graphql-sse reserve streams. */
export const STREAM_PATH = "/graphql/stream";
/** The page for people about REST. */
export const API_DOCS_PATH = "/api/docs";

/** For a path that is nobody's. @param hasRest Whether this is Toolyard's own graph; @param prefix The path of PUBLIC_URL */
export function nothingHere(path: string, { prefix, hasRest }: { prefix: string; hasRest: boolean }): ToolyardError {
  const graph = `The graph is at ${prefix}${GRAPHQL_PATH}`;
  const rest = `REST is described at ${prefix}${API_DOCS_PATH}`;
  const hint = !hasRest ? graph : /^\/api(?:\/|$)/.test(path) ? rest : `${graph}, ${rest}`;
  return new ToolyardError("NOT_FOUND", `There is nothing here. ${hint}.`);
}
