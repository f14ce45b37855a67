import type { Logger } from "@toolyard/service-kit";
import { createReplica, type Replica } from "./replica.ts";
import type { Route, RouteTable, RouteTarget } from "./route-table.ts";
import { createRequestStates, type RequestStates } from "./request-state.ts";
import { createSessionIds, type SessionIds } from "./session-id.ts";

/** Calls of a tool under way, over all its routes. */
export interface ToolLoad {
  running: number;
}

/** One deployment behind a route. */
export interface DeploymentRoute extends Route {
  readonly replicas: readonly Replica[];
  readonly load: ToolLoad;
  /** `mcpPath` without its query. */
  readonly mcpPathname: string;
  /** Templates for usage: of the MCP endpoint, and of everything else. */
  readonly mcpEndpoint: string;
  readonly otherEndpoint: string;
}

/** What `/mcp/{slug}@{ref}/v1` leads to: one deployment, or several that share the calls by weight. */
export interface RouteGroup {
  readonly toolId: string;
  readonly deployments: readonly [DeploymentRoute, ...DeploymentRoute[]];
}

/** The route table, live. */
export interface Routes {
  /** Takes the place of the table before. Replicas in both keep their connections; calls under way go on. */
  apply(table: RouteTable): void;
  /** Null before the first table. */
  version(): string | null;
  count(): number;
  find(slug: string, ref: string): RouteGroup | undefined;
  /** Calls `listener` once, after the next table. Answers how to take that back. */
  onceChanged(listener: () => void): () => void;
  /** Null before the first table. */
  sessionIds(): SessionIds | null;
  /** Null before the first table. */
  requestStates(): RequestStates | null;
  outstanding(): number;
  close(): Promise<void>;
}

export function createRoutes(options: { allowPrivateRemotes: boolean; logger: Logger; now?: () => number }): Routes {
  const { allowPrivateRemotes, logger, now = Date.now } = options;
  let groups = new Map<string, RouteGroup>();
  let replicas = new Map<string, Replica>();
  let loads = new Map<string, ToolLoad>();
  let version: string | null = null;
  let signing: { key: string; sessionIds: SessionIds; requestStates: RequestStates } | null = null;
  let waiting = new Set<() => void>();
  const onPoolError = (error: unknown) => logger.warn({ err: error }, "connections of a replica could not be closed");

  function replicaFor(target: RouteTarget, next: Map<string, Replica>): Replica {
    // The same replica may be in several routes: one pool and one count for it.
    const key = [
      target.replicaId,
      target.url,
      target.token,
      target.owner,
      target.mcpTarget,
      JSON.stringify(target.headers),
    ].join("\n");
    const kept = next.get(key) ?? replicas.get(key);
    const replica = kept ?? createReplica({ target, allowPrivateRemotes, onPoolError, logger, now });
    if (kept) kept.setReady(target.ready);
    next.set(key, replica);
    return replica;
  }

  return {
    apply(table) {
      const nextReplicas = new Map<string, Replica>();
      const nextLoads = new Map<string, ToolLoad>();
      const byKey = new Map<string, DeploymentRoute[]>();
      for (const route of table.routes) {
        const load = nextLoads.get(route.toolId) ?? loads.get(route.toolId) ?? { running: 0 };
        nextLoads.set(route.toolId, load);
        const base = `/mcp/{slug}${route.ref === "" ? "" : route.ref === "staging" ? "@staging" : "@{deployment}"}/v1`;
        const deployment: DeploymentRoute = {
          ...route,
          replicas: route.targets.map((target) => replicaFor(target, nextReplicas)),
          load,
          mcpPathname: withoutQuery(route.mcpPath),
          mcpEndpoint: base + withoutQuery(route.mcpPath),
          otherEndpoint: `${base}/{path}`,
        };
        const key = keyOf(route.slug, route.ref);
        const group = byKey.get(key);
        if (group) group.push(deployment);
        else byKey.set(key, [deployment]);
      }
      const retired = [...replicas].filter(([key]) => !nextReplicas.has(key));
      groups = new Map(
        [...byKey].flatMap(([key, [first, ...others]]) =>
          first ? [[key, { toolId: first.toolId, deployments: [first, ...others] }]] : [],
        ),
      );
      replicas = nextReplicas;
      loads = nextLoads;
      version = table.version;
      if (signing?.key !== table.sessionKey) {
        const key = table.sessionKey;
        signing = { key, sessionIds: createSessionIds({ key }), requestStates: createRequestStates({ key, now }) };
      }
      for (const [, replica] of retired) replica.retire();
      const told = waiting;
      waiting = new Set();
      for (const listener of told) listener();
    },
    version: () => version,
    count: () => groups.size,
    find: (slug, ref) => groups.get(keyOf(slug, ref)),
    onceChanged(listener) {
      waiting.add(listener);
      return () => waiting.delete(listener);
    },
    sessionIds: () => signing?.sessionIds ?? null,
    requestStates: () => signing?.requestStates ?? null,
    outstanding: () => [...replicas.values()].reduce((sum, replica) => sum + replica.outstanding, 0),
    async close() {
      await Promise.all([...replicas.values()].map((replica) => replica.destroy()));
    },
  };
}

/** Neither a slug nor a ref has a slash. */
function keyOf(slug: string, ref: string): string {
  return `${slug}/${ref}`;
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
