// Starts main.ts with Node's compile cache on: types are then stripped once for all bridges, not in each, which saves every
// bridge some 20 MB of memory and 30 ms of start. Plain JavaScript, because it runs before that.
import { constants, enableCompileCache, flushCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

const cache = fileURLToPath(new URL("../../node_modules/.cache/toolyard-bridge", import.meta.url));
// Where that folder cannot be written, Node's default place does; where that fails too, only the saving is lost.
if (enableCompileCache(cache).status === constants.compileCacheStatus.FAILED) enableCompileCache();
await import("./main.ts");
// Node writes the cache when a process ends, and a bridge may be killed: written once early, later than anyone waits for.
setTimeout(() => flushCompileCache(), 5_000).unref();
