import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import type { EventLog, EventTail, LoggedEvent } from "@toolyard/events";
import { newId } from "@toolyard/service-kit";
import { endableStream } from "@toolyard/events/endable-stream.ts";
import type { DeploymentEventPayload } from "../deployment.ts";
import { PART, type RouteBuilder, type TablePart } from "./route-builder.ts";
import type { Place } from "./route-store.ts";
import type { Route, RouteTable } from "@toolyard/routes";
import { sharedKey } from "./route-table.ts";

export interface RouteFeed {
  read(): Promise<RouteTable>;
  /** Of the current table: it holds all that is committed, and readers get there. */
  version(): Promise<string>;
  /** The current table, then again at each change. */
  follow(): AsyncIterableIterator<RouteTable>;
  /**
   * What has changed since `position`, at once, then each change. Begins with the whole table, in parts, where the position is "", of
   * another process, or older than the event log.
   */
  followChanges(position: string): AsyncIterableIterator<RouteTable>;
}

/** A reader's position: the last event that it knows, and the deployment from which on it knows stopped ones. */
interface Progress {
  sequence: number;
  floor: string;
}

/** The subjects of events that came together. */
interface Batch {
  places: Map<string, Place>;
  deploymentIds: Set<string>;
  sequence: number;
}

export function createRouteFeed(options: {
  builder: RouteBuilder;
  log: EventLog<DeploymentEventPayload>;
  tail: EventTail<DeploymentEventPayload>;
  sessionKey: string;
}): RouteFeed {
  const { builder, log, tail, sessionKey } = options;
  // Another version may make other routes of the same rows, and a restored backup has other events: a position from
  // another process cannot be continued.
  const process = newId();

  const tableOf = (
    { sequence, floor }: Progress,
    part: TablePart,
    { begins, more }: Pick<RouteTable, "begins" | "more"> = { begins: false, more: false },
  ): RouteTable => ({
    version: String(sequence),
    position: `${process}.${sequence}.${floor}`,
    sessionKey,
    begins,
    more,
    ...part,
  });

  async function resume(position: string): Promise<Progress | null> {
    const [of, sequence, floor, ...more] = position.split(".");
    if (of !== process || floor === undefined || more.length > 0) return null;
    return Number(sequence) >= (await log.trimmedTo()) ? { sequence: Number(sequence), floor } : null;
  }

  async function* whole(): AsyncGenerator<RouteTable, Progress> {
    // Read before the rows: no version claims less than it shows.
    const progress = { sequence: await log.latest(), floor: await builder.floor() };
    let begins = true;
    let held: Route[] = [];
    for await (const routes of builder.buildAll(progress.floor)) {
      if (held.length > 0) {
        yield tableOf(progress, { routes: held, removed: [] }, { begins, more: true });
        begins = false;
        // The store answers without leaving the event loop: others have their turn here.
        await yieldToEventLoop();
      }
      held = routes;
    }
    yield tableOf(progress, { routes: held, removed: [] }, { begins, more: false });
    return progress;
  }

  async function* changes(position: string, signal: AbortSignal): AsyncGenerator<RouteTable, undefined> {
    let progress = await resume(position);
    // The reader is up to date: told at once, since nothing may change for long.
    if (progress) yield tableOf(progress, { routes: [], removed: [] });
    else progress = yield* whole();
    // Every change of a route is written with an event of its deployment.
    for await (const batch of inBatches(tail.follow({ after: String(progress.sequence), signal }))) {
      const floor = await builder.floor();
      for await (const moved of builder.placesBetween(progress.floor, floor))
        yield tableOf(progress, await builder.build(moved, [], floor));
      progress = { sequence: batch.sequence, floor };
      yield tableOf(progress, await builder.build([...batch.places.values()], [...batch.deploymentIds], floor));
    }
  }

  async function* tables(signal: AbortSignal): AsyncGenerator<RouteTable, undefined> {
    const known = new Map<string, Route>();
    let changed = true;
    for await (const { begins: _begins, routes, removed, ...table } of changes("", signal)) {
      for (const key of removed) changed = known.delete(key) || changed;
      for (const route of routes) {
        if (JSON.stringify(known.get(route.key)) === JSON.stringify(route)) continue;
        known.set(route.key, route);
        changed = true;
      }
      if (table.more || !changed) continue;
      changed = false;
      yield { ...table, begins: true, routes: [...known.values()], removed: [] };
    }
  }

  return {
    async read() {
      const routes: Route[] = [];
      for (const parts = whole(); ;) {
        const { done, value } = await parts.next();
        if (done) return tableOf(value, { routes, removed: [] }, { begins: true, more: false });
        routes.push(...value.routes);
      }
    },
    version: async () => String(await log.latest()),
    follow: () => endable(tables),
    followChanges: (position) => endable((signal) => changes(position, signal)),
  };
}

/** Batches the events of one turn of the event loop, of a bounded number of deployments. */
async function* inBatches(
  events: AsyncIterableIterator<LoggedEvent<DeploymentEventPayload>>,
): AsyncGenerator<Batch, undefined> {
  const take = () => {
    const step = events.next();
    // Nobody may be waiting for it when it fails; a later waiter gets the error.
    step.catch(() => undefined);
    return step;
  };
  try {
    let coming = take();
    for (;;) {
      const batch: Batch = { places: new Map(), deploymentIds: new Set(), sequence: 0 };
      let step: Awaited<typeof coming> | null = await coming;
      const turn = yieldToEventLoop(null);
      while (step && !step.done) {
        const { sequence, subjectId, payload } = step.value;
        batch.sequence = sequence;
        batch.deploymentIds.add(subjectId);
        const place = { toolId: payload.toolId, environment: payload.environment };
        batch.places.set(sharedKey(place), place);
        coming = take();
        step = batch.deploymentIds.size < PART ? await Promise.race([coming, turn]) : null;
      }
      if (batch.deploymentIds.size > 0) yield batch;
      if (step?.done) return;
    }
  } finally {
    await events.return?.();
  }
}

/** A stream of a generator that ends when `signal` aborts. */
function endable<Item>(open: (signal: AbortSignal) => AsyncGenerator<Item, undefined>): AsyncIterableIterator<Item> {
  const ended = new AbortController();
  const stream = open(ended.signal);
  return endableStream({
    next: () => stream.next(),
    async end() {
      ended.abort();
      await stream.return(undefined);
    },
  });
}
