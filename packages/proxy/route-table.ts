import { z } from "zod";

const route = z.object({
  slug: z.string(),
  /** "" for production, "staging", or the name of one deployment. */
  ref: z.string(),
  toolId: z.string(),
  deploymentId: z.string(),
  digest: z.string(),
  /** Share of the calls, in percent. */
  weight: z.number(),
  timeoutSeconds: z.number().positive(),
  maxConcurrentCalls: z.number().nullish().default(null),
  mcpPath: z.string(),
  /** What calls may reach besides it; null: all. */
  paths: z.array(z.string()).nullish().default(null),
  enforceApproval: z.boolean(),
  approvedToolsHash: z.string().nullish().default(null),
  stateReason: z.string().nullish().default(null),
  /** Whether nothing answers only for now. */
  awaited: z.boolean().default(false),
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

/** The control plane's table of routes, as it arrives and as it lies on disk. Holds secrets. */
export const routeTableSchema = z.object({
  version: z.string(),
  /** Base64url, 32 bytes: signs session ids. */
  sessionKey: z.string().min(16),
  routes: z.array(route),
});

export type RouteTable = z.infer<typeof routeTableSchema>;
export type Route = RouteTable["routes"][number];
export type RouteTarget = Route["targets"][number];
