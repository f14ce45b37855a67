/** The paths at which the open streams of an HTTP+SSE server want their messages: only callers with such a stream may post there. */
export interface MessagePaths {
  /** Kept until the stream is forgotten, or names another. @param stream Any object that stands for it. */
  name(stream: object, path: string): void;
  forget(stream: object): void;
  /** Whether a server may read the path as one of them. */
  has(path: string): boolean;
}

export function createMessagePaths(): MessagePaths {
  const paths = new Map<object, string>();
  return {
    name: (stream, path) => void paths.set(stream, asLenientServersRead(path)),
    forget: (stream) => void paths.delete(stream),
    has(path) {
      if (paths.size === 0) return false;
      const read = asLenientServersRead(path);
      return paths.values().some((named) => named === read);
    },
  };
}

/** Decoded, without case, parameters, doubled slashes and the one at the end. */
function asLenientServersRead(path: string): string {
  return path
    .replace(/%([\da-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .toLowerCase()
    .replace(/;[^/]*/g, "")
    .replace(/[\\/]+/g, "/")
    .replace(/(?<=.)\/$/, "");
}
