/**
 * Loaded into a gateway's process before its own code (`node --expose-gc --import …/probe.ts gateway/main.ts`): answers over IPC what
 * the process uses, and writes profiles where one is wanted.
 */
import { writeFile } from "node:fs/promises";
import { Session } from "node:inspector/promises";
import { writeHeapSnapshot } from "node:v8";
import type { Usage } from "./messages.ts";

export interface Question {
  /** Collects garbage before it answers. */
  collect?: boolean;
  /** Starts a CPU profile, or ends it and writes it to this file. */
  profile?: "start" | { file: string };
  /** Writes a heap snapshot. */
  snapshot?: string;
}

const session = new Session();
process.on("message", (question: Question) => void answer(question));
// The gateway ends when it is done, not when nobody asks any more.
process.channel?.unref();
process.on("disconnect", () => process.exit(1));

async function answer({ collect, profile, snapshot }: Question): Promise<void> {
  if (collect) for (let round = 0; round < 3; round++) globalThis.gc?.();
  if (profile === "start") {
    session.connect();
    await session.post("Profiler.enable");
    await session.post("Profiler.start");
  } else if (profile) {
    const { profile: found } = await session.post("Profiler.stop");
    await writeFile(profile.file, JSON.stringify(found));
  }
  if (snapshot !== undefined) writeHeapSnapshot(snapshot);
  const { rss, heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  const usage: Usage = { rss, heap: heapUsed + external, cpuMs: (user + system) / 1_000 };
  process.send?.(usage);
}
