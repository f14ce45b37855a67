/** The child process of composer.ts: composes its parent's subgraphs, answers, and ends. */
import { flushCompileCache } from "node:module";
import { constants, setPriority } from "node:os";
import { compose, type SubgraphSdl } from "./composition.ts";

// Serving processes go first.
setPriority(constants.priority.PRIORITY_BELOW_NORMAL);

process.on("disconnect", () => process.exit(0));
process.once("message", (subgraphs) => {
  // Sent by composer.ts only.
  const composition = compose(subgraphs as SubgraphSdl[]);
  // Node would write its compile cache at the end, and this process may be killed then.
  flushCompileCache();
  process.send?.({ composition }, () => process.disconnect());
});
