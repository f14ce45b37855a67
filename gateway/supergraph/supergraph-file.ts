import { readFile } from "node:fs/promises";
import { ToolyardError, messageOf, systemCodeOf, type Logger } from "@toolyard/service-kit";
import { SETTLE_MS, createFileWatch } from "./file-watch.ts";
import { createDebouncedWork } from "./debounced-work.ts";
import type { SupergraphSource } from "./supergraph-source.ts";

export interface SupergraphFileOptions {
  /** A supergraph's SDL. */
  file: string;
  log: Pick<Logger, "info" | "error">;
}

/** A supergraph that was composed elsewhere. */
export function createSupergraphFile(options: SupergraphFileOptions): SupergraphSource {
  const { file, log } = options;
  return {
    load: () => readSupergraph(file),
    watch(onChange) {
      const reload = createDebouncedWork({
        settleMs: SETTLE_MS,
        async work(signal) {
          try {
            await onChange(await readSupergraph(file));
            log.info({ file }, "the supergraph has changed and is in service");
          } catch (error) {
            if (signal.aborted) return;
            const reason = messageOf(error);
            log.error({ file, reason }, "the changed supergraph is refused; the previous one stays in service");
          }
        },
      });
      const watch = createFileWatch({ onChange: reload.request });
      watch.follow([file]);
      return {
        async close() {
          watch.close();
          await reload.close();
        },
      };
    },
  };
}

/** Reads a supergraph's SDL. @throws ToolyardError NOT_FOUND, BAD_USER_INPUT saying what to do */
async function readSupergraph(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    const why = systemCodeOf(cause) === "ENOENT" ? "there is no such file" : messageOf(cause);
    throw new ToolyardError("NOT_FOUND", `The supergraph ${file} cannot be read: ${why}.`, { cause });
  }
  if (text.trim() === "")
    throw new ToolyardError(
      "BAD_USER_INPUT",
      `The supergraph ${file} is empty. Compose one: rover supergraph compose.`,
    );
  return text;
}
