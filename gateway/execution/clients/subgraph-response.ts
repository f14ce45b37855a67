import { isObject } from "@toolyard/service-kit/json.ts";
import type { SubgraphError, SubgraphResponse } from "./subgraph-client.ts";

/** @returns null when it is not a GraphQL response. */
export function parseSubgraphResponse(value: unknown): SubgraphResponse | null {
  if (!isObject(value)) return null;
  const { data, errors } = value;
  if (data === undefined && !Array.isArray(errors)) return null;
  if (data !== undefined && data !== null && !isObject(data)) return null;
  if (errors === undefined || errors === null) return { data };
  if (!Array.isArray(errors) || (errors.length === 0 && data === undefined)) return null;
  return { data, errors: errors.map(parseError) };
}

function parseError(value: unknown): SubgraphError {
  if (!isObject(value)) return { message: "An error that is not described." };
  const { message, path, extensions } = value;
  const isPath = Array.isArray(path) && path.every((key) => typeof key === "string" || typeof key === "number");
  return {
    message: typeof message === "string" ? message : "An error without a message.",
    ...(isPath && { path }),
    ...(isObject(extensions) && { extensions }),
  };
}
