import { callOptionsSchema } from "@toolyard/launch/launch.ts";
import { z } from "zod";
import { BALANCES, DEFAULT_BALANCE } from "./balances.ts";

const route = z.object({
  key: z.string(),
  slug: z.string(),
  /** "" for production, "staging", or the name of one deployment. */
  ref: z.string(),
  toolId: z.string(),
  deploymentId: z.string(),
  digest: z.string(),
  /** Share of the calls, in percent. */
  weight: z.number(),
  options: callOptionsSchema,
  mcpPath: z.string(),
  /** The paths that calls may reach besides it; null: all. */
  paths: z.array(z.string()).nullish().default(null),
  approvedToolsHash: z.string().nullish().default(null),
  stateReason: z.string().nullish().default(null),
  /** Whether nothing answers only for now. */
  awaited: z.boolean().default(false),
  /** Whether its load is to be told, and its calls held while it wakes. */
  autoscaled: z.boolean().default(false),
  balance: z.enum(BALANCES).default(DEFAULT_BALANCE),
  offer: z.string().nullish().default(null),
  targets: z.array(
    z.object({
      replicaId: z.string(),
      url: z.url({ protocol: /^(https?|unix)$/ }),
      token: z.string(),
      owner: z.string().nullish().default(null),
      ready: z.boolean(),
      headers: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
      /** Path and query of its MCP endpoint; "": the route's. */
      mcpTarget: z.string().default(""),
      remote: z.boolean().default(false),
    }),
  ),
});

/** Of an earlier version, on disk: a tool has one route of each ref, and options are the route's own fields. */
const named = z.preprocess((given) => {
  const { success, data } = z.looseObject({ toolId: z.string(), ref: z.string() }).safeParse(given);
  return success ? { key: `${data.toolId}/${data.ref}`, options: data, ...data } : given;
}, route);

/**
 * The control plane's table of routes, a part of it, or what has changed of it, as it arrives and as it lies on disk. Holds secrets.
 * Without the fields of later versions, it is a whole table.
 */
export const routeTableSchema = z.object({
  version: z.string(),
  /** The position to ask on from, once this is taken in; "": none. */
  position: z.string().default(""),
  /** Base64url, 32 bytes: signs session ids. */
  sessionKey: z.string().min(16),
  /** The whole table begins: it takes the place of all before it. */
  begins: z.boolean().default(true),
  /** More of the same table follows, and only then is it good for use. */
  more: z.boolean().default(false),
  routes: z.array(named),
  /** Keys of routes that are no more. */
  removed: z.array(z.string()).default([]),
});

export type RouteTable = z.infer<typeof routeTableSchema>;
export type Route = RouteTable["routes"][number];
export type RouteTarget = Route["targets"][number];

/** A route that is not as agreed. */
export interface RefusedRoute {
  /** "": it does not say. */
  key: string;
  problems: string;
}

/** Selects all of a RouteTable of the graph. */
export const ROUTE_TABLE_SELECTION = `{ version position sessionKey begins more removed routes {
  key slug ref toolId deploymentId digest weight options mcpPath paths approvedToolsHash stateReason awaited autoscaled balance offer
  targets { replicaId url token owner ready headers { name value } mcpTarget remote } } }`;

/**
 * A table as the control plane sends it. Routes that are not as agreed are left out, and taken out of the table before.
 * @throws ZodError where the table itself is not.
 */
export function parseRouteTable(data: unknown): { table: RouteTable; refused: RefusedRoute[] } {
  const { routes: given, ...head } = routeTableSchema.extend({ routes: z.array(z.unknown()) }).parse(data);
  const table: RouteTable = { ...head, routes: [] };
  const refused: RefusedRoute[] = [];
  for (const each of given) {
    const parsed = route.safeParse(each);
    if (parsed.success) {
      table.routes.push(parsed.data);
      continue;
    }
    const key = z.object({ key: z.string() }).safeParse(each).data?.key ?? "";
    refused.push({ key, problems: z.prettifyError(parsed.error) });
    if (key !== "") table.removed.push(key);
  }
  return { table, refused };
}
