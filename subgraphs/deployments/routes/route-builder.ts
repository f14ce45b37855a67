import type { Logger, Sealer } from "@toolyard/service-kit";
import { calleeOf } from "../deploying/callee.ts";
import type { DeploymentRecord, DeploymentStore } from "../store/deployment-store.ts";
import { openHeaders, openUrl, whyUnopened } from "../deploying/launch-opening.ts";
import type { LastStopped, Place, RouteStore } from "./route-store.ts";
import type { Route } from "@toolyard/routes";
import { ownKey, ownRoute, sharedKey, sharedRoute, type RouteSecrets } from "./route-table.ts";

/** A part of the current table: its routes, and keys without a route. */
export interface TablePart {
  routes: Route[];
  removed: string[];
}

/** Makes routes from stored rows, some at a time: it reads and unseals only the rows of these. */
export interface RouteBuilder {
  /** The shared routes of these places and the own ones of these deployments. */
  build(places: readonly Place[], deploymentIds: readonly string[], floor: string): Promise<TablePart>;
  /** Every route, in parts. */
  buildAll(floor: string): AsyncGenerator<Route[]>;
  /** The first deployment whose stop the table tells of; it does not know of earlier ones. */
  floor(): Promise<string>;
  /** Places that entered or left the range of stopped deployments that the table knows. */
  placesBetween(floor: string, other: string): AsyncGenerator<Place[]>;
}

/** Deployments read at a time. */
export const PART = 50;
/** Deployments whose secrets cannot be opened, each of them logged once. */
const MAX_TOLD = 10_000;

/** @param stoppedRoutes Stopped tools that a proxy can tell of by name. */
export function createRouteBuilder(options: {
  store: Pick<DeploymentStore, "findMany" | "replicasOf">;
  routes: RouteStore;
  sealer: Sealer;
  stoppedRoutes: number;
  logger: Logger;
}): RouteBuilder {
  const { store, routes, sealer, stoppedRoutes, logger } = options;
  const told = new Set<string>();
  const secrets: RouteSecrets = {
    calleeOf: (deployment, replica) => calleeOf(deployment, replica, sealer),
    headersOf: (deployment) => openHeaders(deployment, sealer),
    urlOf: (deployment) => openUrl(deployment, sealer),
    noteUnopened({ id, name }, error) {
      const reason = whyUnopened(error);
      if (!told.has(id) && told.size < MAX_TOLD) {
        told.add(id);
        logger.error({ deployment: name, reason }, "proxies are given no way to a deployment that cannot be opened");
      }
      return reason;
    },
  };

  async function load(ids: Iterable<string>): Promise<Map<string, DeploymentRecord>> {
    const wanted = [...new Set(ids)];
    if (wanted.length === 0) return new Map();
    const [deployments, replicas] = await Promise.all([store.findMany(wanted), store.replicasOf(wanted)]);
    const byDeployment = Map.groupBy(replicas, ({ deploymentId }) => deploymentId);
    return new Map(
      deployments.map((deployment) => [deployment.id, { deployment, replicas: byDeployment.get(deployment.id) ?? [] }]),
    );
  }

  async function build(places: readonly Place[], deploymentIds: readonly string[], floor: string): Promise<TablePart> {
    const toolIds = [...new Set(places.map(({ toolId }) => toolId))];
    const [running, stopped] =
      toolIds.length === 0 ? [[], []] : await Promise.all([routes.candidates(toolIds), routes.stoppedOf(toolIds)]);
    const candidatesAt = new Map(running.map((each) => [sharedKey(each), each]));
    const stoppedAt = new Map(
      stopped.filter(({ deploymentId }) => deploymentId >= floor).map((each) => [sharedKey(each), each.deploymentId]),
    );
    const chosen = places.flatMap((place) => {
      const candidates = candidatesAt.get(sharedKey(place));
      return candidates
        ? [candidates.active, candidates.starting, candidates.newest]
        : [stoppedAt.get(sharedKey(place)) ?? null];
    });
    const records = await load([...chosen.filter((id) => id !== null), ...deploymentIds]);
    const part: TablePart = { routes: [], removed: [] };
    const add = (key: string, route: Route | null): void => {
      if (route) part.routes.push(route);
      else part.removed.push(key);
    };
    for (const place of places) {
      const key = sharedKey(place);
      const candidates = candidatesAt.get(key);
      const last = records.get(stoppedAt.get(key) ?? "");
      const found = { candidates, stopped: last?.deployment ?? null, recordOf: (id: string) => records.get(id) };
      add(key, sharedRoute(place, found, secrets));
    }
    for (const id of deploymentIds) {
      const record = records.get(id);
      add(ownKey({ id }), record ? ownRoute(record, secrets) : null);
    }
    return part;
  }

  /** Places of rows by deployment, from `from` on and before `to`. */
  async function* stoppedPlaces(from: string, to?: string): AsyncGenerator<LastStopped[]> {
    for (let next = from; ;) {
      const rows = await routes.stoppedFrom(next, PART, to);
      if (rows.length > 0) yield rows;
      const last = rows.at(-1);
      if (rows.length < PART || !last) return;
      // No id sorts between one and the same with this behind it.
      next = `${last.deploymentId}!`;
    }
  }

  return {
    build,
    async *buildAll(floor) {
      for (let last = ""; ;) {
        const page = await routes.runningAfter(last, PART);
        if (page.length === 0) break;
        const ids = page.map(({ id }) => id);
        const newest = new Map(page.map((deployment) => [sharedKey(deployment), deployment]));
        // A place's route is told once: with the newest of its deployments.
        const ahead = new Set(
          (await routes.candidates([...new Set(page.map(({ toolId }) => toolId))]))
            .filter((each) => each.newest !== newest.get(sharedKey(each))?.id)
            .map(sharedKey),
        );
        const places = [...newest].flatMap(([key, place]) => (ahead.has(key) ? [] : [place]));
        yield (await build(places, ids, floor)).routes;
        last = ids.at(-1) ?? last;
      }
      for await (const places of stoppedPlaces(floor)) yield (await build(places, [], floor)).routes;
    },
    floor: () => routes.stoppedFloor(stoppedRoutes),
    async *placesBetween(floor, other) {
      if (floor === other) return;
      yield* floor < other ? stoppedPlaces(floor, other) : stoppedPlaces(other, floor);
    },
  };
}
