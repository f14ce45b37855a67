/** An interval for each of many items, spread over its time: all items at once would keep everything else waiting. */
export interface StaggeredInterval {
  /** Begins; does nothing while it runs. */
  start(): void;
  /** To be called when an item has been removed. */
  stopWhenEmpty(): void;
}

export interface StaggeredIntervalOptions<Item> {
  /** Each item is taken this often. */
  everyMs: number;
  /** All current items, in the order in which they came. */
  items: ReadonlySet<Item>;
  take(item: Item): void;
}

const STEPS = 12;
/** An interval of shorter steps has only one. */
const MIN_STEP_MS = 100;

export function createStaggeredInterval<Item>(options: StaggeredIntervalOptions<Item>): StaggeredInterval {
  const { everyMs, items, take } = options;
  const steps = everyMs >= STEPS * MIN_STEP_MS ? STEPS : 1;
  let timer: NodeJS.Timeout | undefined;
  let step = 0;
  let left = items.values();

  function takeSome(): void {
    if (step === 0) left = items.values();
    step = (step + 1) % steps;
    const isLast = step === 0;
    for (let count = Math.ceil(items.size / steps); count > 0 || isLast; count--) {
      const next = left.next();
      if (next.done) return;
      take(next.value);
    }
  }

  return {
    start() {
      timer ??= setInterval(takeSome, everyMs / steps).unref();
    },
    stopWhenEmpty() {
      if (items.size > 0) return;
      clearInterval(timer);
      timer = undefined;
      step = 0;
    },
  };
}
