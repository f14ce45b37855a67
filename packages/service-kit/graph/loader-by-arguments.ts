import DataLoader from "dataloader";

/** Loads a field with arguments for many parents at once: one batch for each set of arguments, since one selection gives all its parents the same. */
export interface LoaderByArguments<Arguments, Value> {
  load(parent: string, args: Arguments): Promise<Value>;
}

/** Rows that are made into objects and resolved as one piece of work, which holds the event loop for some milliseconds. */
export const ROWS_AT_ONCE = 600;

/**
 * @param read Answers in the order of `parents`
 * @param args JSON values
 * @param rowsOf How many rows of each parent `read` may have to read: parents are batched up to ROWS_AT_ONCE rows
 */
export function createLoaderByArguments<Arguments extends object, Value>(
  read: (parents: readonly string[], args: Arguments) => Promise<Value[]>,
  rowsOf: (args: Arguments) => number = () => 1,
): LoaderByArguments<Arguments, Value> {
  const loaders = new Map<string, DataLoader<string, Value>>();
  return {
    load(parent, args) {
      const key = JSON.stringify(Object.entries(args).toSorted(([a], [b]) => (a < b ? -1 : 1)));
      const maxBatchSize = Math.max(1, Math.floor(ROWS_AT_ONCE / rowsOf(args)));
      const loader = loaders.get(key) ?? new DataLoader((parents) => read(parents, args), { maxBatchSize });
      loaders.set(key, loader);
      return loader.load(parent);
    },
  };
}
