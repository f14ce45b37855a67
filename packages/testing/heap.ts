import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** By how many bytes the heap has grown after `work`, without what is garbage by then. The work's result is kept until it is measured. */
export async function heapGrownBy(work: () => unknown): Promise<number> {
  setFlagsFromString("--expose-gc");
  // V8 names it so in the contexts that are made from then on.
  const collect = runInNewContext("gc") as () => void;
  collect();
  const before = process.memoryUsage().heapUsed;
  const kept: unknown[] = [await work()];
  collect();
  const grownBy = process.memoryUsage().heapUsed - before;
  kept.pop();
  return grownBy;
}
