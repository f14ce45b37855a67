import type { EventLog, EventTail } from "@toolyard/events";
import type { Sealer } from "@toolyard/service-kit";
import { calleeOf } from "../callee.ts";
import { openHeaders, openUrl } from "../launch-opening.ts";
import type { Deployment, DeploymentEventPayload, Replica } from "../deployment.ts";
import type { DeploymentStore } from "../deployment-store.ts";
import { buildRoutes, type Route } from "./route-table.ts";

export interface RouteTable {
  /** The event log's position as of which the routes are: it rises with every change, also across restarts. */
  version: string;
  /** Base64url of the key by which proxies sign MCP session ids. Secret. */
  sessionKey: string;
  routes: Route[];
}

export interface RouteFeed {
  read(): Promise<RouteTable>;
  /** The table as it is, then again at each change. */
  follow(): AsyncIterableIterator<RouteTable>;
}

/** Stopped tools that a proxy can tell of by name; of more than that it says that they are unknown. */
const STOPPED_ROUTES = 1_000;

export function createRouteFeed(options: {
  store: DeploymentStore;
  log: EventLog<DeploymentEventPayload>;
  tail: EventTail<DeploymentEventPayload>;
  sealer: Sealer;
  sessionKey: string;
}): RouteFeed {
  const { store, log, tail, sealer, sessionKey } = options;
  const secrets = {
    calleeOf: (deployment: Deployment, replica: Replica) => calleeOf(deployment, replica, sealer),
    headersOf: (deployment: Deployment) => openHeaders(deployment, sealer),
    urlOf: (deployment: Deployment) => openUrl(deployment, sealer),
  };

  async function read(): Promise<RouteTable> {
    // Every change of a route is written with an event. Read before the rows, so that no version claims less than it shows.
    const version = await log.latest();
    const [records, stopped] = await Promise.all([store.unsettled(), store.lastStopped(STOPPED_ROUTES)]);
    return { version: String(version), sessionKey, routes: buildRoutes(records, stopped, secrets) };
  }

  function follow(): AsyncIterableIterator<RouteTable> {
    const ended = new AbortController();
    let last: string | null = null;
    async function* tables(): AsyncGenerator<RouteTable, undefined> {
      const start = await log.latest();
      const events = tail.follow({ after: String(start), signal: ended.signal });
      try {
        let version = -1;
        while (!ended.signal.aborted) {
          if (version >= 0) {
            const step = await events.next();
            if (step.done) return;
            // What was read last knew of it: a burst of events is one table.
            if (step.value.sequence <= version) continue;
          }
          const table = await read();
          version = Number(table.version);
          const content = JSON.stringify(table.routes);
          if (content === last) continue;
          last = content;
          yield table;
        }
      } finally {
        await events.return?.();
      }
    }
    const stream = tables();
    const end = async (): Promise<IteratorReturnResult<undefined>> => {
      ended.abort();
      await stream.return(undefined);
      return { done: true, value: undefined };
    };
    return {
      next: () => stream.next(),
      return: end,
      async throw(error) {
        await end();
        throw error;
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  return { read, follow };
}
