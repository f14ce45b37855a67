import { ToolyardError, type Logger } from "@toolyard/service-kit";

/**
 * Reads what rows name that is kept in MongoDB, apart from them.
 * @param options.read Null where the process has no MongoDB
 * @param options.what Completes "The … in MongoDB"
 * @param options.logger Is told once where some are not there
 * @returns a function that reads all of some ids. @throws ToolyardError UPSTREAM_UNAVAILABLE without MongoDB, and where one is not there
 */
export function createApartReader<Value>(options: {
  read: ((ids: readonly string[]) => Promise<Map<string, Value>>) | undefined;
  what: string;
  logger?: Pick<Logger, "error"> | undefined;
}): (ids: readonly string[]) => Promise<(id: string) => Value> {
  const { read, what, logger } = options;
  let isSaid = false;
  return async (ids) => {
    const found = ids.length === 0 ? new Map<string, Value>() : await read?.(ids);
    if (!found)
      throw new ToolyardError("UPSTREAM_UNAVAILABLE", `The ${what} are in MongoDB, and MONGODB_URL is not set.`);
    const missing = ids.filter((id) => !found.has(id));
    if (missing[0] !== undefined) {
      const message =
        `Of the ${what}, ${missing[0]} is not in MongoDB. Toolyard's operator restores the database of MONGODB_URL, ` +
        "or names by it the one that has this content (docs/mongodb.md).";
      if (!isSaid) logger?.error({ missing }, message);
      isSaid = true;
      throw new ToolyardError("UPSTREAM_UNAVAILABLE", message);
    }
    // Each of the ids is there.
    return (id) => found.get(id) as Value;
  };
}
