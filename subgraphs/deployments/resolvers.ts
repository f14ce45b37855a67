import { emptyConnection, notInThisVersion, type Caller } from "@toolyard/service-kit";
import { DateTimeScalar, JsonScalar } from "@toolyard/service-kit/graph/scalars.ts";
import type { Context } from "./context.ts";
import type { Deployment, HealthStatus, Replica } from "./deployment.ts";
import { replicaReason } from "./engine/status.ts";
import type { DeploymentEventShape, VersionShape } from "./graph-shapes.ts";
import { interfaceResolvers } from "./interfaces/interface-resolvers.ts";
import type { Resolvers } from "./generated/types.ts";
import { told } from "./reason.ts";
import { mayInspectTool, usageResolvers } from "./usage/usage-resolvers.ts";

const DEFAULT_LOG_LINES = 20;
const DEFAULT_CHECKS = 20;

export const resolvers: Resolvers<Context> = {
  DateTime: DateTimeScalar,
  JSON: JsonScalar,

  Query: {
    deployment: (_, which, { deployments, caller }) => deployments.find(caller, which),
    deployments: async (_, { toolId, templateId, ofTemplate, status, environment, includeFailed, ...page }, context) =>
      context.deployments.list(
        context.caller,
        {
          toolId: await context.tools.idOrNone(context, toolId),
          templateId: templateId ?? undefined,
          ofTemplate: ofTemplate ?? undefined,
          status: status ?? undefined,
          environment: environment ?? undefined,
          includeFailed: includeFailed ?? undefined,
        },
        page,
      ),
    usageRecords: async (_, { toolId, deploymentId, ...page }, context) =>
      context.usage.list(context.caller, await scopeOf({ toolId, deploymentId }, context), page),
    deploymentEventLog: (_, _arguments, { deployments, caller }) => deployments.eventRange(caller),
    deploymentHealthLog: (_, _arguments, { deployments, caller }) => deployments.healthRange(caller),
    offer: async (_, { deploymentId, hash }, { interfaces, loaders, caller }) => {
      caller.require("internal:routes");
      const deployment = await loaders.deployment.load(deploymentId);
      return deployment && interfaces.offerOf(deployment, hash);
    },
    routes: (_, _arguments, { routes, caller }) => {
      caller.require("internal:routes");
      return routes.read();
    },
    routesVersion: (_, _arguments, { routes, caller }) => {
      caller.require("internal:routes");
      return routes.version();
    },
    logsOfHost: (_, { deploymentId, last, replicaId = null }, { logs, caller }) =>
      logs.lastHere(caller, deploymentId, { last, replicaId }),
    sessionsOfHost: (_, { deploymentId, replicaId }, { deployments, sessionsOf, caller }) =>
      deployments.sessionsHere(caller, { deploymentId, replicaId }, sessionsOf),
    release: (_, _arguments, { caller }) => {
      caller.require("deployment:read");
      return null;
    },
    releases: (_, page, { caller }) => {
      caller.require("deployment:read");
      return emptyConnection(page);
    },
    doraMetrics: (_, _arguments, { caller }) => {
      caller.require("deployment:read");
      throw notInThisVersion("Delivery metrics");
    },
    auditLog: (_, page, { caller }) => {
      caller.require("audit:read");
      return emptyConnection(page);
    },
    verifyAuditLog: (_, _arguments, { caller }) => {
      caller.require("audit:read");
      return { intact: true, checked: 0 };
    },
  },

  Mutation: {
    deployTool: (_, { input }, { deployments, caller, requestId }) => deployments.deploy(caller, input, requestId),
    scaleDeployment: (_, { id, replicas }, { deployments, caller }) => deployments.scale(caller, id, replicas),
    restartDeployment: (_, { id }, { deployments, caller }) => deployments.restart(caller, id),
    stopDeployment: (_, which, { deployments, caller }) => deployments.stop(caller, which),
    stopDeploymentsOfTool: (_, { toolId }, { deployments, caller }) => deployments.stopOfTool(caller, toolId),
    checkDeploymentHealth: (_, { id }, { deployments, caller }) => deployments.check(caller, id),
    recordUsage: (_, { batch }, { usage, caller }) => usage.record(caller, batch),
    reportBusyReplicas: (_, { replicaIds }, { busyReplicas, caller }) => {
      busyReplicas.note(caller, replicaIds);
      return true;
    },
    noteBusyOfHost: (_, { replicaIds }, { busyReplicas, caller }) => {
      busyReplicas.noteHere(caller, replicaIds);
      return true;
    },
    reportLoad: (_, { proxyId, loads }, { load, caller }) => {
      load.note(caller, proxyId, loads);
      return true;
    },
    noteLoadOfHost: (_, { proxyId, loads }, { load, caller }) => {
      load.noteHere(caller, proxyId, loads);
      return true;
    },
    checkReplicasOfHost: (_, { deploymentId }, { deployments, caller }) => deployments.checkHere(caller, deploymentId),
    deployTemplate: (_, template, { deployments, caller, requestId }) =>
      deployments.deployTemplate(caller, template, requestId),
    validateDeployment: (_, _arguments, { caller }) => later(caller, "deployment:write", "Releases"),
    runSecurityScan: (_, _arguments, { caller }) => later(caller, "deployment:write", "Security scans"),
    runSmokeTests: (_, _arguments, { caller }) => later(caller, "deployment:write", "Smoke tests"),
    approveRelease: (_, _arguments, { caller }) => later(caller, "release:approve", "Releases"),
    promoteToProduction: (_, _arguments, { caller }) => later(caller, "release:promote", "Releases"),
    rollbackDeployment: (_, _arguments, { caller }) => later(caller, "release:promote", "Releases"),
    resumeRelease: (_, _arguments, { caller }) => later(caller, "release:promote", "Releases"),
  },

  Subscription: {
    deploymentEvents: {
      subscribe: async (_, filter, context) =>
        context.deployments.followEvents(context.caller, { ...filter, ...(await scopeOf(filter, context)) }),
      resolve: (event: unknown) => event,
    },
    deploymentHealth: {
      subscribe: async (_, filter, context) =>
        context.deployments.followHealth(context.caller, { ...filter, ...(await scopeOf(filter, context)) }),
      resolve: (event: unknown) => event,
    },
    deploymentLogs: {
      subscribe: (_, { deploymentId }, { logs, caller }) => logs.follow(caller, deploymentId),
      resolve: (line: unknown) => line,
    },
    logsOfHost: {
      subscribe: (_, { deploymentId, whole }, { logs, caller }) =>
        logs.followHere(caller, deploymentId, whole ? "START" : "NOW"),
      resolve: (line: unknown) => line,
    },
    releaseUpdated: {
      subscribe: (_, _arguments, { caller }) => later(caller, "deployment:read", "Releases"),
      resolve: (release: unknown) => release,
    },
    routesChanged: {
      subscribe: (_, { after }, { routes, caller }) => {
        caller.require("internal:routes");
        return after == null ? routes.follow() : routes.followChanges(after);
      },
      resolve: (table: unknown) => table,
    },
    // Each stream yields its field's own objects; graphql-js hands them to `resolve`, whose generated type cannot know.
  } as Resolvers<Context>["Subscription"] & object,

  Deployment: {
    __resolveReference: async (reference, { loaders, deployments, caller }) => {
      caller.require("deployment:read");
      // Generated types give the reference as the whole parent; it holds the fields of one key.
      const { id, name } = reference as { id?: string; name?: string };
      if (id === undefined) return deployments.findByName(caller, name ?? "");
      const deployment = await loaders.deployment.load(id);
      return deployment && caller.reaches(deployment.toolId) ? deployment : null;
    },
    tool: ({ toolId }) => ({ id: toolId }),
    toolVersion: ({ toolVersionId }) => ({ id: toolVersionId }),
    template: ({ templateId }) => (templateId === null ? null : { id: templateId }),
    deployedBy: ({ deployedById }) => (deployedById === null ? null : { id: deployedById }),
    reason: (deployment, _, context) => toldOf(deployment.reason, deployment.words, context, async () => deployment),
    release: () => null,
    endpointUrl: (deployment, _, { urls }) => urls.endpointUrl(deployment),
    routeUrl: (deployment, _, { urls }) => urls.routeUrl(deployment),
    mcpUrl: (deployment, _, { urls }) => urls.mcpUrl(deployment),
    replicas: async (deployment, _, { loaders, eventDeployments }) => {
      const replicas = await (eventDeployments.replicasOf(deployment) ?? loaders.replicas.load(deployment.id));
      return replicas.map((replica) => ({ replica, deployment }));
    },
    healthChecks: (deployment, { first }, { deployments, loaders, caller }) =>
      deployments.healthChecks(caller, loaders, deployment, first ?? DEFAULT_CHECKS),
    lastHealthCheck: ({ lastHealthCheckAt }) => lastHealthCheckAt,
    logs: (deployment, { last, replicaId }, { logs, loaders, caller }) =>
      logs.last(caller, loaders, deployment, { last: last ?? DEFAULT_LOG_LINES, replicaId: replicaId ?? null }),
    events: (deployment, page, { deployments, loaders, caller }) =>
      deployments.events(caller, loaders, deployment, page),
    usage: (deployment, { window }, { usageOf, inspection, caller }) =>
      usageOf("deploymentId", deployment.id, window, () => inspection.mayInspect(caller, deployment)),
    interface: ({ toolId, digest }, _, { interfaces }) => interfaces.ofDigest({ toolId, digest }),
  },
  Replica: {
    id: ({ replica }) => replica.id,
    phase: ({ replica }) => replica.state.phase,
    reason: ({ replica, deployment }, _, context) => {
      const why = replicaReason(deployment, replica);
      return why && toldOf(why.reason, why.words, context, async () => deployment);
    },
    endpointUrl: async ({ replica, deployment }, _, { urls, inspection, caller }) =>
      (await inspection.mayInspect(caller, deployment)) ? urls.replicaUrl(deployment, replica) : null,
    host: ({ replica }) => replica.hostId,
    restarts: ({ replica }) => replica.restarts,
    health: ({ replica }) => healthOf(replica),
    sessions: ({ replica, deployment }, _, { sessionsOf }) => sessionsOf(deployment, replica),
    startedAt: ({ replica }) => replica.startedAt,
  },
  DeploymentEvent: {
    sequence: ({ sequence }) => String(sequence),
    message: (event, _, context) =>
      toldOf(event.payload.message, event.payload.words, context, () => deploymentOf(event, context)),
    deploymentId: ({ subjectId }) => subjectId,
    toolId: ({ payload }) => payload.toolId,
    status: ({ payload }) => payload.status,
    health: ({ payload }) => payload.health,
    data: ({ payload }) => payload.data,
    deployment: (event, _, context) => deploymentOf(event, context),
  },
  HealthCheckEvent: {
    sequence: ({ sequence }) => String(sequence),
    deploymentId: ({ subjectId }) => subjectId,
    check: ({ payload: { check }, deployment }) => ({ ...check, ...(deployment && { deployment }) }),
    deployment: (event, _, context) => deploymentOf(event, context),
  },
  HealthCheck: {
    detail: ({ detail, words, ...check }, _, context) =>
      toldOf(detail, words, context, () => deploymentOf({ ...check, subjectId: check.deploymentId }, context)),
  },
  Route: {
    timeoutSeconds: ({ options }) => options.timeoutSeconds,
    maxConcurrentCalls: ({ options }) => options.maxConcurrentCalls,
    enforceApproval: ({ options }) => options.enforceApproval,
  },
  ...usageResolvers,

  Tool: {
    __resolveReference: ({ id }, { caller }) => (caller.reaches(id) ? { id } : null),
    deployments: ({ id }, { environment, ...page }, { deployments, loaders, caller }) =>
      deployments.listOf(caller, loaders.ofTool, id, { environment: environment ?? undefined }, page),
    usage: ({ id }, { window }, context) => context.usageOf("toolId", id, window, () => mayInspectTool(id, context)),
    mcpUrl: async ({ id }, { environment }, { loaders, urls, caller }) => {
      caller.require("deployment:read");
      const inPlace = await loaders.inPlace.load(id);
      const deployment = inPlace.find((each) => each.environment === (environment ?? "PRODUCTION"));
      return deployment ? urls.mcpUrl(deployment) : null;
    },
    interface: async ({ id }, _, { loaders, interfaces, caller }) => {
      caller.require("tool:read");
      return interfaces.ofTool(id, await loaders.inPlace.load(id));
    },
    dora: () => null,
  },
  ToolVersion: {
    // Of a reference, with the fields that `interface` requires.
    __resolveReference: (version) => version as VersionShape,
    interface: ({ toolId, digest }, _, { interfaces }) =>
      toolId === undefined || digest === undefined ? null : interfaces.ofDigest({ toolId, digest }),
  },
  ...interfaceResolvers,
  Template: {
    __resolveReference: ({ id }, { caller }) => (caller.reaches(null) ? { id } : null),
    deployments: ({ id }, page, { deployments, loaders, caller }) =>
      deployments.listOf(caller, loaders.ofTemplate, id, {}, page),
  },
};

function later(caller: Caller, permission: Parameters<Caller["require"]>[0], what: string): never {
  caller.require(permission);
  throw notInThisVersion(what);
}

/** Which tool and deployment a filter names. */
async function scopeOf(
  { toolId, deploymentId }: { toolId?: string | null | undefined; deploymentId?: string | null | undefined },
  context: Context,
): Promise<{ toolId: string | undefined; deploymentId: string | undefined }> {
  const { tools, deployments, caller } = context;
  return {
    toolId: await tools.idOrNone(context, toolId),
    deploymentId: deploymentId == null ? undefined : await deployments.idOrNone(caller, deploymentId),
  };
}

/** The deployment is looked up only where there is something that not everybody may see. */
async function toldOf<Text extends string | null>(
  text: Text,
  words: string | null | undefined,
  { caller, inspection }: Pick<Context, "caller" | "inspection">,
  find: () => Promise<Deployment>,
): Promise<Text | string> {
  return words == null ? text : told(text, words, await inspection.mayInspect(caller, await find()));
}

async function deploymentOf(
  { subjectId, deployment: read }: Pick<DeploymentEventShape, "subjectId" | "deployment">,
  { loaders }: Pick<Context, "loaders">,
): Promise<Deployment> {
  const deployment = await (read?.() ?? loaders.deployment.load(subjectId));
  // Deployments are never removed.
  if (!deployment) throw new Error(`The deployment ${subjectId} of an event is missing.`);
  return deployment;
}

function healthOf({ state }: Replica): HealthStatus {
  switch (state.phase) {
    case "READY":
      return "HEALTHY";
    case "UNHEALTHY":
    case "BACKOFF":
    case "FAILED":
      return "UNHEALTHY";
    case "PENDING":
    case "STARTING":
    case "STOPPING":
    case "STOPPED":
      return "UNKNOWN";
  }
}
