import { ToolyardError } from "@toolyard/service-kit";

/**
 * Reads what rows name that is kept in MongoDB, apart from them.
 * @param options.read Null where the process has no MongoDB
 * @param options.what Completes "The … in MongoDB"
 * @returns all of them by their ids
 * @throws ToolyardError UPSTREAM_UNAVAILABLE without MongoDB; Error where one is not there
 */
export async function readKeptApart<Value>(options: {
  ids: readonly string[];
  read: ((ids: readonly string[]) => Promise<Map<string, Value>>) | undefined;
  what: string;
}): Promise<(id: string) => Value> {
  const { ids, read, what } = options;
  const found = ids.length === 0 ? new Map<string, Value>() : await read?.(ids);
  if (!found)
    throw new ToolyardError("UPSTREAM_UNAVAILABLE", `The ${what} are in MongoDB, and MONGODB_URL is not set.`);
  const missing = ids.find((id) => !found.has(id));
  if (missing !== undefined)
    throw new Error(`Of the ${what}, ${missing} is not in MongoDB: MONGODB_URL may name another than before.`);
  // Each of the ids is there.
  return (id) => found.get(id) as Value;
}
