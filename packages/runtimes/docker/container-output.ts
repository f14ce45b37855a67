import { ByteCollector } from "@toolyard/service-kit/http/byte-collector.ts";
import { createOutputLines } from "../container/output-lines.ts";
import type { ReplicaLogLine } from "../runtime.ts";

const HEADER_BYTES = 8;

/** How an engine is asked for a container's output that is read as it comes. */
export const FOLLOWED = { follow: true, stdout: true, stderr: true, timestamps: true } as const;

/**
 * Reads what engines send of a container's output with `timestamps`: frames of eight bytes for the stream and the length, and the text, in which
 * each line, or each piece of a long one, begins with its time.
 */
export function createOutputReader(logKey: string | null): {
  /** The lines that are whole now. */
  read(chunk: Buffer): ReplicaLogLine[];
  /** The output's last text, without a line's end. */
  end(): ReplicaLogLine[];
} {
  /** Bytes that came and are in no frame yet; joined once it makes one, since a frame may be many chunks long. */
  const waiting = new ByteCollector();
  let wanted = HEADER_BYTES;
  const streams = { STDOUT: createOutputLines("STDOUT", logKey), STDERR: createOutputLines("STDERR", logKey) };

  return {
    read(chunk) {
      waiting.add(chunk);
      const lines: ReplicaLogLine[] = [];
      if (waiting.length < wanted) return lines;
      const all = waiting.take();
      let at = 0;
      for (;;) {
        wanted = HEADER_BYTES + (all.length - at < HEADER_BYTES ? 0 : all.readUInt32BE(at + 4));
        if (all.length - at < wanted) break;
        const text = all.toString("utf8", at + HEADER_BYTES, at + wanted);
        lines.push(...streams[all[at] === 2 ? "STDERR" : "STDOUT"].add(text));
        at += wanted;
      }
      waiting.add(all.subarray(at));
      return lines;
    },
    end: () => [...streams.STDOUT.end(), ...streams.STDERR.end()],
  };
}
