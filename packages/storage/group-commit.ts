import { setImmediate as turn } from "node:timers/promises";
import type { Database, SqlTransaction } from "./database.ts";
import { databaseFailureOf } from "./failures.ts";

export interface GroupCommitOptions<Item> {
  database: Pick<Database, "transaction">;
  /** Does all items in one transaction. May run again with the same items, or with some of them, when it came to nothing. */
  work: (tx: SqlTransaction, items: readonly Item[]) => Promise<void>;
  /** What an item adds to a group, in any unit. */
  sizeOf: (item: Item) => number;
  /** The most that one transaction does, unless a single item is larger. */
  maxSize: number;
}

/** @param withinMs How long the item may wait for others that cannot: it makes no transaction of its own until then. */
type GroupCommit<Item> = (item: Item, withinMs?: number) => Promise<void>;

interface Waiting<Item> {
  item: Item;
  done: PromiseWithResolvers<void>;
}

/**
 * Group commit: items that come while a transaction runs are done by the next one, all in one, so that a commit's price is shared. An item
 * that comes to an idle store is done at once, unless it may wait for others. Resolves once the item is committed. An item that cannot be done fails
 * alone.
 */
export function createGroupCommit<Item>(options: GroupCommitOptions<Item>): GroupCommit<Item> {
  const { database, work, sizeOf, maxSize } = options;
  const waiting: Waiting<Item>[] = [];
  let isRunning = false;
  /** Whether one of those that wait must not wait. */
  let isDue = false;
  let timer: NodeJS.Timeout | null = null;

  function takeGroup(): Waiting<Item>[] {
    let size = 0;
    const isFull = ({ item }: Waiting<Item>) => (size += sizeOf(item)) > maxSize;
    const end = waiting.findIndex((each, index) => isFull(each) && index > 0);
    const group = waiting.splice(0, end === -1 ? waiting.length : end);
    isDue = waiting.length > 0;
    return group;
  }

  async function commit(group: readonly Waiting<Item>[]): Promise<void> {
    try {
      await database.transaction((tx) =>
        work(
          tx,
          group.map(({ item }) => item),
        ),
      );
      for (const { done } of group) done.resolve();
    } catch (error) {
      const failure = databaseFailureOf(error);
      // The database's own failures are everybody's; any other is of an item, and the transaction was undone.
      if (group.length === 1 || (failure !== null && failure !== "unique-violation"))
        for (const { done } of group) done.reject(error);
      else for (const one of group) await commit([one]);
    }
  }

  async function run(): Promise<void> {
    isDue = true;
    if (isRunning) return;
    isRunning = true;
    // Those who ask in the same breath, or ask again when they are answered, are of one group.
    await Promise.resolve();
    while (isDue) {
      if (timer) clearTimeout(timer);
      timer = null;
      await commit(takeGroup());
      await turn();
    }
    isRunning = false;
  }

  return (item, withinMs = 0) => {
    const done = Promise.withResolvers<void>();
    waiting.push({ item, done });
    if (withinMs === 0) void run();
    else timer ??= setTimeout(() => void run(), withinMs);
    return done.promise;
  };
}
