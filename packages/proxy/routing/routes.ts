import type { Logger } from "@toolyard/service-kit";
import { createReplica, type Replica } from "./replica.ts";
import type { Route, RouteTable, RouteTarget } from "@toolyard/routes";
import { createRequestStates, type RequestStates } from "../mcp/request-state.ts";
import { createSessionIds, type SessionIds } from "../mcp/session-id.ts";
import type { Demand } from "./demand.ts";
import { createRefCountedMap, type RefCountedMap } from "../calls/ref-counted-map.ts";

/** Calls of a tool under way, over all its routes. */
export interface ToolLoad {
  running: number;
}

/** One deployment behind a route. */
export interface DeploymentRoute extends Route {
  readonly replicas: readonly Replica[];
  readonly load: ToolLoad;
  /** Null unless it is scaled by its load. */
  readonly demand: Demand | null;
  /** `mcpPath` without its query. */
  readonly mcpPathname: string;
  /** Templates for usage: of the MCP endpoint, and of everything else. */
  readonly mcpEndpoint: string;
  readonly otherEndpoint: string;
}

/** The target of `/mcp/{slug}@{ref}/v1`: one deployment, or several that share the calls by weight. */
export interface RouteGroup {
  readonly toolId: string;
  readonly deployments: readonly [DeploymentRoute, ...DeploymentRoute[]];
}

/** The outcome of `apply`: nothing yet, a whole table, or a change of the present one. */
export type Applied = "NOTHING" | "TABLE" | "CHANGE";

/** The route table, live. */
export interface Routes {
  /**
   * Takes in a whole table, a part of one or a change, with work in proportion to its argument. A whole table replaces the one before
   * when its last part has come. Replicas in both keep their connections; calls under way go on.
   */
  apply(table: RouteTable): Applied;
  /** The version from which to ask the control plane on; "" for the whole table. Parts of one that has not come whole are forgotten. */
  resume(): string;
  /** The current table, in parts of a bounded size that `apply` takes; null before the first. May be read while the table changes, if the changes are applied after it. */
  parts(): Generator<RouteTable> | null;
  /** Null before the first table. */
  version(): string | null;
  count(): number;
  /** The name of a deployment that has a route of its own. */
  nameOf(deploymentId: string): string | undefined;
  find(slug: string, ref: string): RouteGroup | undefined;
  /** Calls `listener` once, after the next change of this address's targets. Returns a function that unsubscribes. */
  onceChanged(slug: string, ref: string, listener: () => void): () => void;
  /** Null before the first table. */
  sessionIds(): SessionIds | null;
  /** Null before the first table. */
  requestStates(): RequestStates | null;
  outstanding(): number;
  close(): Promise<void>;
}

/** Routes by key, and their groups by address. */
interface Table {
  routes: Map<string, DeploymentRoute>;
  groups: Map<string, RouteGroup>;
}

const PART = 100;

export function createRoutes(options: {
  allowPrivateRemotes: boolean;
  demandOf: (deploymentId: string) => Demand;
  logger: Logger;
  /** Notes that a replica is in no route any more. */
  onLeft?: (replica: Replica) => void;
  /** Notes that a deployment has no route of its own any more. */
  onDeploymentLeft?: (deploymentId: string) => void;
  now?: () => number;
}): Routes {
  const { allowPrivateRemotes, demandOf, logger, now = Date.now } = options;
  const { onLeft = () => undefined, onDeploymentLeft = () => undefined } = options;
  const onPoolError = (error: unknown) => logger.warn({ err: error }, "connections of a replica could not be closed");
  // The same replica may be in several routes, and in a table that is still coming: one pool and one count for it.
  const replicas: RefCountedMap<Replica> = createRefCountedMap((replica) => {
    onLeft(replica);
    replica.retire();
  });
  const loads: RefCountedMap<ToolLoad> = createRefCountedMap();
  const demands: RefCountedMap<Demand> = createRefCountedMap();
  const named: RefCountedMap<Pick<Route, "deploymentId" | "ref">> = createRefCountedMap(({ deploymentId }) =>
    onDeploymentLeft(deploymentId),
  );
  let table: Table = { routes: new Map(), groups: new Map() };
  let coming: Table | null = null;
  let latest: Pick<RouteTable, "version" | "position" | "sessionKey"> | null = null;
  let signing: { key: string; sessionIds: SessionIds; requestStates: RequestStates } | null = null;
  const waiting = new Map<string, Set<() => void>>();

  function take(route: Route): DeploymentRoute {
    const { deploymentId, ref } = route;
    const isOwn = isOwnRoute(route);
    if (isOwn) named.acquire(deploymentId, () => ({ deploymentId, ref }));
    const base = `/mcp/{slug}${isOwn ? "@{deployment}" : ref === "" ? "" : `@${ref}`}/v1`;
    const mcpPathname = withoutQuery(route.mcpPath);
    return {
      ...route,
      replicas: route.targets.map((target) => {
        const create = () => createReplica({ target, allowPrivateRemotes, onPoolError, logger, now });
        const replica = replicas.acquire(replicaKey(target), create);
        replica.setReady(target.ready);
        return replica;
      }),
      load: loads.acquire(route.toolId, () => ({ running: 0 })),
      demand: route.autoscaled ? demands.acquire(deploymentId, () => demandOf(deploymentId)) : null,
      mcpPathname,
      mcpEndpoint: base + mcpPathname,
      otherEndpoint: `${base}/{path}`,
    };
  }

  function release(route: DeploymentRoute | undefined): void {
    if (!route) return;
    for (const target of route.targets) replicas.release(replicaKey(target));
    loads.release(route.toolId);
    if (route.demand !== null) demands.release(route.deploymentId);
    if (isOwnRoute(route)) named.release(route.deploymentId);
  }

  /** Answers the route that had the key. */
  function remove(from: Table, key: string): DeploymentRoute | undefined {
    const route = from.routes.get(key);
    if (!route) return undefined;
    from.routes.delete(key);
    const address = addressOf(route.slug, route.ref);
    setGroup(from, address, from.groups.get(address)?.deployments.filter((other) => other !== route) ?? []);
    return route;
  }

  function set(into: Table, route: DeploymentRoute): DeploymentRoute | undefined {
    const before = remove(into, route.key);
    into.routes.set(route.key, route);
    const address = addressOf(route.slug, route.ref);
    setGroup(into, address, [...(into.groups.get(address)?.deployments ?? []), route]);
    return before;
  }

  function wake(address: string): void {
    const listeners = waiting.get(address);
    waiting.delete(address);
    for (const listener of listeners ?? []) listener();
  }

  /** Replaces the table, and releases replicas that only the old one had. */
  function replaceBy(next: Table): void {
    const before = table;
    table = next;
    for (const route of before.routes.values()) release(route);
    // A listener that is woken may wait again.
    const told = [...waiting.values()].flatMap((listeners) => [...listeners]);
    waiting.clear();
    for (const listener of told) listener();
  }

  function forgetComing(): void {
    for (const route of coming?.routes.values() ?? []) release(route);
    coming = null;
  }

  function change({ routes, removed }: RouteTable): void {
    const addresses = new Set<string>();
    const note = (route: DeploymentRoute | undefined): DeploymentRoute | undefined => {
      if (route) addresses.add(addressOf(route.slug, route.ref));
      return route;
    };
    // Replicas in both are acquired before they are released.
    const before = routes.map((route) => {
      const taken = take(route);
      note(taken);
      return note(set(table, taken));
    });
    for (const key of removed) before.push(note(remove(table, key)));
    for (const route of before) release(route);
    for (const address of addresses) wake(address);
  }

  function apply(given: RouteTable): Applied {
    if (given.begins) {
      forgetComing();
      coming = { routes: new Map(), groups: new Map() };
    }
    const whole = coming;
    if (whole) for (const route of given.routes) release(set(whole, take(route)));
    if (given.more) return "NOTHING";
    const { version, position, sessionKey } = given;
    latest = { version, position, sessionKey };
    if (signing?.key !== sessionKey) {
      const key = sessionKey;
      signing = { key, sessionIds: createSessionIds({ key }), requestStates: createRequestStates({ key, now }) };
    }
    coming = null;
    if (whole) replaceBy(whole);
    else change(given);
    return whole ? "TABLE" : "CHANGE";
  }

  return {
    apply,
    resume() {
      forgetComing();
      return latest?.position ?? "";
    },
    parts: () => latest && partsOf(latest, table.routes.values()),
    version: () => latest?.version ?? null,
    count: () => table.groups.size,
    nameOf: (deploymentId) => named.get(deploymentId)?.ref,
    find: (slug, ref) => table.groups.get(addressOf(slug, ref)),
    onceChanged(slug, ref, listener) {
      const address = addressOf(slug, ref);
      const listeners = waiting.get(address) ?? new Set();
      waiting.set(address, listeners.add(listener));
      return () => {
        listeners.delete(listener);
        if (listeners.size === 0 && waiting.get(address) === listeners) waiting.delete(address);
      };
    },
    sessionIds: () => signing?.sessionIds ?? null,
    requestStates: () => signing?.requestStates ?? null,
    outstanding: () => [...replicas.values()].reduce((sum, replica) => sum + replica.outstanding, 0),
    async close() {
      await Promise.all([...replicas.values()].map((replica) => replica.destroy()));
    },
  };
}

function setGroup({ groups }: Table, address: string, deployments: readonly DeploymentRoute[]): void {
  const [first, ...others] = deployments;
  if (first) groups.set(address, { toolId: first.toolId, deployments: [first, ...others] });
  else groups.delete(address);
}

/** Its last part has no routes: it tells the version of the table, which may be behind the routes. */
function* partsOf(
  latest: Pick<RouteTable, "version" | "position" | "sessionKey">,
  routes: Iterable<DeploymentRoute>,
): Generator<RouteTable> {
  let begins = true;
  let part: Route[] = [];
  for (const {
    replicas: _,
    load: _load,
    demand: _demand,
    mcpPathname: _path,
    mcpEndpoint: _mcp,
    otherEndpoint: _other,
    ...route
  } of routes) {
    part.push(route);
    if (part.length < PART) continue;
    yield { ...latest, begins, more: true, routes: part, removed: [] };
    begins = false;
    part = [];
  }
  yield { ...latest, begins, more: false, routes: part, removed: [] };
}

/** Whether it is one deployment's alone, by whose name it is called. */
function isOwnRoute({ ref }: Route): boolean {
  return ref !== "" && ref !== "staging";
}

/** Neither a slug nor a ref has a slash. */
function addressOf(slug: string, ref: string): string {
  return `${slug}/${ref}`;
}

function replicaKey({ replicaId, url, token, owner, mcpTarget, headers }: RouteTarget): string {
  return [replicaId, url, token, owner, mcpTarget, JSON.stringify(headers)].join("\n");
}

function withoutQuery(path: string): string {
  const end = path.indexOf("?");
  return end === -1 ? path : path.slice(0, end);
}

/** The replica with this id among those that the route leads to. */
export function findReplica(
  group: RouteGroup | null | undefined,
  replicaId: string,
): { deployment: DeploymentRoute; replica: Replica } | null {
  for (const deployment of group?.deployments ?? []) {
    for (const replica of deployment.replicas) if (replica.id === replicaId) return { deployment, replica };
  }
  return null;
}
