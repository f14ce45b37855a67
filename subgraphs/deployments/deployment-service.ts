import {
  badInput,
  mapRows,
  notFound,
  parseInput,
  parsePage,
  reachableRows,
  toConnection,
  ToolyardError,
  type Caller,
  type Connection,
  type GraphClient,
  type PageArguments,
  type PageLoader,
} from "@toolyard/service-kit";
import type { EventLogRange, EventSubjects, EventTail, FollowOptions, LoggedEvent } from "@toolyard/events";
import { subscriptionStream } from "@toolyard/events/subscription-stream.ts";
import { toolOfTemplate } from "./deploying/deploy-template.ts";
import { DEPLOY, deployTool, checkReplicas, replicaCount, type DeployDependencies } from "./deploying/deploy-tool.ts";
import type { Deployment, DeploymentEventPayload, Environment, HealthCheck, HealthEventPayload } from "./deployment.ts";
import {
  closeDeployments,
  deploymentIdOf,
  findDeployment,
  requireDeployment,
  type DeploymentReference,
} from "./deploying/deployment-reference.ts";
import type { EventDeployments } from "./event-deployments.ts";
import type { Loaders } from "./loaders.ts";
import type {
  ChildFilter,
  DeploymentFilter,
  DeploymentRecord,
  DeploymentTransaction,
} from "./store/deployment-store.ts";
import type { SessionCounter } from "./session-counter.ts";
import type { HostAgent } from "./hosts/host-agent.ts";
import type { OtherHosts } from "./hosts/other-hosts.ts";
import type { Reconciler } from "./engine/reconciler.ts";
import { saveSettled } from "./engine/settle.ts";
import type { DeploymentEventShape, HealthCheckShape, HealthEventShape } from "./graph-shapes.ts";
import { newReplica } from "./deploying/new-replica.ts";
import { fetchTool } from "./deploying/tool-source.ts";

/** Users' requests about deployments: rules, permissions and transactions. The reconciler does the rest. */
export interface DeploymentService {
  deploy(caller: Caller, input: unknown, requestId: string): Promise<Deployment>;
  /** A tool of the template: the caller's own, or a new one. */
  deployTemplate(
    caller: Caller,
    template: { templateId: string; input: unknown },
    requestId: string,
  ): Promise<Deployment>;
  /** Idempotent. @throws ToolyardError NOT_FOUND for a deployment that never existed. */
  stop(caller: Caller, which: DeploymentReference): Promise<Deployment>;
  /** All of a tool that is being deleted, whoever deployed them. Answers how many that were. */
  stopOfTool(caller: Caller, toolId: string): Promise<number>;
  scale(caller: Caller, reference: string, replicas: number): Promise<Deployment>;
  restart(caller: Caller, reference: string): Promise<Deployment>;
  check(caller: Caller, reference: string): Promise<HealthCheck>;
  /** For another host: MCP sessions that are open in a replica of this one. */
  sessionsHere(
    caller: Caller,
    which: { deploymentId: string; replicaId: string },
    sessionsOf: SessionCounter,
  ): Promise<number>;
  /** For another host, which has seen to who asks: of this host's replicas. Answers the checks' ids. */
  checkHere(caller: Caller, deploymentId: string): Promise<string[]>;

  /**
   * Null when there is none.
   * @throws ToolyardError BAD_USER_INPUT unless exactly one of the two is given; NOT_FOUND where there is none, but one that is close.
   */
  find(caller: Caller, which: DeploymentReference): Promise<Deployment | null>;
  /** The deployment of this very name. */
  findByName(caller: Caller, name: string): Promise<Deployment | null>;
  /** The id for an id, which may be unknown, a name or a slug; undefined where nothing is named. @throws ToolyardError NOT_FOUND */
  idOrNone(caller: Caller, reference: string | null | undefined): Promise<string | undefined>;
  list(caller: Caller, filter: DeploymentFilter, page: PageArguments): Promise<Connection<Deployment>>;
  /** Those of one tool or template. */
  listOf(
    caller: Caller,
    of: PageLoader<ChildFilter, Deployment>,
    parentId: string,
    filter: ChildFilter,
    page: PageArguments,
  ): Connection<Deployment>;
  healthChecks(caller: Caller, loaders: Loaders, deployment: Deployment, first: number): Promise<HealthCheckShape[]>;
  events(
    caller: Caller,
    loaders: Loaders,
    deployment: Deployment,
    page: PageArguments,
  ): Connection<DeploymentEventShape>;
  followEvents(caller: Caller, filter: EventFilter): AsyncIterableIterator<DeploymentEventShape>;
  followHealth(caller: Caller, filter: EventFilter): AsyncIterableIterator<HealthEventShape>;
  /** Where the log of events begins and ends. */
  eventRange(caller: Caller): Promise<EventLogRange>;
  /** The same of the log of checks. */
  healthRange(caller: Caller): Promise<EventLogRange>;
}

interface EventFilter {
  deploymentId?: string | null | undefined;
  toolId?: string | null | undefined;
  environment?: Environment | null | undefined;
  after?: string | null | undefined;
}

export interface DeploymentServiceOptions extends Omit<DeployDependencies, "graph" | "agent"> {
  graph: GraphClient;
  agent: Pick<HostAgent, "hostId" | "living">;
  reconciler: Reconciler;
  otherHosts: Pick<OtherHosts, "check">;
  eventTail: EventTail<DeploymentEventPayload>;
  healthTail: EventTail<HealthEventPayload>;
  eventDeployments: EventDeployments;
}

/** A check on demand waits for its replicas' deadline, and no longer than this. */
const CHECK_TIMEOUT_MS = 30_000;
const MAX_CHECKS = 100;
const TOOL_DELETED = ": its tool was deleted";
const TOOL_UNSHARED = ": its tool is not shared any more with the user who deployed it";

export function createDeploymentService(options: DeploymentServiceOptions): DeploymentService {
  const {
    store,
    shares,
    graph,
    reconciler,
    otherHosts,
    agent,
    placement,
    now,

    eventTail,
    healthTail,
    eventDeployments,
  } = options;

  /** The deployment, if the caller may change it. */
  async function ownDeployment(caller: Caller, which: DeploymentReference, action: string): Promise<Deployment> {
    caller.require("deployment:write", undefined, action);
    const deployment = await requireDeployment(store, which, caller);
    await shares.require(caller, "deployment:write", deployment, action);
    return deployment;
  }

  /** Changes what was asked for, as it is by then: rows decide. */
  async function change(
    id: string,
    work: (tx: DeploymentTransaction, record: DeploymentRecord) => Promise<DeploymentRecord>,
  ): Promise<Deployment> {
    const { deployment } = await store.transaction(async (tx) => {
      const record = await tx.load(id);
      if (!record) throw notFound("deployment", id);
      return work(tx, record);
    });
    reconciler.wake(id);
    return deployment;
  }

  /** @param why Ends the event's sentence. */
  const requestStop = (id: string, { subject: by }: Caller, why = ""): Promise<Deployment> =>
    change(id, async (tx, record) => {
      if (record.deployment.desired === "STOP") return record;
      const stopped: DeploymentRecord = { ...record, deployment: { ...record.deployment, desired: "STOP" } };
      const message = `${record.deployment.name} was asked to stop${why}.`;
      return saveSettled(tx, stopped, now(), [{ kind: "STOP_REQUESTED", message, by }]);
    });

  function refuseStopped({ deployment }: DeploymentRecord): void {
    if (deployment.desired === "STOP")
      throw new ToolyardError("CONFLICT", `${deployment.name} was asked to stop. Deploy the tool again instead.`);
  }

  async function deploy(caller: Caller, input: unknown, requestId: string): Promise<Deployment> {
    const deployment = await deployTool(options, caller, input, requestId);
    reconciler.wake(deployment.id);
    const { id, toolId, versionNumber } = deployment;
    // The tool may have been deleted, or shared with the caller no longer, while nothing was there yet that could be stopped.
    const deleted = await refusalOf("NOT_FOUND", fetchTool(graph, { toolId, versionNumber, requestId }));
    const refusal =
      deleted ?? (await refusalOf("FORBIDDEN", shares.require(caller, "deployment:write", deployment, DEPLOY)));
    if (refusal === null) return deployment;
    await requestStop(id, caller, deleted ? TOOL_DELETED : TOOL_UNSHARED);
    throw refusal;
  }

  return {
    deploy,
    deployTemplate: async (caller, template, requestId) =>
      deploy(caller, await toolOfTemplate(options, caller, template, requestId), requestId),
    async stop(caller, which) {
      const { id } = await ownDeployment(caller, which, "stop this deployment");
      return requestStop(id, caller);
    },
    async stopOfTool(caller, toolId) {
      caller.require("internal:stop-deployments");
      const running = await store.runningOf(toolId);
      for (const id of running) await requestStop(id, caller, TOOL_DELETED);
      return running.length;
    },
    async scale(caller, reference, given) {
      const wanted = parseInput(replicaCount, given, "replicas");
      const deployment = await ownDeployment(caller, { id: reference }, "scale this deployment");
      const { id, autoscale, name } = deployment;
      if (autoscale)
        throw new ToolyardError(
          "CONFLICT",
          `${name} is scaled by its load, from ${autoscale.min} to ${autoscale.max} replicas. Deploy the tool again with other bounds, or without autoscale for a fixed number.`,
        );
      const offered = (await agent.living()).flatMap(({ offer }) => offer.runtimes);
      checkReplicas(
        offered.find(({ kind }) => kind === deployment.runtime),
        wanted,
        "replicas",
      );
      const known = await store.load(id);
      const missing = Math.max(0, wanted - (known ? stayingOf(known).length : 0));
      return placement.reserve(missing, deployment, (places) =>
        change(id, async (tx, record) => {
          refuseStopped(record);
          const before = record.deployment.desiredReplicas;
          if (before === wanted) return record;
          const replicas = [...record.replicas];
          // Those that are missing beyond what was known before are made by the reconciler.
          const due = Math.max(0, Math.min(missing, wanted - stayingOf(record).length));
          for (const place of places.slice(0, due)) {
            const ordinal = freeOrdinal(replicas.map((replica) => replica.ordinal));
            const replica = newReplica({ deployment: record.deployment, ordinal, place });
            await tx.insertReplica(replica);
            replicas.push(replica);
          }
          const scaled = { deployment: { ...record.deployment, desiredReplicas: wanted }, replicas };
          const message = `${record.deployment.name} was scaled from ${before} to ${wanted} replicas.`;
          return saveSettled(tx, scaled, now(), [
            { kind: "SCALED", message, data: { from: before, to: wanted }, by: caller.subject },
          ]);
        }),
      );
    },
    async restart(caller, reference) {
      const { id } = await ownDeployment(caller, { id: reference }, "restart this deployment");
      return change(id, async (tx, record) => {
        refuseStopped(record);
        const { deployment } = record;
        const restarted = {
          ...deployment,
          generation: deployment.generation + 1,
          // A replica that failed for good starts as if it were new.
          everReady: deployment.everReady && deployment.status !== "FAILED",
        };
        const message = `${deployment.name} was asked to restart.`;
        return saveSettled(tx, { ...record, deployment: restarted }, now(), [
          { kind: "RESTART_REQUESTED", message, by: caller.subject },
        ]);
      });
    },
    async check(caller, reference) {
      const { id: deploymentId } = await ownDeployment(caller, { id: reference }, "check this deployment");
      const signal = AbortSignal.timeout(CHECK_TIMEOUT_MS);
      const found = [reconciler.check(deploymentId, signal), otherHosts.check(deploymentId, signal)];
      const checks = (await Promise.all(found)).flat();
      const [only] = checks;
      if (only) return summarize(only, checks);
      const record = await store.load(deploymentId);
      const { status, reason = null, words = null } = record?.deployment ?? {};
      const detail = `No replica is running that could be called.${reason === null ? "" : ` ${reason}`}`;
      return {
        id: "",
        deploymentId,
        replicaId: null,
        at: now(),
        status: status === "FAILED" ? "UNHEALTHY" : "UNKNOWN",
        kind: "none",
        latencyMs: 0,
        detail,
        words,
      };
    },
    async sessionsHere(caller, { deploymentId, replicaId }, sessionsOf) {
      caller.require("internal:hosts");
      const record = await store.load(deploymentId);
      const replica = record?.replicas.find(({ id, hostId }) => id === replicaId && hostId === agent.hostId);
      return record && replica ? sessionsOf(record.deployment, replica) : 0;
    },
    async checkHere(caller, deploymentId) {
      caller.require("internal:hosts");
      const checks = await reconciler.check(deploymentId, AbortSignal.timeout(CHECK_TIMEOUT_MS));
      return checks.map(({ id }) => id);
    },
    async find(caller, which) {
      caller.require("deployment:read");
      const deployment = await findDeployment(store, which, caller);
      if (deployment) return deployment;
      const close = await closeDeployments(store, which, caller);
      if (close.length > 0) throw notFound("deployment", which.id ?? which.name ?? "", close);
      return null;
    },
    async findByName(caller, name) {
      caller.require("deployment:read");
      const deployment = await store.findByName(name);
      return deployment && caller.reaches(deployment.toolId) ? deployment : null;
    },
    async idOrNone(caller, reference) {
      caller.require("deployment:read");
      return deploymentIdOf(store, reference, caller);
    },
    async list(caller, filter, given) {
      caller.require("deployment:read");
      const page = parsePage(given);
      const { toolId: asked, ...rest } = filter;
      const rows = reachableRows(caller, asked, page, (toolId, part) => store.page({ ...rest, toolId }, part));
      return toConnection(rows, page, ({ id }) => id);
    },
    listOf(caller, of, parentId, filter, given) {
      caller.require("deployment:read");
      const page = parsePage(given);
      return toConnection(of(parentId, filter, page), page, ({ id }) => id);
    },
    async healthChecks(caller, loaders, deployment, first) {
      caller.require("deployment:read");
      if (first < 1 || first > MAX_CHECKS)
        throw badInput([{ path: "first", message: `must be from 1 to ${MAX_CHECKS}` }]);
      const checks = await loaders.healthChecks.load(deployment.id, { first });
      return checks.map((check) => ({ ...check, deployment: async () => deployment }));
    },
    events(caller, loaders, deployment, given) {
      caller.require("deployment:read");
      const page = parsePage(given, "number");
      const events = mapRows(loaders.events(deployment.id, {}, page), (event) => ({
        ...event,
        deployment: async () => deployment,
      }));
      return toConnection(events, page, ({ sequence }) => String(sequence));
    },
    followEvents(caller, filter) {
      caller.require("deployment:read");
      const { toolId, environment } = filter;
      return followed(
        eventTail,
        eventDeployments.ofEvents,
        filter,
        ({ payload }) =>
          caller.reaches(payload.toolId) &&
          (toolId == null || payload.toolId === toolId) &&
          (environment == null || payload.environment === environment),
      );
    },
    followHealth(caller, filter) {
      caller.require("deployment:read");
      const { toolId } = filter;
      return followed(
        healthTail,
        eventDeployments.ofHealth,
        filter,
        ({ payload }) => caller.reaches(payload.toolId) && (toolId == null || payload.toolId === toolId),
      );
    },
    async eventRange(caller) {
      caller.require("deployment:read");
      return eventTail.range();
    },
    async healthRange(caller) {
      caller.require("deployment:read");
      return healthTail.range();
    },
  };

  function followed<Payload>(
    tail: EventTail<Payload>,
    subjects: EventSubjects<Deployment>,
    { deploymentId, after }: EventFilter,
    filter: NonNullable<FollowOptions<Payload>["filter"]>,
  ): AsyncIterableIterator<LoggedEvent<Payload> & { deployment: () => Promise<Deployment | null> }> {
    const ofStream = subjects.forStream();
    const follow: Omit<FollowOptions<Payload>, "signal"> = {
      after: after ?? null,
      filter,
      onBatch: ofStream.expect,
      ...(deploymentId != null && { subjectId: deploymentId }),
    };
    return subscriptionStream(tail, follow, (event) => ({ ...event, deployment: () => ofStream.of(event) }));
  }
}

/** The work's refusal, if it is of this code; other failures do not count. */
function refusalOf(code: "NOT_FOUND" | "FORBIDDEN", work: Promise<unknown>): Promise<ToolyardError | null> {
  return work.then(
    () => null,
    (error: unknown) => (error instanceof ToolyardError && error.code === code ? error : null),
  );
}

function stayingOf({ replicas }: DeploymentRecord): DeploymentRecord["replicas"] {
  return replicas.filter(({ state }) => !(state.phase === "STOPPING" && state.then === "REMOVE"));
}

function freeOrdinal(taken: readonly number[]): number {
  let ordinal = 0;
  while (taken.includes(ordinal)) ordinal += 1;
  return ordinal;
}

/** Of several checks the worst status and the longest time. */
function summarize(only: HealthCheck, checks: readonly HealthCheck[]): HealthCheck {
  if (checks.length === 1) return only;
  const failed = checks.filter(({ status }) => status !== "HEALTHY");
  const status = failed.length === 0 ? "HEALTHY" : failed.length === checks.length ? "UNHEALTHY" : "DEGRADED";
  const detail =
    failed.length === 0
      ? null
      : `${failed.length} of ${checks.length} replicas failed. ${failed[0]?.detail ?? ""}`.trim();
  const latencyMs = Math.max(...checks.map((check) => check.latencyMs));
  return { ...only, replicaId: null, status, latencyMs, detail, words: failed[0]?.words ?? null };
}
