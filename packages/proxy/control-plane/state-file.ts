import { open, readFile, rename, rm } from "node:fs/promises";
import { systemCodeOf } from "@toolyard/service-kit";
import type { z } from "zod";
import { parseJson } from "@toolyard/service-kit/json.ts";

/** A JSON file of the proxy's own, mode 0600, that holds either the old value or the new one, even after a power cut. */
export interface StateFile<Value> {
  /** Null when there is no readable file. */
  read(): Promise<Value | null>;
  /** Writes come one after the other; of several waiting only the last is written. One that fails is tried again, as long as the process runs. */
  write(value: Value): Promise<void>;
}

/** After a failure, as of a full disk. */
const RETRY_MS = 5_000;

export function createStateFile<Value>(options: { path: string; schema: z.ZodType<Value> }): StateFile<Value> {
  const { path, schema } = options;
  let waiting: { value: Value } | null = null;
  let writing: Promise<void> = Promise.resolve();

  async function writeWaiting(): Promise<void> {
    if (!waiting) return;
    const wanted = waiting;
    waiting = null;
    try {
      await replace(wanted.value);
    } catch (error) {
      waiting ??= wanted;
      setTimeout(() => void writeInTurn().catch(() => undefined), RETRY_MS).unref(); // it is told by the first
      throw error;
    }
  }

  async function replace(value: Value): Promise<void> {
    // A proxy that is still draining may write the same file.
    const next = `${path}.${process.pid}.next`;
    const handle = await open(next, "w", 0o600);
    try {
      await handle.writeFile(JSON.stringify(value));
      await handle.datasync();
      await rename(next, path);
    } catch (error) {
      await rm(next, { force: true });
      throw error;
    } finally {
      await handle.close();
    }
  }

  const writeInTurn = () => (writing = writing.then(writeWaiting, writeWaiting));

  return {
    async read() {
      let text: string;
      try {
        text = await readFile(path, "utf8");
      } catch (error) {
        if (systemCodeOf(error) === "ENOENT") return null;
        throw error;
      }
      const parsed = schema.safeParse(parseJson(text));
      return parsed.success ? parsed.data : null;
    },
    write(value) {
      waiting = { value };
      return writeInTurn();
    },
  };
}
