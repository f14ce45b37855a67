import DataLoader from "dataloader";

/** Loads values by key, those asked for in one tick together, and each only once. */
export type Loader<Key, Value> = Pick<DataLoader<Key, Value>, "load">;

/** Rows that are made into objects and resolved as one piece of work, which holds the event loop for some milliseconds. */
export const ROWS_AT_ONCE = 600;

/**
 * @param read Answers in the order of the keys, with an error for a key that has no value.
 * @param options.rowsOfEach How many rows `read` may have to read for each key: keys are batched up to ROWS_AT_ONCE rows. @default 1
 * @param options.keeps Whether what was read is answered again, without reading it anew. @default true
 * @param options.idOf What makes two keys the same. @default the key itself
 */
export function createLoader<Key, Value>(
  read: (keys: readonly Key[]) => Promise<(Value | Error)[]>,
  { rowsOfEach = 1, keeps = true, idOf }: { rowsOfEach?: number; keeps?: boolean; idOf?: (key: Key) => string } = {},
): Loader<Key, Value> {
  const maxBatchSize = Math.max(1, Math.floor(ROWS_AT_ONCE / rowsOfEach));
  // As with DataLoader's own default, keys without an id are their own.
  return new DataLoader<Key, Value, unknown>(read, { maxBatchSize, cache: keeps, ...(idOf && { cacheKeyFn: idOf }) });
}
