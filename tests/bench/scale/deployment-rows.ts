/** Rows of deployments, their events and what was called of them, by their index. */
import type { NewEvent } from "@toolyard/events";
import type { ReplicaRow } from "@toolyard/subgraph-deployments/database.ts";
import {
  newDeployment,
  type Deployment,
  type DeploymentEventPayload,
} from "@toolyard/subgraph-deployments/deployment.ts";
import { launchSchema } from "@toolyard/launch";
import type { ReportedCall } from "@toolyard/subgraph-deployments/usage/usage-record.ts";
import { v7 } from "uuid";
import {
  DAYS,
  DAY_MS,
  HOT,
  HOUR_MS,
  createdAt,
  deploymentId,
  digestOf,
  idOf,
  now,
  slugOf,
  toolId,
  userId,
} from "./names.ts";
import { launch } from "./rows.ts";

/** Of so many tools, by their calls, the first has half. */
const CALLED_TOOLS = 10;
const MCP_TOOLS = 10;

function deploymentRow(index: number, tool: number, name: string): Deployment {
  const asked = newDeployment({
    id: deploymentId(index),
    toolId: toolId(tool),
    toolSlug: slugOf(tool),
    toolVersionId: idOf(`version-${tool}`, 1),
    versionNumber: 1,
    ownerId: userId(tool % 100),
    templateId: null,
    digest: digestOf(`version-${tool}-1`),
    environment: index % 4 === 3 ? "STAGING" : "PRODUCTION",
    runtime: "MOCK",
    launch,
    configuration: null,
    sealedConfiguration: null,
    desiredReplicas: 1,
    autoscale: null,
    balance: "LEAST_OUTSTANDING",
    deployedById: userId(tool % 100),
    createdAt: createdAt(index),
  });
  return {
    ...asked,
    name,
    desired: "STOP",
    role: "RETIRED",
    status: "STOPPED",
    everReady: true,
    deployedAt: createdAt(index),
    stoppedAt: createdAt(index) + 1,
    settledAt: createdAt(index) + 1,
  };
}

/** Of ten for each tool one has failed, and half are of the tool that is `HOT`. */
export function endedDeploymentRow(index: number): Deployment {
  const tool = index % 2 === 0 ? HOT : Math.floor(index / 10);
  const row = deploymentRow(index, tool, `${slugOf(tool)}-e${index}`);
  return index % 10 === 5 ? { ...row, status: "FAILED", reason: "It ended with status 1." } : row;
}

/** The only one of its tool. */
export const onlyDeploymentRow = (tool: number) => deploymentRow(tool, tool, `${slugOf(tool)}-only`);

const DISTANT = 1_000_000;

export function distantDeploymentRow(index: number): Deployment {
  const row = deploymentRow(DISTANT + index, DISTANT + index, `distant-${index}`);
  return {
    ...row,
    toolSlug: `distant-tool-${index}`,
    environment: "PRODUCTION",
    desired: "RUN",
    role: "ACTIVE",
    launch: { ...http, path: "/mcp" },
    status: "RUNNING",
    health: "HEALTHY",
    stoppedAt: null,
    settledAt: null,
  };
}

const http = launchSchema.parse({ kind: "http", command: "node", args: ["server.mjs"] }) as Extract<
  Deployment["launch"],
  { kind: "http" }
>;

export function distantReplicaRow(index: number): ReplicaRow {
  const url = `http://127.0.0.1:${10_000 + index}`;
  return {
    id: idOf("replica", index),
    deploymentId: deploymentId(DISTANT + index),
    ordinal: 0,
    hostId: "another-host",
    address: "127.0.0.1",
    port: 10_000 + index,
    generation: 1,
    incarnation: 1,
    phase: "READY",
    state: { phase: "READY", since: now },
    attempts: 0,
    restarts: 0,
    handle: { runtime: "PROCESS", name: `distant-${index}-0-1`, identity: {}, endpoint: { url, owner: null } },
    previousHandle: null,
    sealedToken: "",
    startedAt: now,
    // Its own host looks after it.
    lastProbeAt: now + DAY_MS,
  };
}

export function newEvent(index: number): NewEvent<DeploymentEventPayload> {
  return {
    kind: "RUNNING",
    subjectId: deploymentId(HOT),
    payload: {
      toolId: toolId(HOT),
      environment: "PRODUCTION",
      status: "RUNNING",
      health: "HEALTHY",
      message: `It runs for the ${index}th time.`,
      data: null,
    },
  };
}

/** Of a record of the oldest day. */
export const oldRecordId = v7({ msecs: now - (DAYS - 0.5) * DAY_MS });

/** A batch of what was called on one of the `DAYS`, the oldest first: half of the tool that is `HOT`. */
export function usageBatch(day: number, count: number): { id: string; at: number; records: ReportedCall[] } {
  const start = Math.floor(now / HOUR_MS) * HOUR_MS - (DAYS - day) * DAY_MS + HOUR_MS;
  const records = Array.from({ length: count }, (_, index): ReportedCall => {
    const hour = Math.floor((index * 24) / count);
    const at = start + hour * HOUR_MS;
    const tool = index % 2 === 0 ? HOT : (day + hour) % CALLED_TOOLS;
    return {
      id: v7({ msecs: at }),
      at,
      toolId: toolId(tool),
      deploymentId: deploymentId(tool),
      endpoint: "/mcp/{slug}/v1/mcp",
      method: "POST",
      mcpMethod: "tools/call",
      evidence: "LISTED",
      client: null,
      apiKeyId: null,
      mcpTool: `mcp_tool_${Math.floor(index / 2) % MCP_TOOLS}`,
      statusCode: index % 50 === 0 ? 502 : 200,
      mcpFailure: null,
      responseTimeMs: 5 + ((index * 7_919) % 500),
      userId: userId(index % 100),
    };
  });
  return { id: v7({ msecs: start }), at: start, records };
}
