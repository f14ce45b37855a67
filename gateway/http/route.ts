import { readdir } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import type { Caller } from "@toolyard/service-kit";
import type { RouteOptions } from "fastify";
import type { JSONWebKeySet } from "jose";
import type { GatewayContext, OperationGate } from "../admission/operation-gate.ts";
import type { HealthReport } from "../observability/health.ts";
import type { GatewayMetrics } from "../observability/metrics.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Successful answers have no line in the log: probes and scrapers send requests all the time. */
    isQuiet?: boolean;
  }
}

/** The dependencies of routes. */
export interface RouteContext {
  /** The caller. @throws ToolyardError when the credential is not valid */
  authenticate(request: IncomingMessage): Promise<Caller>;
  contextOf(caller: Caller, request: IncomingMessage, requestId: string): GatewayContext;
  /** The gate for operations on the graph, for any caller. */
  gate: OperationGate;
  health: () => Promise<HealthReport>;
  metrics: GatewayMetrics;
  /** The token that opens /metrics besides administrators' credentials. */
  metricsToken: string | null;
  /** Null where no tokens are issued. */
  jwks: (() => Promise<JSONWebKeySet>) | null;
}

/** The default export of a file in `routes/`. An error that a handler throws is answered as problem+json. */
export type RouteModule = (context: RouteContext & { isClosing: () => boolean }) => RouteOptions[];

const FOLDER = new URL("./routes/", import.meta.url);

/** The routes of every file in `routes/`: to add one is to add a file. @throws Error naming a file that exports none */
export async function loadRoutes(context: Parameters<RouteModule>[0]): Promise<RouteOptions[]> {
  const files = (await readdir(FOLDER)).filter((file) => /(?<!\.test)\.ts$/.test(file)).toSorted();
  const routes = files.map(async (file) => {
    // The folder's files are this project's own.
    const { default: create } = (await import(new URL(file, FOLDER).href)) as { default?: RouteModule };
    if (!create) throw new Error(`gateway/http/routes/${file} has no default export: a function that returns routes.`);
    return create(context);
  });
  return (await Promise.all(routes)).flat();
}
