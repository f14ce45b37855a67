/** Begins what has a name unless it is under way: who asks meanwhile waits for the same. */
export function oneStart<Result>(
  underWay: Map<string, Promise<Result>>,
  name: string,
  begin: () => Promise<Result>,
): Promise<Result> {
  const current = underWay.get(name);
  if (current) return current;
  const begun = begin().finally(() => underWay.delete(name));
  underWay.set(name, begun);
  return begun;
}
