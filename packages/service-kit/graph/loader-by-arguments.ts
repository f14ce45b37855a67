import { createLoader, type Loader } from "./loader.ts";

/** Loads a field with arguments for many parents at once: one batch for each set of arguments, since one selection gives all its parents the same. */
export interface LoaderByArguments<Arguments, Value> {
  load(parent: string, args: Arguments): Promise<Value>;
}

/**
 * @param read Answers in the order of `parents`
 * @param args JSON values
 * @param rowsOf How many rows of each parent `read` may have to read, as `rowsOfEach` of a loader
 */
export function createLoaderByArguments<Arguments extends object, Value>(
  read: (parents: readonly string[], args: Arguments) => Promise<Value[]>,
  rowsOf: (args: Arguments) => number = () => 1,
): LoaderByArguments<Arguments, Value> {
  const loaders = new Map<string, Loader<string, Value>>();
  return {
    load(parent, args) {
      const key = JSON.stringify(Object.entries(args).toSorted(([a], [b]) => (a < b ? -1 : 1)));
      const loader = loaders.get(key) ?? createLoader((parents) => read(parents, args), { rowsOfEach: rowsOf(args) });
      loaders.set(key, loader);
      return loader.load(parent);
    },
  };
}
