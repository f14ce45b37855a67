import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createIdempotency, createMemoryIdempotencyStore, type IdempotencyStore } from "@toolyard/idempotency";
import {
  CALLER_HEADER,
  ConfigError,
  ToolyardError,
  createStranger,
  createTokenSigner,
  messageOf,
  newId,
  type Caller,
  type Gauge,
  type GraphClient,
  type Logger,
  type ServiceHealth,
} from "@toolyard/service-kit";
import { createScheduler, type Scheduler } from "@toolyard/scheduler";
import { createClockWatch } from "@toolyard/service-kit/identity/clock-watch.ts";
import { createSealer } from "@toolyard/service-kit/identity/sealing.ts";
import { prefixOf } from "@toolyard/service-kit/process/config.ts";
import type { CreateTokenBuckets } from "@toolyard/rate-limits";
import type { JSONWebKeySet } from "jose";
import { noRequestLog, type RequestLog } from "@toolyard/service-kit/http/request-log.ts";
import { createCallerLimits, noCallerLimits } from "./admission/caller-limits.ts";
import type { GatewayConfig } from "./config.ts";
import { ENGINES } from "./execution/executor.ts";
import type { SubgraphClient } from "./execution/clients/subgraph-client.ts";
import { createExecutorGraphClient } from "./graph-client.ts";
import { checkHealth, type HealthReport } from "./observability/health.ts";
import { eventOperations } from "./events/event-logs.ts";
import { createGraphiqlPage } from "./http/explorer.ts";
import type { ProxyAccess } from "./http/passage.ts";
import { createGatewayServer, type GatewayServer } from "./http/http-server.ts";
import type { ForeignAuthenticator } from "./identity/jwks-authentication.ts";
import { operationsOf } from "./rest/rest-api.ts";
import { restRoutes } from "./rest/routes/index.ts";
import { createLiveGraph } from "./supergraph/live-graph.ts";
import { createGatewayMetrics } from "./observability/metrics.ts";
import { createOperationGate, type GatewayContext } from "./admission/operation-gate.ts";
import {
  createOperationCache,
  createPersistedOperations,
  parsePersistedOperations,
} from "./admission/persisted-operations.ts";
import { followGraph } from "./subscriptions/resubscription.ts";
import { createShadow } from "./execution/reference/shadow.ts";
import type { RequestHead } from "./subscriptions/http-exchange.ts";
import { createSubscriptionProtocols } from "./subscriptions/protocols.ts";
import { OPEN_MUTATIONS, createToolyardIdentity } from "./identity/toolyard-identity.ts";
import { noTelemetry, type Telemetry } from "./observability/telemetry.ts";
import { continueTrace } from "@toolyard/service-kit/tracing/trace-context.ts";

/** Node accepts no longer headers. */
const MAX_CREDENTIAL_LENGTH = 16_384;

interface CommonOptions {
  config: GatewayConfig;
  supergraphSdl: string;
  healthChecks: readonly (() => Promise<ServiceHealth[]>)[];
  /** Warnings for operators, shown in /health. */
  notes?: readonly string[];
  /** The subgraphs' metrics, collected from each. */
  gauges: () => readonly Promise<readonly Gauge[]>[];
  /** Closed with the gateway, as the last. Nothing is recorded or reported unless given. */
  telemetry?: Telemetry;
  /** False where the subgraphs' clients tell them nothing of the caller but the forwarded headers; more can be shared then. */
  subgraphsKnowCallers?: boolean;
  /** Where answers to requests with an Idempotency-Key are kept, closed with the gateway; in memory unless given. */
  idempotencyStore?: IdempotencyStore;
  /** Epoch milliseconds by the clock of all who share that store; this host's unless given. */
  now?: () => number;
  /** The process's, where it has one. */
  scheduler?: Scheduler;
  /** By which callers' rates are limited; each gateway limits for itself unless given. */
  createTokenBuckets?: CreateTokenBuckets;
  logger: Logger;
  /** Where each request has its line; none unless given. */
  requestLog?: RequestLog;
  /** Aborts when no more requests are to be sent here: readiness says so. */
  draining?: AbortSignal;
}

/** How subgraphs are reached: those of this process, or any by name and URL. The gateway closes the clients. */
type SubgraphOptions =
  { clients: readonly SubgraphClient[] } | { createClient: (name: string, url: string) => SubgraphClient };

/** Identifies callers: Toolyard's own identity, trusted by SECRET_KEY (current first), or another source. */
type IdentityOptions =
  | {
      secretKeys: readonly string[];
      /** The URL at which this process reaches the proxy, to which calls of tools are passed on; without it none are. */
      proxyAddress?: string;
    }
  | { authenticator: ForeignAuthenticator };

export type GatewayOptions = CommonOptions & SubgraphOptions & IdentityOptions;

export interface Gateway {
  /** The graph for parts in this process. */
  graph: GraphClient;
  health(): Promise<HealthReport>;
  /**
   * Puts another supergraph into service; running operations end on the old one.
   * @throws Error saying why it cannot be used; the old one stays
   */
  replaceSupergraph(supergraphSdl: string): Promise<void>;
  /** Follows revocations, then listens. */
  listen(): Promise<GatewayServer>;
  close(): Promise<void>;
}

/** The gateway without a process around it: hosted by gateway/main.ts and by standalone.ts. */
export function createGateway(options: GatewayOptions): Gateway {
  const { config, supergraphSdl, healthChecks, notes = [], gauges, logger } = options;
  const { protection } = config;
  const { telemetry = noTelemetry, requestLog = noRequestLog, draining = new AbortController().signal } = options;
  const { now = Date.now } = options;
  const { tracing, usage } = telemetry;
  let server: GatewayServer | null = null;

  const metrics = createGatewayMetrics({
    gauges: () => [...gauges(), Promise.resolve(jobs.gauges())],
    subscriptions: () => gate.activeStreams,
    droppedEvents: () => gate.droppedEvents,
    maxOperations: config.maxOperationMetrics,
  });
  const persisted = createPersistedOperations({
    listed: listedOperations(protection.persistedOperationsFile),
    registered: createOperationCache(metrics.caches.of("persisted-operations")),
    automatic: protection.automaticPersistedQueries && !protection.safelist,
  });
  const ownOperations = new Set([...operationsOf(restRoutes), ...eventOperations]);
  const { subgraphsKnowCallers = true } = options;
  const { executor: answering, shadowShare } = config;
  const other = ENGINES.find((engine) => engine !== answering) ?? answering;
  const engines = [answering, ...(shadowShare > 0 ? [other] : [])] as const;
  const live = createLiveGraph({
    supergraphSdl,
    createClient(name, url) {
      const client = clientOf(options, name, url);
      return metrics.operations.timed(tracing ? tracing.traced(client) : client);
    },
    limits: protection.operations,
    introspection: config.introspection,
    isKnown: protection.safelist ? (query) => persisted.isListed(query) || ownOperations.has(query) : undefined,
    timeoutMs: protection.timeoutMs,
    subgraphsKnowCallers,
    engines,
    onReplacedPlan: (replaced) => metrics.planReplaced(replaced),
    log: logger,
  });
  const graph = createExecutorGraphClient({
    execute: (request) => live.use(({ executor }) => executor.execute(request)),
    subscribe: (request) =>
      followGraph({
        live,
        request,
        admit: ({ admission }) => admission.internal.admit(request.query, request.operationName ?? null),
      }),
  });

  const watch = createClockWatch({ logger, who: "a part that asks the gateway" });
  const identity =
    "secretKeys" in options
      ? createToolyardIdentity({
          graph,
          secretKeys: options.secretKeys,
          count: metrics.caches.of("credentials"),
          logger,
          now,
          watch,
        })
      : {
          authenticator: options.authenticator,
          now,
          health: () => [],
          start: () => undefined,
          close: async () => undefined,
        };
  const { authenticator } = identity;
  const scopesOf = "authenticator" in options ? options.authenticator.scopesOf : () => undefined;

  const shadow =
    shadowShare > 0
      ? createShadow({
          graph: live,
          share: shadowShare,
          engines: [answering, other],
          count: (outcome) => metrics.compared(outcome),
          log: logger,
        })
      : null;
  const gate = createOperationGate({
    graph: live,
    callerLimits: protection.caller
      ? createCallerLimits({
          ...protection.caller,
          ...(options.createTokenBuckets && { createBuckets: options.createTokenBuckets }),
        })
      : noCallerLimits,
    metrics: metrics.operations,
    slowOperationMs: config.slowOperationMs,
    maskErrors: protection.maskErrors,
    openMutations: "secretKeys" in options ? OPEN_MUTATIONS : [],
    usage,
    shadow,
    subgraphsKnowCallers,
    log: logger,
    requestLog,
  });

  /** Headers from the first message of a socket: browsers cannot give its request headers. */
  const connectionParams = new WeakMap<RequestHead, Readonly<Record<string, unknown>>>();

  function contextOf(caller: Caller, request: RequestHead, requestId: string = newId()): GatewayContext {
    const scopes = scopesOf(caller);
    const trace = tracing ? tracing.contextOf(request) : continueTrace(request.headers);
    const headers = forwarded(request, config.forwardHeaders, connectionParams);
    return {
      caller,
      requestId,
      clientAddress: addressOf(request, config.trustProxy),
      ...trace,
      quotas: [],
      ...(usage && caller.kind !== "service" && { usage: usage.contextOf(request) }),
      ...(scopes && { scopes }),
      ...(headers && { headers }),
    };
  }

  async function authenticate(params: Readonly<Record<string, unknown>>, request: RequestHead): Promise<Caller> {
    // Only the forwarded part is kept for as long as the socket is open.
    const passedOn = Object.entries(params).filter(([name]) => config.forwardHeaders.includes(name.toLowerCase()));
    if (passedOn.length > 0) connectionParams.set(request, Object.fromEntries(passedOn));
    const signed = params[CALLER_HEADER] ?? request.headers[CALLER_HEADER];
    if (typeof signed === "string") return authenticator.authenticateHeader(ofHeaderLength(signed));
    const given = params["authorization"] ?? params["Authorization"] ?? request.headers.authorization;
    return authenticator.authenticate(typeof given === "string" ? ofHeaderLength(given) : undefined);
  }

  /** Once for each request or socket, however often it is asked: a stream ticket is good once. */
  const authenticated = new WeakMap<RequestHead, Promise<Caller>>();
  function authenticateOnce(params: Readonly<Record<string, unknown>>, request: RequestHead): Promise<Caller> {
    const before = authenticated.get(request);
    if (before) return before;
    const caller = authenticate(params, request);
    authenticated.set(request, caller);
    return caller;
  }

  /** A bad credential does not keep its sender from logging in: the gate lets them do that, and nothing else. */
  async function identify(params: Readonly<Record<string, unknown>>, request: RequestHead): Promise<Caller> {
    try {
      return await authenticateOnce(params, request);
    } catch (error) {
      if (error instanceof ToolyardError && error.code === "UNAUTHENTICATED") return createStranger(error);
      throw error;
    }
  }

  const protocols = createSubscriptionProtocols({
    executor: gate,
    engine: gate,
    authenticate: authenticateOnce,
    identify,
    contextOf,
    callbackHosts: config.callbackHosts,
    maxAnonymousMessageBytes: protection.maxAnonymousBodyBytes,
    log: logger,
  });
  const stopClosing = authenticator.onRevoked((isConcerned) =>
    protocols.endWhere(isConcerned, "The credential was revoked: log in again"),
  );
  const [secretKey = randomBytes(32).toString("hex"), ...previousSecretKeys] =
    "secretKeys" in options ? options.secretKeys : [];
  const idempotency = createIdempotency({
    store: options.idempotencyStore ?? createMemoryIdempotencyStore(),
    sealer: createSealer({ secretKey, previousSecretKeys }),
    timeoutMs: protection.timeoutMs,
    now,
    logger,
  });
  const { scheduler = createScheduler({ logger, schedule: config.jobsSchedule, now }) } = options;
  const jobs = scheduler.add([idempotency.job]);
  const health = () =>
    checkHealth({
      checks: [...healthChecks, async () => [jobs.health(), ...watch.health(), ...identity.health()]],
      notes,
    });

  return {
    graph,
    health,
    replaceSupergraph: (next) => live.swap(next),
    async listen() {
      await live.ready();
      identity.start();
      server = await createGatewayServer({
        config,
        prefix: prefixOf(config.publicUrl),
        gate,
        apiSchema: () => live.current.executor.apiSchema,
        protocols,
        persisted,
        idempotency,
        proxy: proxyOf(options, identity.now),
        page: config.introspection ? createGraphiqlPage({ login: "secretKeys" in options }) : null,
        authenticate: (request, given = {}) => authenticateOnce(given, request),
        identify: (request) => identify({}, request),
        onRevoked: authenticator.onRevoked,
        contextOf,
        health,
        metrics,
        tracing,
        jwks: jwksOf(options),
        logger,
        requestLog,
        draining,
      });
      return server;
    },
    async close() {
      stopClosing();
      // Begun first: who has lost a stream here is to open it elsewhere.
      const served = server?.close();
      await protocols.close();
      await served;
      await jobs.close();
      await idempotency.close();
      await identity.close();
      await shadow?.close();
      await live.close();
      await telemetry.close();
      requestLog.flush();
    },
  };
}

/** Headers in a socket's first message have HTTP's length limit. @throws ToolyardError UNAUTHENTICATED */
function ofHeaderLength(credential: string): string {
  if (credential.length <= MAX_CREDENTIAL_LENGTH) return credential;
  throw new ToolyardError("UNAUTHENTICATED", "The credential is too long.");
}

/** Read once, when the gateway is made: a missing file must stop the start. @throws ConfigError */
function listedOperations(file: string | null): ReadonlyMap<string, string> {
  if (file === null) return new Map();
  try {
    return parsePersistedOperations(readFileSync(file, "utf8"));
  } catch (error) {
    throw new ConfigError(`PERSISTED_OPERATIONS: ${file} cannot be used: ${messageOf(error)}`);
  }
}

function clientOf(options: SubgraphOptions, name: string, url: string): SubgraphClient {
  if ("createClient" in options) return options.createClient(name, url);
  const client = options.clients.find((candidate) => candidate.name === name);
  if (!client) throw new Error(`The supergraph has a subgraph "${name}", but there is no client for it.`);
  return client;
}

function jwksOf(options: IdentityOptions): (() => Promise<JSONWebKeySet>) | null {
  if (!("secretKeys" in options)) return null;
  const [secretKey = "", ...previousSecretKeys] = options.secretKeys;
  const signer = createTokenSigner({ secretKey, previousSecretKeys });
  return () => signer.jwks();
}

/** How long the proxy believes one token; it is renewed halfway. */
const PASSAGE_TOKEN_SECONDS = 3_600;

function proxyOf(options: GatewayOptions, now: () => number): ProxyAccess | null {
  if (!("secretKeys" in options) || options.proxyAddress === undefined) return null;
  const { config, proxyAddress: url } = options;
  const [secretKey = ""] = options.secretKeys;
  const signer = createTokenSigner({ secretKey, now });
  let token: Promise<string> | null = null;
  let renewAt = 0;
  return {
    url,
    prefix: prefixOf(config.proxyUrl),
    token() {
      if (token && now() < renewAt) return token;
      renewAt = now() + (PASSAGE_TOKEN_SECONDS / 2) * 1_000;
      token = signer.serviceToken("gateway", ["internal:passage"], PASSAGE_TOKEN_SECONDS);
      return token;
    },
  };
}

/** A request's origin; behind a proxy, the one that the nearest proxy reports. */
function addressOf(request: RequestHead, trustProxy: boolean): string | undefined {
  const said = trustProxy ? request.headers["x-forwarded-for"] : undefined;
  const last = typeof said === "string" ? said.split(",").at(-1)?.trim() : undefined;
  return last || request.socket.remoteAddress;
}

/** The headers that go on to subgraphs. Headers that a socket's client sent with `connection_init` take precedence. */
function forwarded(
  request: RequestHead,
  names: readonly string[],
  connectionParams: WeakMap<RequestHead, Readonly<Record<string, unknown>>>,
): Record<string, string> | undefined {
  if (names.length === 0) return undefined;
  const found: Record<string, string> = {};
  for (const name of names) {
    const value = request.headers[name];
    if (value !== undefined) found[name] = Array.isArray(value) ? value.join(", ") : value;
  }
  const params = connectionParams.get(request);
  for (const [param, value] of params ? Object.entries(params) : []) {
    const name = param.toLowerCase();
    if (names.includes(name) && typeof value === "string" && isHeaderValue(value)) found[name] = value;
  }
  return found;
}

/** RFC 9110, section 5.5: in particular no line breaks, which would begin another header. */
function isHeaderValue(text: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(text);
}
