import { createOutputLines } from "../container/output-lines.ts";
import type { ReplicaLogLine } from "../runtime.ts";

/** Longer than any time at a line's beginning: what is longer is not waited for to the end. */
const PIECE_CHARACTERS = 4_096;

/** Reads what a cluster sends of a container's output with `timestamps`: text, however it comes cut. It does not tell stderr from stdout. */
export function createPodOutputReader(logKey: string | null): {
  /** The lines that are whole now. */
  read(chunk: Buffer): ReplicaLogLine[];
  /** The output's last text, without a line's end. */
  end(): ReplicaLogLine[];
} {
  const lines = createOutputLines("STDOUT", logKey);
  const decoder = new TextDecoder();
  let rest = "";
  return {
    read(chunk) {
      rest += decoder.decode(chunk, { stream: true });
      const end = rest.lastIndexOf("\n") + 1;
      const whole = rest.slice(0, end);
      rest = rest.slice(end);
      const found = whole === "" ? [] : lines.add(whole);
      if (rest.length > PIECE_CHARACTERS) {
        lines.add(rest);
        rest = "";
      }
      return found;
    },
    end: () => [...(rest === "" ? [] : lines.add(rest)), ...lines.end()],
  };
}
