import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInProcessBus } from "@toolyard/events";
import {
  createMockRuntime,
  createMockWorld,
  type MockFault,
  type MockRuntime,
  type MockWorld,
} from "@toolyard/runtimes/mock/mock-runtime.ts";
import { createRemoteRuntime } from "@toolyard/runtimes/remote/remote-runtime.ts";
import type { ReplicaSpec, Runtime } from "@toolyard/runtimes/runtime.ts";
import type { InterfaceReading } from "@toolyard/bridge/interface.ts";
import {
  createLogger,
  createServiceCaller,
  createUserCaller,
  ToolyardError,
  type Caller,
  type GraphClient,
  type ShareAccess,
  type Subgraph,
} from "@toolyard/service-kit";
import { codeOf, dataOf, subscribeOn, type AnswerStream } from "@toolyard/testing/execute.ts";
import { parseDeploymentsConfig, type DeploymentsConfig } from "./config.ts";
import { createSimulatedProber } from "./engine/simulated-prober.ts";
import { createProber } from "./engine/probe.ts";
import { createStores } from "@toolyard/subgraph-host";
import { createDeploymentsSubgraph, type DeploymentsSubgraphOptions } from "./index.ts";
import { launchSchema } from "@toolyard/launch";

export const SECRET_KEY = "a-secret-key-of-at-least-32-characters";
export const author: Caller = createUserCaller("author-1", "DEVELOPER");
export const admin: Caller = createUserCaller("admin-1", "ADMIN");

export const proxy: Caller = createServiceCaller("proxy", ["internal:routes", "internal:usage"]);

export interface FakeTool {
  slug: string;
  authorId?: string | null;
  /** Users that it is shared with. */
  shared?: Record<string, ShareAccess>;
  launch?: unknown;
  configSchema?: unknown;
  deleted?: boolean;
  digest?: string;
}

/** The tools subgraph as far as deployments ask it. */
export function createFakeGraph(tools: Record<string, FakeTool>): GraphClient {
  return {
    async query<Data>({ query, variables, as }: Parameters<GraphClient["query"]>[0]) {
      if (query.includes("sharedAccess")) {
        as.require("internal:tool-shares");
        const { userId, toolIds } = variables as { userId: string; toolIds: string[] };
        return { sharedAccess: toolIds.map((toolId) => tools[toolId]?.shared?.[userId] ?? null) } as Data;
      }
      const id = variables?.["id"];
      if (typeof id === "string") {
        as.require("tool:read");
        const found = Object.entries(tools).find(([key, { slug }]) => key === id || slug === id);
        return { tool: found ? { id: found[0] } : null } as Data; // of a reference to a tool
      }
      as.require("internal:sealed-launch");
      const toolId = String(variables?.["toolId"]);
      const tool = tools[toolId];
      if (!tool) throw new ToolyardError("NOT_FOUND", `There is no tool "${toolId}".`);
      const number = Number(variables?.["versionNumber"] ?? 1);
      const data = {
        tool: {
          id: toolId,
          templateId: null,
          authorId: tool.authorId ?? author.userId,
          deletedAt: tool.deleted ? "2026-01-01T00:00:00.000Z" : null,
        },
        sealedLaunch: {
          toolId,
          versionId: `${toolId}-v${number}`,
          slug: tool.slug,
          number,
          digest: tool.digest ?? `digest-${number}`,
          launch: tool.launch ?? launchSchema.parse({ kind: "stdio", command: "server" }),
          configSchema: tool.configSchema ?? null,
        },
      };
      // The fake answers the one query that is asked.
      return data as Data;
    },
    async *subscribe() {},
  };
}

export interface Fixture {
  subgraph: Subgraph;
  dataDir: string;
  world: MockWorld;
  runtime: MockRuntime;
  tools: Record<string, FakeTool>;
  /** Names of processes that do not answer though they run. */
  sick: Set<string>;
  /** The data of an operation. @throws its first error. */
  run<Data = Record<string, unknown>>(
    source: string,
    variables?: Record<string, unknown>,
    caller?: Caller,
  ): Promise<Data>;
  /** The code of an operation's first error, or null. */
  codeOf(source: string, variables?: Record<string, unknown>, caller?: Caller): Promise<unknown>;
  /** The stream of a subscription. */
  stream<Data = Record<string, unknown>>(
    source: string,
    variables?: Record<string, unknown>,
    caller?: Caller,
  ): Promise<AnswerStream<Data>>;
  /** Ends this subgraph as its process would, and begins another on the same store and world. */
  restart(): Promise<Fixture>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface FixtureOptions {
  tools?: Record<string, FakeTool>;
  faultOf?: (spec: ReplicaSpec) => MockFault;
  config?: Partial<DeploymentsConfig>;
  dataDir?: string;
  world?: MockWorld;
  runtimes?: (mock: MockRuntime) => Runtime[];
  overrides?: Partial<DeploymentsSubgraphOptions>;
  sick?: Set<string>;
  /** What a process offers, by its name. */
  interfaceOf?: (name: string) => InterfaceReading | null;
}

export async function createFixture(options: FixtureOptions = {}): Promise<Fixture> {
  const { tools = { "tool-1": { slug: "weather" } }, world = createMockWorld(), sick = new Set() } = options;
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), "toolyard-deployments-")));
  const runtime = createMockRuntime({ world, tickIntervalMs: 5, ...(options.faultOf && { faultOf: options.faultOf }) });
  const config: DeploymentsConfig = {
    ...parseDeploymentsConfig({ MCP_DEPLOYMENT_BACKEND: "mock" }),
    hostId: "host-1",
    ...options.config,
  };
  const logger = createLogger({ level: "silent", name: "test" });
  const subgraph = await createDeploymentsSubgraph({
    config,
    logger,
    stores: createStores({ dataDir, bus: createInProcessBus(), logger }),
    graph: createFakeGraph(tools),
    secretKeys: [SECRET_KEY],
    dataDir,
    runtimes: [...(options.runtimes?.(runtime) ?? [runtime]), createRemoteRuntime()],
    prober: createSimulatedProber({
      runtimes: [runtime],
      others: createProber({ allowPrivateRemotes: config.allowPrivateRemotes }),
      isSick: (name) => sick.has(name),
      ...(options.interfaceOf && { interfaceOf: options.interfaceOf }),
    }),
    timing: { sweepIntervalMs: 100, drainMs: 5, graceMs: 50 },
    ...(options.runtimes ? {} : { isPortFree: async () => true }),
    ...options.overrides,
  });
  await subgraph.start();
  let closed = false;
  const close = async (): Promise<void> => {
    if (!closed) await subgraph.close();
    closed = true;
  };
  return {
    subgraph,
    dataDir,
    world,
    runtime,
    tools,
    sick,
    run: (source, variables = {}, caller = author) => dataOf(subgraph, source, variables, caller),
    codeOf: (source, variables = {}, caller = author) => codeOf(subgraph, source, variables, caller),
    stream: (source, variables = {}, caller = author) => subscribeOn(subgraph, source, variables, caller),
    async restart() {
      await close();
      return createFixture({ ...options, dataDir, world, tools, sick });
    },
    async [Symbol.asyncDispose]() {
      await close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
