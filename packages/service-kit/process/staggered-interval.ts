/** Repeats work for each of many items, a few at a time: all at once would keep everything else waiting. */
export interface Turns {
  /** Begins, or goes on. */
  start(): void;
  /** To be called when an item has been removed. */
  stopWhenEmpty(): void;
}

export interface TurnsOptions<Item> {
  /** Each item's turn comes this often. */
  everyMs: number;
  /** All current items, in the order in which they came. */
  items: ReadonlySet<Item>;
  take(item: Item): void;
}

const turnsPerRound = 12;
/** A shorter round has only one turn. */
const shortestTurnMs = 100;

export function createTurns<Item>({ everyMs, items, take }: TurnsOptions<Item>): Turns {
  const turns = everyMs >= turnsPerRound * shortestTurnMs ? turnsPerRound : 1;
  let timer: NodeJS.Timeout | undefined;
  let turn = 0;
  let left = items.values();

  function takeSome(): void {
    if (turn === 0) left = items.values();
    turn = (turn + 1) % turns;
    const isLast = turn === 0;
    for (let count = Math.ceil(items.size / turns); count > 0 || isLast; count--) {
      const next = left.next();
      if (next.done) return;
      take(next.value);
    }
  }

  return {
    start() {
      timer ??= setInterval(takeSome, everyMs / turns).unref();
    },
    stopWhenEmpty() {
      if (items.size > 0) return;
      clearInterval(timer);
      timer = undefined;
      turn = 0;
    },
  };
}
