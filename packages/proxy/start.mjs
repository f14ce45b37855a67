// Starts main.ts with Node's compile cache on: types are then stripped once, not at every start, which saves the proxy some
// 30 MB of memory. Plain JavaScript, because it runs before that.
import { constants, enableCompileCache, flushCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

const cache = fileURLToPath(new URL("../../node_modules/.cache/toolyard-proxy", import.meta.url));
// Where that folder cannot be written, Node's default place does; where that fails too, only the saving is lost.
if (enableCompileCache(cache).status === constants.compileCacheStatus.FAILED) enableCompileCache();
// Node writes the cache when a process ends, and a proxy may be killed: written once early. The import ends with the process.
setTimeout(() => flushCompileCache(), 5_000).unref();
await import("./main.ts");
