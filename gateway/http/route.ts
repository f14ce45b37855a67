import { readdir } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import type { Idempotency } from "@toolyard/idempotency";
import type { Caller, Logger } from "@toolyard/service-kit";
import type { FastifyInstance } from "fastify";
import type { GraphQLSchema } from "graphql";
import type { JSONWebKeySet } from "jose";
import type { GatewayContext, OperationGate } from "../admission/operation-gate.ts";
import type { GatewayConfig } from "../config.ts";
import type { PersistedOperations } from "../admission/persisted-operations.ts";
import type { HealthReport } from "../observability/health.ts";
import type { GatewayMetrics } from "../observability/metrics.ts";
import type { PathDescriber } from "../rest/openapi.ts";
import type { SubscriptionProtocols } from "../subscriptions/protocols.ts";
import type { BodyReader } from "./body-reader.ts";
import type { DirectRoute } from "./direct-routes.ts";
import type { ExplorerPage } from "./explorer.ts";
import type { ProxyAccess } from "./passage.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** Successful answers have no line in the log: probes and scrapers send requests all the time. */
    isQuiet?: boolean;
  }
  interface FastifyInstance {
    /** Adds a route that does not pass through Fastify. */
    direct(route: DirectRoute): void;
  }
}

/** The dependencies of routes. */
export interface RouteContext {
  config: GatewayConfig;
  /** The path of PUBLIC_URL, which requests have lost by the time a route sees them; "" where there is none. */
  prefix: string;
  /**
   * The caller, once for each request: a stream ticket is good once.
   * @param given The credential where a header cannot carry it, as in a socket's first message: `{ authorization: "Bearer …" }`
   * @throws ToolyardError when the credential is not valid
   */
  authenticate(request: IncomingMessage, given?: Readonly<Record<string, unknown>>): Promise<Caller>;
  /** The same, but an anonymous caller where the credential is not valid: the gate lets that one log in and no more. */
  identify(request: IncomingMessage): Promise<Caller>;
  /** Tells a route that keeps streams open whose credentials were revoked. @returns the end of it */
  onRevoked(listener: (isConcerned: (caller: Caller) => boolean) => void): () => void;
  contextOf(caller: Caller, request: IncomingMessage, requestId: string): GatewayContext;
  /** The gate for operations on the graph, for any caller. */
  gate: OperationGate;
  /** The graph as clients see it just now. */
  apiSchema: () => GraphQLSchema;
  persisted: PersistedOperations;
  /** Answers once what is sent again under the same Idempotency-Key. */
  idempotency: Pick<Idempotency, "once">;
  protocols: Pick<SubscriptionProtocols, "handleUpgrade" | "handleOperation" | "handleStream">;
  /** Reads bodies of direct routes. */
  bodies: BodyReader;
  health: () => Promise<HealthReport>;
  metrics: GatewayMetrics;
  /** Null where no tokens are issued. */
  jwks: (() => Promise<JSONWebKeySet>) | null;
  /** Where calls of tools go on; null where there is no proxy. */
  proxy: ProxyAccess | null;
  /** The page on which browsers explore the graph; null: none. */
  page: ExplorerPage | null;
  isClosing: () => boolean;
  /** The parts of the OpenAPI document that files in `routes/` export for their URLs. */
  describers: readonly PathDescriber[];
  /** How long a client may leave a large answer unread. */
  stalledMs?: number;
  logger: Logger;
}

/**
 * The default export of a file in `routes/`: adds routes to `app`, a scope of Fastify that is the file's own, with hooks, parsers of
 * content types and handling of errors that no other file has. Errors are answered as problem+json unless it says otherwise.
 */
export type RouteModule = (app: FastifyInstance, context: RouteContext) => void | Promise<void>;

/** The exports of a file in `routes/`. */
interface RouteFile {
  default: RouteModule;
  /** Its URLs in the OpenAPI document, where they belong there. */
  openApi?: PathDescriber;
}

const FOLDER = new URL("./routes/", import.meta.url);

/** Every file in `routes/`: to add one is to add a file. @throws Error naming a file that adds none */
async function readRouteFiles(): Promise<RouteFile[]> {
  const files = (await readdir(FOLDER)).filter((file) => /(?<!\.test)\.ts$/.test(file)).toSorted();
  return Promise.all(
    files.map(async (file) => {
      // The folder's files are this project's own.
      const { default: add, ...others } = (await import(new URL(file, FOLDER).href)) as Partial<RouteFile>;
      if (!add) throw new Error(`gateway/http/routes/${file} has no default export: a function that adds routes.`);
      return { default: add, ...others };
    }),
  );
}

const describersOf = (files: readonly RouteFile[]) => files.flatMap(({ openApi }) => openApi ?? []);

export async function readDescribers(): Promise<PathDescriber[]> {
  return describersOf(await readRouteFiles());
}

export async function loadRoutes(app: FastifyInstance, context: Omit<RouteContext, "describers">): Promise<void> {
  const files = await readRouteFiles();
  const whole = { ...context, describers: describersOf(files) };
  for (const { default: add } of files) await app.register(async (scope) => add(scope, whole));
}
