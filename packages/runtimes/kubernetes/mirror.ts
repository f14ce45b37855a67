import { setTimeout as delay } from "node:timers/promises";
import { Watch, type KubernetesListObject, type KubernetesObject } from "@kubernetes/client-node";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import type { Api, Cluster } from "./cluster.ts";

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5_000;
/** How long one that has just begun may take to know what there is. */
const FIRST_LIST_MS = 30_000;
const GONE = 410;

/** The objects of one kind that the cluster has, as its watch tells of them. */
export interface Mirror<Item> {
  all(): Item[];
  get(name: string): Item | undefined;
  /** What the cluster has just answered, which its watch will tell, too. */
  put(item: Item): void;
  /** Once it holds what there is. @throws ToolyardError UPSTREAM_UNAVAILABLE while the cluster is away, or does not let it look */
  fresh(): Promise<void>;
  close(): Promise<void>;
}

type List<Item extends KubernetesObject> = (
  api: Api,
  how: Parameters<Parameters<Cluster["ask"]>[0]>[1],
) => Promise<KubernetesListObject<Item>>;

/**
 * Lists, then watches; whenever the watch ends, both again. What it knew and no list has any more is told as removed. While the cluster is away
 * it tells nothing.
 */
export function mirrorOf<Item extends KubernetesObject>(options: {
  cluster: Cluster;
  /** Of the list, in the API. */
  path: string;
  labelSelector: string;
  list: List<Item>;
  /** Null: it is gone. What is made anew by the same name is told as gone first. */
  changed: (before: Item | null, after: Item | null) => void;
  logger: Logger;
}): Mirror<Item> {
  const { cluster, path, labelSelector, list, changed, logger } = options;
  const closing = new AbortController();
  const { signal } = closing;
  const items = new Map<string, Item>();
  let failure: unknown = null;
  let first: PromiseWithResolvers<void> | null = Promise.withResolvers();

  function put(item: Item): void {
    const name = nameOf(item);
    const before = items.get(name) ?? null;
    if (before !== null && uidOf(before) !== uidOf(item)) {
      // Of the older one nothing comes any more.
      if (isOlder(item, before)) return;
      remove(before);
    } else if (before !== null && !isOlder(before, item)) return;
    items.set(name, item);
    changed(before !== null && uidOf(before) === uidOf(item) ? before : null, item);
  }

  function remove(item: Item): void {
    const known = items.get(nameOf(item));
    if (!known || uidOf(known) !== uidOf(item)) return;
    items.delete(nameOf(item));
    changed(known, null);
  }

  async function look(): Promise<string> {
    const found = await cluster.ask(list);
    const uids = new Set(found.items.map(uidOf));
    for (const known of items.values()) if (!uids.has(uidOf(known)) && !isMadeSince(known, found)) remove(known);
    for (const item of found.items) put(item);
    return found.metadata?.resourceVersion ?? "";
  }

  /** @returns why it ended; null: the server closed it, as it does now and then. */
  async function follow(resourceVersion: string): Promise<unknown> {
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const query = { resourceVersion, labelSelector };
    const onEvent = (type: string, item: Item & { code?: number }): void => {
      if (type === "ERROR") resolve(item.code === GONE ? null : item);
      else if (type === "DELETED") remove(item);
      else if (type !== "BOOKMARK") put(item);
    };
    const watch = await new Watch(cluster.config()).watch(path, query, onEvent, resolve);
    const stop = (): void => watch.abort();
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", stop);
      watch.abort();
    }
  }

  async function keepLooking(): Promise<void> {
    let waitMs = FIRST_WAIT_MS;
    while (!signal.aborted) {
      try {
        const version = await look();
        if (failure !== null) logger.info({ path }, "the cluster answers again");
        failure = null;
        waitMs = FIRST_WAIT_MS;
        first?.resolve();
        first = null;
        await follow(version);
      } catch (error) {
        if (signal.aborted) return;
        if (failure === null) logger.warn({ err: error, path }, "the cluster cannot be watched; it is tried again");
        failure = error;
        first?.resolve();
        first = null;
        waitMs = Math.min(LONGEST_WAIT_MS, waitMs * 2);
      }
      await delay(waitMs, undefined, { signal, ref: false }).catch(() => undefined); // closed
    }
  }

  const watching = keepLooking();
  return {
    all: () => [...items.values()],
    get: (name) => items.get(name),
    put,
    async fresh() {
      if (first !== null) await Promise.race([first.promise, delay(FIRST_LIST_MS, undefined, { signal, ref: false })]);
      if (first !== null) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The cluster has not answered yet.");
      if (failure !== null) throw toUnavailable(failure);
    },
    async close() {
      closing.abort();
      await watching;
    },
  };
}

function toUnavailable(failure: unknown): ToolyardError {
  if (failure instanceof ToolyardError) return failure;
  const why = failure instanceof Error ? failure.message : "unknown";
  return new ToolyardError("UPSTREAM_UNAVAILABLE", `The cluster cannot be watched. It said: ${why}`, {
    cause: failure,
  });
}

const nameOf = ({ metadata }: KubernetesObject): string => metadata?.name ?? "";
const uidOf = ({ metadata }: KubernetesObject): string => metadata?.uid ?? "";
const versionOf = (version: string | undefined): bigint => BigInt(/^\d+$/.exec(version ?? "")?.[0] ?? 0);

/** By resource versions, which rise through all kinds of a cluster's objects. */
function isOlder(one: KubernetesObject, other: KubernetesObject): boolean {
  return versionOf(one.metadata?.resourceVersion) < versionOf(other.metadata?.resourceVersion);
}

/** Whether it was put after the list was made. */
function isMadeSince(item: KubernetesObject, list: KubernetesListObject<KubernetesObject>): boolean {
  return versionOf(item.metadata?.resourceVersion) > versionOf(list.metadata?.resourceVersion);
}
