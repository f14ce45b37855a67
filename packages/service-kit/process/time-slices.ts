/** Milliseconds of one turn of the event loop in which pieces of work may follow each other. */
const SLICE_MS = 10;

/** When this turn began, as of the first call in it. */
let began: number | null = null;
const waiting: (() => void)[] = [];

/**
 * Called before each piece of work of which many may be ready at once: null while this turn of the event loop has time, else a promise of a
 * later one. First come, first served; the next goes once all that follows from the last without waiting is done.
 */
export function nextTimeSlice(): Promise<void> | null {
  if (waiting.length === 0 && hasTime()) return null;
  return new Promise((resolve) => waiting.push(resolve));
}

/**
 * Called between two steps of one piece of work, of which each is long where its data is large: null while what ran since `from` was short,
 * else a promise of a later turn of the event loop. Short work never waits, however much of it there is.
 * @param from By `performance.now()`. @default when this turn began
 */
export function sliceAfter(from: number | null = began): Promise<void> | null {
  if (from === null || performance.now() - from < 2 * SLICE_MS) return null;
  hasTime();
  return new Promise((resolve) => waiting.push(resolve));
}

function hasTime(): boolean {
  if (began === null) {
    began = performance.now();
    setImmediate(endTurn);
  }
  return performance.now() - began < SLICE_MS;
}

function endTurn(): void {
  began = null;
  resume();
}

function resume(): void {
  // Out of time: the end of the turn will resume.
  if (waiting.length === 0 || !hasTime()) return;
  waiting.shift()?.();
  // The next one goes once all that this one does without waiting is done: ticks that a microtask asks for come after all microtasks.
  queueMicrotask(() => process.nextTick(resume));
}

/** Does work one after the other, in the order of asking, with turns of the event loop between. */
export interface SerialQueue {
  run<Result>(work: () => Promise<Result>): Promise<Result>;
  /** Resolves once all queued work has settled. */
  done(): Promise<void>;
}

/**
 * For work that awaits only microtasks, as everything on libsql does, and would let nothing else run until all was done. One after the
 * other, since callers in the same moment would all find that there is time.
 */
export function createSerialQueue(): SerialQueue {
  let last: Promise<void> = Promise.resolve();
  return {
    run(work) {
      const result = last.then(async () => {
        await nextTimeSlice();
        return work();
      });
      last = result.then(ignore, ignore);
      return result;
    },
    done: () => last,
  };
}

const ignore = (): void => undefined;
