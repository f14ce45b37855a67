import type { EventTail } from "@toolyard/events";
import type { LogsFrom, ReplicaLogLine, Runtime } from "@toolyard/runtimes/runtime.ts";
import { ToolyardError, type Logger } from "@toolyard/service-kit";
import { endableStream } from "@toolyard/events/endable-stream.ts";
import type { Deployment, DeploymentEventPayload, Replica } from "../deployment.ts";
import type { OtherHosts } from "../hosts/other-hosts.ts";
import type { DeploymentStore } from "../store/deployment-store.ts";
import type { KnownSecrets } from "./known-secrets.ts";
import type { ArchivedLine } from "./log-archive.ts";

/** Lines that a slow reader may lag behind before its stream ends. */
const MAX_QUEUE = 10_000;

/** The new lines of a deployment's processes as one stream; its events tell when there are others to follow. */
export function createLogMerge(options: {
  deployment: Deployment;
  runtime: Runtime | null;
  hostId: string;
  /** Null: lines of this host alone. */
  otherHosts: Pick<OtherHosts, "followLogs"> | null;
  store: DeploymentStore;
  secrets: KnownSecrets;
  eventTail: EventTail<DeploymentEventPayload>;
  logger: Logger;
  /** Of the replicas that are there now; later ones are followed from their start. @default NOW */
  from?: LogsFrom;
}): AsyncIterableIterator<ArchivedLine> {
  const { deployment, runtime, hostId, otherHosts, store, secrets, eventTail, logger } = options;
  const deploymentId = deployment.id;
  const ended = new AbortController();
  const queue: ArchivedLine[] = [];
  const following = new Set<string>();
  /** Hosts whose streams are open. */
  const elsewhere = new Set<string>();
  let overflowed = false;
  let wakeUp = Promise.withResolvers<void>();

  function push(line: ArchivedLine): void {
    if (queue.length >= MAX_QUEUE) overflowed = true;
    else queue.push(line);
    wakeUp.resolve();
  }

  async function followProcess(replica: Replica, lines: AsyncIterable<ReplicaLogLine>): Promise<void> {
    const mask = secrets.mask(deployment, replica);
    for await (const line of lines) push({ ...line, text: mask.text(line.text), replicaId: replica.id });
  }

  /** One stream for all replicas there; looked for again when something happens to the deployment. */
  async function followHost(replica: Replica, from: LogsFrom): Promise<void> {
    if (!otherHosts || elsewhere.has(replica.hostId)) return;
    elsewhere.add(replica.hostId);
    for await (const line of otherHosts.followLogs(replica, ended.signal, from)) push(line);
    elsewhere.delete(replica.hostId);
  }

  async function followAll(from: LogsFrom): Promise<void> {
    if (!runtime && !otherHosts) return;
    for (const replica of await store.replicasOf([deploymentId])) {
      const { handle } = replica;
      if (replica.hostId !== hostId) guard(followHost(replica, from));
      if (!runtime || replica.hostId !== hostId || !handle || following.has(handle.name)) continue;
      following.add(handle.name);
      guard(followProcess(replica, runtime.followLogs(handle, ended.signal, from)));
    }
  }

  const first = followAll(options.from ?? "NOW");
  async function followEvents(): Promise<void> {
    for await (const _event of eventTail.follow({ after: null, subjectId: deploymentId, signal: ended.signal })) {
      await Promise.allSettled([first]);
      await followAll("START");
    }
  }

  /** A part that fails ends the stream's part, not the process. */
  function guard(part: Promise<void>): void {
    part.catch((error: unknown) => {
      if (!ended.signal.aborted) logger.warn({ err: error, deployment_id: deploymentId }, "following a log failed");
    });
  }

  guard(first);
  guard(followEvents());

  const end = () => {
    ended.abort();
    wakeUp.resolve();
  };
  return endableStream({
    async next() {
      while (!ended.signal.aborted) {
        const line = queue.shift();
        if (line) return { done: false, value: line };
        if (overflowed) {
          end();
          throw new ToolyardError(
            "SLOW_CONSUMER",
            "This log was read too slowly and ends. Subscribe again to go on from now.",
          );
        }
        wakeUp = Promise.withResolvers();
        await wakeUp.promise;
      }
      return { done: true, value: undefined };
    },
    end,
  });
}
