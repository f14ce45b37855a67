import { unwatchFile, watchFile } from "node:fs";
import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { ToolyardError, messageOf, systemCodeOf, type Logger } from "@toolyard/service-kit";

/** Reads a supergraph's SDL. @throws ToolyardError NOT_FOUND, BAD_USER_INPUT saying what to do */
export async function readSupergraph(file: string): Promise<string> {
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

/**
 * Calls back with a supergraph's new text each time its file has changed, until `close`. Looks at the file itself and not at its
 * folder's notices: those do not come from every file system, and not for a link that is pointed elsewhere.
 */
export function watchSupergraph(options: {
  file: string;
  /** @throws Error saying why the supergraph cannot be used */
  onChange: (supergraphSdl: string) => Promise<void>;
  log: Pick<Logger, "info" | "error">;
  intervalMs?: number;
  /** How long a file must rest: who writes it may not be done. */
  settleMs?: number;
}): { close(): Promise<void> } {
  const { file, onChange, log, intervalMs = 500, settleMs = 100 } = options;
  const stopping = new AbortController();
  let working: Promise<void> = Promise.resolve();
  let waiting = 0;

  async function reload(): Promise<void> {
    try {
      await delay(settleMs, undefined, { signal: stopping.signal, ref: false });
      waiting -= 1;
      // A later change is on its way: that one is the one to read.
      if (waiting > 0) return;
      await onChange(await readSupergraph(file));
      log.info({ file }, "the supergraph has changed and is in service");
    } catch (error) {
      if (stopping.signal.aborted) return;
      log.error(
        { file, reason: messageOf(error) },
        "the changed supergraph is refused; the one before stays in service",
      );
    }
  }
  const listener = () => {
    waiting += 1;
    working = working.then(reload);
  };
  watchFile(file, { interval: intervalMs, persistent: false }, listener);
  return {
    async close() {
      unwatchFile(file, listener);
      stopping.abort();
      await working;
    },
  };
}
