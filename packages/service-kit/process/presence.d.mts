/** Where a running Toolyard answers. */
export interface Presence {
  url: string;
  pid: number;
}

/**
 * Calls `use` with a path to the socket that is short enough to bind or connect to, and good for the duration of the call only: the folder's own
 * place may be as long as it likes.
 */
export function withShortPath<Result>(path: string, use: (short: string) => Result): Result;

/** Where the Toolyard that has a DATA_DIR says so. */
export function presenceSocket(folder: string): string;

/** The Toolyard that runs with this DATA_DIR; null when none says so, within a second. */
export function askPresence(folder: string): Promise<Presence | null>;
