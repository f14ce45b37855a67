import { open, readFile, rename } from "node:fs/promises";
import { systemCodeOf } from "@toolyard/service-kit";
import type { z } from "zod";
import { parseJson } from "@toolyard/service-kit/json.ts";

/** A JSON file of the proxy's own, mode 0600, that holds either the old value or the new one, even after a power cut. */
export interface StateFile<Value> {
  /** Null when there is no readable file. */
  read(): Promise<Value | null>;
  /** Writes come one after the other; of several waiting only the last is written. */
  write(value: Value): Promise<void>;
}

export function createStateFile<Value>(options: { path: string; schema: z.ZodType<Value> }): StateFile<Value> {
  const { path, schema } = options;
  let waiting: { value: Value } | null = null;
  let writing: Promise<void> = Promise.resolve();

  async function writeWaiting(): Promise<void> {
    if (!waiting) return;
    const { value } = waiting;
    waiting = null;
    // A proxy that is still draining may write the same file.
    const next = `${path}.${process.pid}.next`;
    const handle = await open(next, "w", 0o600);
    try {
      await handle.writeFile(JSON.stringify(value));
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(next, path);
  }

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
      writing = writing.then(writeWaiting, writeWaiting);
      return writing;
    },
  };
}
