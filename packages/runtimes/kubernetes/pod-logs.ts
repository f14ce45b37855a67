import type { Logger } from "@toolyard/service-kit/process/log.ts";
import type { ReplicaLogLine } from "../runtime.ts";
import { ClusterRefusal, type Cluster } from "./cluster.ts";
import { CONTAINER } from "./pod-state.ts";
import { createPodOutputReader } from "./pod-output.ts";

/** Of what ended, by lines and by the characters of all together. */
const KEPT_LINES = 1_000;
const KEPT_CHARACTERS = 4 * 1024 * 1024;
/** For what a server still prints when it ends, once its pod is gone. */
const REST_MS = 2_000;

/** Which of a container's output: whose pod, and whether of its run before this one. */
interface Run {
  pod: string;
  /** Of lines that its bridge prints: see `markOf`; null where it has none. */
  logKey: string | null;
  previous: boolean;
}

export interface PodLogs {
  /** The last lines, oldest first; none where there is no output to be had. @throws UPSTREAM_UNAVAILABLE */
  last(run: Run, lines: number): Promise<ReplicaLogLine[]>;
  /** New lines until the container ends or `signal` aborts. @throws UPSTREAM_UNAVAILABLE */
  follow(run: Run, since: number, signal: AbortSignal): AsyncGenerator<ReplicaLogLine>;
  /** The last lines that are kept of a run that has ended. Never throws. */
  kept(run: Run): Promise<ReplicaLogLine[]>;
  /** Begins to read what a run that is to end prints; `lines` answers once it has. Neither throws. */
  keepToTheEnd(run: Run): Promise<{ lines: () => Promise<ReplicaLogLine[]> }>;
}

export function createPodLogs({ cluster, logger }: { cluster: Cluster; logger: Logger }): PodLogs {
  const { namespace } = cluster;

  async function open({ pod, previous }: Run, query: Record<string, string>, signal: AbortSignal) {
    const path = `/api/v1/namespaces/${namespace}/pods/${pod}/log`;
    const whole = { container: CONTAINER, timestamps: "true", previous: String(previous), ...query };
    return cluster.open(path, whole, signal).catch((error: unknown) => {
      // 404: the pod is gone. 400: its container has not run yet, or its output is not kept any more.
      if (signal.aborted || (error instanceof ClusterRefusal && [400, 404].includes(error.status))) return null;
      throw error;
    });
  }

  async function* linesOf(run: Run, stream: Awaited<ReturnType<typeof open>>, signal: AbortSignal) {
    if (stream === null) return;
    const reader = createPodOutputReader(run.logKey);
    try {
      for await (const chunk of stream) yield* reader.read(chunk as Buffer);
      yield* reader.end();
    } catch (error) {
      if (!signal.aborted) logger.debug({ err: error, pod: run.pod }, "reading a pod's output ended");
    }
  }

  async function lastOf(lines: AsyncIterable<ReplicaLogLine>): Promise<ReplicaLogLine[]> {
    const kept: ReplicaLogLine[] = [];
    let characters = 0;
    for await (const line of lines) {
      kept.push(line);
      characters += line.text.length;
      while (kept.length > KEPT_LINES || characters > KEPT_CHARACTERS) characters -= kept.shift()?.text.length ?? 0;
    }
    return kept;
  }

  async function last(run: Run, lines: number): Promise<ReplicaLogLine[]> {
    const { signal } = new AbortController();
    const stream = await open(run, { tailLines: String(lines) }, signal);
    return (await lastOf(linesOf(run, stream, signal))).slice(-lines);
  }

  const unread = (run: Run) => (error: unknown) => {
    logger.debug({ err: error, pod: run.pod }, "the output of a pod that ended cannot be read");
    return null;
  };

  return {
    last,
    async *follow(run, since, signal) {
      const stream = await open(run, { follow: "true", sinceTime: new Date(since).toISOString() }, signal);
      for await (const line of linesOf(run, stream, signal)) if (line.at >= since) yield line;
    },
    kept: async (run) => (await last(run, KEPT_LINES).catch(unread(run))) ?? [],
    async keepToTheEnd(run) {
      const stopping = new AbortController();
      const { signal } = stopping;
      const stream = await open(run, { follow: "true", tailLines: String(KEPT_LINES) }, signal).catch(unread(run));
      const lines = lastOf(linesOf(run, stream, signal));
      return {
        async lines() {
          const timer = setTimeout(() => stopping.abort(), REST_MS);
          return lines.finally(() => clearTimeout(timer));
        },
      };
    },
  };
}
