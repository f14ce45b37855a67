import type { ResponsePath } from "./projection.ts";

/** The errors at and below one step of their paths. */
interface Node {
  /** An error's path ends here. */
  isEnd: boolean;
  next: Map<string | number, Node>;
}

/**
 * Whether one of some errors accounts for a null at a path: one at the same place, above or below it. "@" in an error's path, of a field
 * that was left out, stands for any item of a list. Takes time by the path's length, however many errors there are.
 */
export function createErrorPaths(
  errors: readonly { path?: ResponsePath | undefined }[],
): (path: ResponsePath) => boolean {
  const root: Node = { isEnd: false, next: new Map() };
  for (const { path } of errors) {
    if (!path) continue;
    let node = root;
    for (const key of path) {
      let next = node.next.get(key);
      if (!next) node.next.set(key, (next = { isEnd: false, next: new Map() }));
      node = next;
    }
    node.isEnd = true;
  }

  function accounts(node: Node | undefined, path: ResponsePath, depth: number): boolean {
    if (!node) return false;
    const key = path[depth];
    if (node.isEnd || key === undefined) return node.isEnd || node.next.size > 0;
    return accounts(node.next.get(key), path, depth + 1) || accounts(node.next.get("@"), path, depth + 1);
  }
  return (path) => accounts(root, path, 0);
}
