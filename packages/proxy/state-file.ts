import { open, readFile, rename } from "node:fs/promises";
import { basename } from "node:path";
import { systemCodeOf, type Sealer } from "@toolyard/service-kit";
import type { z } from "zod";

/** A JSON file of the proxy's own, mode 0600, that is either the old value or the new one, also after a power cut. */
export interface StateFile<Value> {
  /** Null when there is none, or none that can be read. */
  read(): Promise<Value | null>;
  /** Writes come one after the other; of several waiting only the last is written. */
  write(value: Value): Promise<void>;
}

export function createStateFile<Value>(options: {
  path: string;
  schema: z.ZodType<Value>;
  /** Seals what is written: for what holds secrets. What does not open is as if there were none. */
  sealer?: Sealer;
}): StateFile<Value> {
  const { path, schema, sealer } = options;
  const context = basename(path);
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
      const text = JSON.stringify(value);
      await handle.writeFile(sealer ? sealer.seal(text, context) : text);
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
      const parsed = schema.safeParse(parseJson(text, (sealed) => sealer?.open(sealed, context) ?? sealed));
      return parsed.success ? parsed.data : null;
    },
    write(value) {
      waiting = { value };
      writing = writing.then(writeWaiting, writeWaiting);
      return writing;
    },
  };
}

function parseJson(text: string, open: (sealed: string) => string): unknown {
  try {
    return JSON.parse(open(text));
  } catch {
    return null; // of another version or credential, or damaged: as if there were none
  }
}
