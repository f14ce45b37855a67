// Loaded into Toolyard's main process before its own code: at SIGUSR2 it collects garbage and writes to $MEMORY_REPORT what is left.
import { renameSync, writeFileSync } from "node:fs";
import { setFlagsFromString, writeHeapSnapshot } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");
process.on("SIGUSR2", () => {
  for (let round = 0; round < 4; round++) collect();
  const { heapUsed, external } = process.memoryUsage();
  const { MEMORY_REPORT: file, MEMORY_SNAPSHOTS: snapshots } = process.env;
  if (snapshots) writeHeapSnapshot(`${snapshots}/${Date.now()}.heapsnapshot`);
  // Whole, or not there.
  writeFileSync(`${file}.part`, JSON.stringify({ heapUsed, external }));
  renameSync(`${file}.part`, file);
});
