import DataLoader from "dataloader";

/** Loads a field with arguments for many parents at once: a batch for each set of arguments, which one selection gives to all its parents. */
export interface LoaderByArguments<Arguments, Value> {
  load(parent: string, args: Arguments): Promise<Value>;
}

/** @param read Answers in the order of `parents`. @param args JSON values. */
export function createLoaderByArguments<Arguments extends object, Value>(
  read: (parents: readonly string[], args: Arguments) => Promise<Value[]>,
): LoaderByArguments<Arguments, Value> {
  const loaders = new Map<string, DataLoader<string, Value>>();
  return {
    load(parent, args) {
      const key = JSON.stringify(Object.entries(args).toSorted(([a], [b]) => (a < b ? -1 : 1)));
      const loader = loaders.get(key) ?? new DataLoader((parents) => read(parents, args));
      loaders.set(key, loader);
      return loader.load(parent);
    },
  };
}
