import type { InterfaceReading } from "@toolyard/bridge/interface.ts";
import { newId, type Logger } from "@toolyard/service-kit";
import { LRUCache } from "lru-cache";
import type { SecretMask } from "@toolyard/service-kit/secret-mask.ts";
import type { Deployment } from "../deployment.ts";
import type { DeploymentEventDraft, DeploymentStore } from "../store/deployment-store.ts";
import { DAY_MS } from "../usage/usage-window.ts";
import type { UsageStore } from "../usage/usage-store.ts";
import { saveSettled } from "../engine/settle.ts";
import { differenceOf, type InterfaceDifference } from "./interface-difference.ts";
import { completed, offerHash, toSnapshot } from "./interface-snapshot.ts";
import type { InterfaceStore } from "./interface-store.ts";

/** A replica that answers. */
interface Answering {
  deployment: Deployment;
  replicaId: string;
  mask: () => SecretMask;
  /** Null where it cannot be read: the server speaks no MCP, or does not answer. */
  read: (signal: AbortSignal) => Promise<InterfaceReading | null>;
}

/** Records what servers offer, once they answer. */
export interface InterfaceRecorder {
  /** Reads and records it beside all else; a reading of the same replica that goes on is given up. */
  begin(replica: Answering): void;
  /** The same where nothing is known of what it runs, and nothing was tried: such as after an upgrade. */
  beginUnlessKnown(replica: Answering): void;
  /** Once all that is under way now has ended: for tests. */
  settled(): Promise<void>;
  /** Ends what is under way. */
  close(): Promise<void>;
}

export interface InterfaceRecorderOptions {
  store: Pick<DeploymentStore, "transaction">;
  interfaces: Pick<InterfaceStore, "find" | "heads">;
  usage: Pick<UsageStore, "callsByMcpTool">;
  logger: Logger;
  now: () => number;
}

const INTERFACE_CHANGED = "INTERFACE_CHANGED";
/** So much is in memory at a time. */
const READ_AT_ONCE = 4;
const READ_TIMEOUT_MS = 60_000;
const MAX_LOOKED = 10_000;
/** Another deployment of the tool may write in between. */
const MAX_TRIES = 5;
const USAGE_DAYS = 30;
/** Of each list in an event: `Tool.interface` has them all. */
const EVENT_ITEMS = 20;

export function createInterfaceRecorder(options: InterfaceRecorderOptions): InterfaceRecorder {
  const { store, interfaces, usage, logger, now } = options;
  /** By the replica. */
  const newest = new Map<string, AbortController>();
  const running = new Set<Promise<void>>();
  const waiting: (() => void)[] = [];
  /** Digests of tools that were looked at. */
  const looked = new LRUCache<string, true>({ max: MAX_LOOKED });
  let free = READ_AT_ONCE;

  async function enter(): Promise<void> {
    if (free > 0) free -= 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
  }

  function leave(): void {
    const next = waiting.shift();
    if (next) next();
    else free += 1;
  }

  async function record(deployment: Deployment, reading: InterfaceReading, mask: SecretMask): Promise<void> {
    const { id, toolId, digest } = deployment;
    const seen = await toSnapshot(reading, mask);
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const before = await interfaces.find({ toolId, digest });
      const snapshot = before === null ? seen : await completed(before, seen);
      const offer = offerHash(snapshot);
      const isKnown = snapshot.hash === before?.hash && offer === offerHash(before);
      if (isKnown && offer === deployment.offerHash) return;
      const at = now();
      const isChange = before !== null && differenceOf(before.content, snapshot.content, new Map()) !== null;
      const calls = isChange ? await usage.callsByMcpTool(toolId, at - USAGE_DAYS * DAY_MS) : new Map<string, number>();
      const difference = before === null ? null : differenceOf(before.content, snapshot.content, calls);
      const key = { toolId, digest, at, deploymentId: id };
      const isWritten = await store.transaction(async (tx) => {
        const record = await tx.load(id);
        if (record === null) return true;
        if (record.deployment.offerHash !== offer)
          await saveSettled(tx, { ...record, deployment: { ...record.deployment, offerHash: offer } }, at);
        if (isKnown) return true;
        const written = await tx.saveInterface({
          stored: { ...key, ...snapshot },
          replaces: before?.hash ?? null,
          change: difference && { ...key, id: newId(), difference },
        });
        if (written && difference !== null)
          tx.emit(record.deployment, [changed(record.deployment, difference, before?.hash ?? "", snapshot.hash)]);
        return written;
      });
      if (isWritten) return;
    }
    throw new Error(`The interface was written by others ${MAX_TRIES} times meanwhile.`);
  }

  async function settled(): Promise<void> {
    while (running.size > 0) await Promise.all(running);
  }

  function begin({ deployment, replicaId, mask, read }: Answering, unlessKnown: boolean): void {
    const { toolId, digest } = deployment;
    newest.get(replicaId)?.abort();
    const abort = new AbortController();
    const { signal } = abort;
    const run = async (): Promise<void> => {
      await enter();
      try {
        if (signal.aborted) return;
        if (unlessKnown && (await interfaces.heads([{ toolId, digest }]))[0]) return;
        const reading = await read(AbortSignal.any([signal, AbortSignal.timeout(READ_TIMEOUT_MS)]));
        if (reading !== null && !signal.aborted) await record(deployment, reading, mask());
      } catch (error) {
        if (!signal.aborted)
          logger.warn({ err: error, deployment: deployment.name }, "the interface of a server could not be recorded");
      } finally {
        leave();
        if (newest.get(replicaId) === abort) newest.delete(replicaId);
      }
    };
    looked.set(`${toolId} ${digest}`, true);
    newest.set(replicaId, abort);
    const done = run().finally(() => running.delete(done));
    running.add(done);
  }

  return {
    begin: (replica) => begin(replica, false),
    beginUnlessKnown(replica) {
      const { toolId, digest } = replica.deployment;
      if (!looked.has(`${toolId} ${digest}`)) begin(replica, true);
    },
    settled,
    async close() {
      for (const abort of newest.values()) abort.abort();
      await settled();
    },
  };
}

function changed(
  { name, digest }: Deployment,
  difference: InterfaceDifference,
  previousHash: string,
  hash: string,
): DeploymentEventDraft {
  const { added, removed, changed: altered } = difference;
  const counts = [`${added.length} added`, `${removed.length} removed`, `${altered.length} changed`];
  const some = <Each>(items: readonly Each[]): Each[] => items.slice(0, EVENT_ITEMS);
  return {
    kind: INTERFACE_CHANGED,
    message: `${name} offers something else than this digest did before: ${counts.join(", ")}.`,
    data: { digest, previousHash, hash, added: some(added), removed: some(removed), changed: some(altered) },
  };
}
