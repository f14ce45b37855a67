import {
  anonymous,
  createServiceCaller,
  createUserCaller,
  ToolyardError,
  type GraphClient,
} from "@toolyard/service-kit";
import { eventually, executeOn } from "@toolyard/testing";
import { describe, expect, test } from "vitest";
import {
  admin,
  author,
  createFakeGraph,
  createFixture,
  proxy,
  type FakeTool,
  type Fixture,
} from "./deployments-fixture.ts";

const DEPLOY = `mutation ($input: DeployToolInput!) { deployTool(input: $input) { id name status environment desiredReplicas } }`;
const STATE = `query ($id: ID!) { deployment(id: $id) { id name status health reason stoppedAt deployedAt desiredReplicas endpointUrl routeUrl mcpUrl
  replicas { id phase reason endpointUrl restarts health startedAt } } }`;
const STOP = `mutation ($id: ID!) { stopDeployment(id: $id) { id status stoppedAt } }`;
const ROUTES = `{ routes { version sessionKey routes { slug ref deploymentId mcpPath stateReason targets { replicaId url token ready } } } }`;

interface State {
  id: string;
  name: string;
  status: string;
  health: string;
  reason: string | null;
  stoppedAt: string | null;
  deployedAt: string | null;
  endpointUrl: string;
  routeUrl: string;
  mcpUrl: string;
  replicas: {
    id: string;
    phase: string;
    reason: string | null;
    endpointUrl: string | null;
    restarts: number;
    health: string;
  }[];
}
interface Routes {
  version: string;
  sessionKey: string;
  routes: {
    slug: string;
    ref: string;
    deploymentId: string;
    stateReason: string | null;
    targets: { url: string; token: string; ready: boolean }[];
  }[];
}

async function deploy(
  fixture: Fixture,
  input: Record<string, unknown> = {},
): Promise<{ id: string; name: string; status: string }> {
  const { deployTool } = await fixture.run<{ deployTool: { id: string; name: string; status: string } }>(DEPLOY, {
    input: { toolId: "tool-1", ...input },
  });
  return deployTool;
}
async function stateOf(fixture: Fixture, id: string): Promise<State> {
  return (await fixture.run<{ deployment: State }>(STATE, { id })).deployment;
}
const becomes = (fixture: Fixture, id: string, status: string, health?: string): Promise<State> =>
  eventually(`${status} ${health ?? ""}`, async () => {
    const state = await stateOf(fixture, id);
    return state.status === status && (health === undefined || state.health === health) && state;
  });
const routesOf = async (fixture: Fixture): Promise<Routes> =>
  (await fixture.run<{ routes: Routes }>(ROUTES, {}, proxy)).routes;

describe("a deployment's life", () => {
  test("it is deployed, runs, has routes, is stopped, and nothing is left", async () => {
    await using fixture = await createFixture();
    const { id, name, status } = await deploy(fixture);
    expect(status).toBe("STARTING");
    expect(name).toMatch(/^weather-[a-z0-9]{5}$/);
    const running = await becomes(fixture, id, "RUNNING", "HEALTHY");
    expect(running).toMatchObject({ reason: null, stoppedAt: null });
    expect(running.deployedAt).not.toBeNull();
    expect(running.mcpUrl).toBe("http://127.0.0.1:4100/mcp/weather/v1/mcp");
    expect(running.endpointUrl).toBe(`http://127.0.0.1:4100/mcp/weather@${name}/v1`);
    expect(fixture.runtime.running()).toHaveLength(1);

    const table = await routesOf(fixture);
    expect(table.sessionKey.length).toBeGreaterThan(40);
    expect(table.routes.map(({ ref }) => ref).toSorted()).toEqual(["", name]);
    const [target] = table.routes[0]?.targets ?? [];
    expect(target).toMatchObject({
      url: "http://127.0.0.1:8100",
      ready: true,
      token: fixture.runtime.running()[0]?.token,
    });

    await fixture.run(STOP, { id });
    const stopped = await becomes(fixture, id, "STOPPED");
    expect(stopped.stoppedAt).not.toBeNull();
    expect(stopped.replicas).toEqual([]);
    expect(fixture.runtime.running()).toEqual([]);
    expect(fixture.world.replicas.size).toBe(0);
    const after = await routesOf(fixture);
    expect(after.routes).toMatchObject([{ slug: "weather", ref: "", targets: [], stateReason: "weather is stopped." }]);
    expect(Number(after.version)).toBeGreaterThan(Number(table.version));
  });

  test("stopping twice, and by name, is no error; what never was is NOT_FOUND", async () => {
    await using fixture = await createFixture();
    const { id, name } = await deploy(fixture);
    await fixture.run(STOP, { id });
    await fixture.run(`mutation ($name: String!) { stopDeployment(name: $name) { id } }`, { name });
    await becomes(fixture, id, "STOPPED");
    await fixture.run(STOP, { id });
    expect(await fixture.codeOf(STOP, { id: "never" })).toBe("NOT_FOUND");
  });

  test("it is found by name, and by its tool's slug: what is to run before what ran", async () => {
    await using fixture = await createFixture({
      tools: { "tool-1": { slug: "weather" }, other: { slug: "weather-x" } },
    });
    const named = async (it: string) =>
      (await fixture.run<{ deployment: { id: string } | null }>(STATE, { id: it })).deployment?.id ?? null;
    expect(await named("weather")).toBeNull();
    await deploy(fixture, { toolId: "other" });
    expect(await fixture.codeOf(STATE, { id: "weathr-x" })).toBe("NOT_FOUND"); // beside what is close
    const first = await deploy(fixture);
    await becomes(fixture, first.id, "RUNNING");
    expect(await named(first.name)).toBe(first.id);
    expect(await named("weather")).toBe(first.id);
    await fixture.run(STOP, { id: "weather" });
    await becomes(fixture, first.id, "STOPPED");
    expect(await named("weather")).toBe(first.id);
    expect(await fixture.codeOf(STATE, { id: "waether" })).toBe("NOT_FOUND"); // also where nothing runs any more
    const second = await deploy(fixture);
    expect(await named("weather")).toBe(second.id);
    await deploy(fixture, { environment: "STAGING" });
    const both = await executeOn(fixture.subgraph, STOP, { id: "weather" }, author);
    expect(both.errors[0]).toMatchObject({ code: "BAD_USER_INPUT" });
    expect(both.errors[0]?.message).toMatch(
      /^"weather" is deployed in several environments: name one of "weather-\w{5}" \((STAGING|PRODUCTION)\), "weather-/,
    );
  });

  test("deleting its tool stops it wherever it runs, and no other", async () => {
    await using fixture = await createFixture({ tools: { "tool-1": { slug: "weather" }, "tool-2": { slug: "news" } } });
    const doomed = [await deploy(fixture), await deploy(fixture, { environment: "STAGING" })];
    const other = await deploy(fixture, { toolId: "tool-2" });
    for (const { id } of [...doomed, other]) await becomes(fixture, id, "RUNNING");
    const stopAll = `mutation { stopDeploymentsOfTool(toolId: "tool-1") }`;
    const tools = createServiceCaller("tools", ["internal:stop-deployments"]);
    expect(await fixture.codeOf(stopAll, {}, admin)).toBe("FORBIDDEN");
    expect(await fixture.run(stopAll, {}, tools)).toEqual({ stopDeploymentsOfTool: 2 });
    for (const { id } of doomed) await becomes(fixture, id, "STOPPED");
    expect(await fixture.run(stopAll, {}, tools)).toEqual({ stopDeploymentsOfTool: 0 });
    expect((await stateOf(fixture, other.id)).status).toBe("RUNNING");
    expect(fixture.runtime.running()).toHaveLength(1);
  });

  test("of a tool that is deleted while it is being deployed, nothing stays", async () => {
    const tools = { "tool-1": { slug: "weather" } as FakeTool };
    const graph = createFakeGraph(tools);
    let asked = 0;
    const query: GraphClient["query"] = async (request) => {
      const data = await graph.query(request);
      asked += 1;
      tools["tool-1"].deleted = true;
      return data as never;
    };
    await using fixture = await createFixture({ tools, overrides: { graph: { ...graph, query } } });
    await expect(deploy(fixture)).rejects.toThrow('There is no tool "tool-1"');
    expect(asked).toBeGreaterThan(1);
    const all = `{ deployments { edges { node { id } } } }`;
    const { deployments } = await fixture.run<{ deployments: { edges: { node: { id: string } }[] } }>(all);
    for (const { node } of deployments.edges) await becomes(fixture, node.id, "STOPPED");
    expect(fixture.runtime.running()).toEqual([]);
  });

  test("it scales up and down, and each replica has an address of its own", async () => {
    await using fixture = await createFixture();
    const { id } = await deploy(fixture);
    const scale = (replicas: number) =>
      fixture.run(`mutation ($id: ID!, $replicas: Int!) { scaleDeployment(id: $id, replicas: $replicas) { id } }`, {
        id,
        replicas,
      });
    await scale(3);
    const three = await eventually("three ready", async () => {
      const state = await stateOf(fixture, id);
      return state.replicas.filter(({ phase }) => phase === "READY").length === 3 && state;
    });
    expect(new Set(three.replicas.map(({ endpointUrl }) => endpointUrl)).size).toBe(3);
    await scale(1);
    await eventually(
      "one left",
      async () => (await stateOf(fixture, id)).replicas.length === 1 && fixture.runtime.running().length === 1,
    );
    await scale(0);
    const none = await eventually("none left", async () => {
      const state = await stateOf(fixture, id);
      return state.replicas.length === 0 && state;
    });
    expect(none).toMatchObject({ status: "RUNNING", health: "UNKNOWN", reason: "It is scaled to zero replicas." });
  });

  test("a restart replaces replicas one at a time", async () => {
    await using fixture = await createFixture();
    const { id } = await deploy(fixture, { replicas: 2 });
    await becomes(fixture, id, "RUNNING", "HEALTHY");
    const before = new Set(fixture.world.replicas.keys());
    let fewest = 2;
    await fixture.run(`mutation ($id: ID!) { restartDeployment(id: $id) { id } }`, { id });
    await eventually("both replaced", async () => {
      const { replicas } = await stateOf(fixture, id);
      fewest = Math.min(fewest, replicas.filter(({ phase }) => phase === "READY").length);
      return (
        fixture.runtime.running().every(({ name }) => !before.has(name)) &&
        replicas.every(({ phase }) => phase === "READY")
      );
    });
    expect(fewest).toBe(1);
    expect((await stateOf(fixture, id)).replicas.map(({ restarts }) => restarts)).toEqual([0, 0]);
  });
});

describe("what goes wrong", () => {
  test("a launch that cannot be run is FAILED at once, with the reason", async () => {
    await using fixture = await createFixture({
      faultOf: () => ({ failToStart: { code: "BAD_USER_INPUT", message: 'There is no command "srver" here.' } }),
    });
    const { id } = await deploy(fixture);
    const failed = await becomes(fixture, id, "FAILED", "UNHEALTHY");
    expect(failed.reason).toBe('There is no command "srver" here.');
    expect(failed.replicas).toMatchObject([{ phase: "FAILED", endpointUrl: null }]);
  });

  test("a server that exits at once is tried again, and the reason says how it ended", async () => {
    await using fixture = await createFixture({
      faultOf: () => ({ exitAfterMs: 5, exitCode: 3, readyAfterMs: "never" }),
    });
    const { id } = await deploy(fixture);
    const waiting = await eventually("BACKOFF", async () => {
      const state = await stateOf(fixture, id);
      return state.reason?.includes("started again soon") && state;
    });
    expect(waiting.status).toBe("STARTING");
    expect(waiting.reason).toMatch(/^The server exited with code 3 at once.*try 2 of 5/);
  });

  test("an engine that is away is asked as often as for what once ran", async () => {
    await using fixture = await createFixture({
      faultOf: () => ({ failToStart: { code: "UPSTREAM_UNAVAILABLE", message: "The engine does not answer." } }),
    });
    const { id } = await deploy(fixture);
    const waiting = await eventually("BACKOFF", async () => {
      const state = await stateOf(fixture, id);
      return state.reason?.includes("started again soon") && state;
    });
    expect(waiting.reason).toMatch(/^The engine does not answer\..*try 2 of 10/);
  });

  test("a replica that is killed comes back by itself, and the events tell of it", async () => {
    await using fixture = await createFixture({ overrides: {} });
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING", "HEALTHY");
    fixture.runtime.crash(fixture.runtime.running()[0]?.name ?? "");
    await becomes(fixture, id, "RUNNING", "UNHEALTHY");
    await becomes(fixture, id, "RUNNING", "HEALTHY");
    const { deployment } = await fixture.run<{ deployment: { events: { edges: { node: { kind: string } }[] } } }>(
      `query ($id: ID!) { deployment(id: $id) { events(first: 50) { edges { node { kind message status } } } } }`,
      { id },
    );
    const kinds = deployment.events.edges.map(({ node }) => node.kind).toReversed();
    expect(kinds).toEqual([
      "DEPLOYED",
      "REPLICA_STARTING",
      "REPLICA_READY",
      "RUNNING",
      "REPLICA_BACKOFF",
      "HEALTH_CHANGED",
      "REPLICA_STARTING",
      "REPLICA_READY",
      "HEALTH_CHANGED",
    ]);
  });

  test("no port left is CAPACITY_EXHAUSTED, and nothing half-made remains", async () => {
    await using fixture = await createFixture({ config: { portRange: { first: 9000, last: 9001 } } });
    expect(await fixture.codeOf(DEPLOY, { input: { toolId: "tool-1", replicas: 3 } })).toBe("CAPACITY_EXHAUSTED");
    const { deployments } = await fixture.run<{ deployments: { totalCount: number } }>(
      `{ deployments { totalCount } }`,
    );
    expect(deployments.totalCount).toBe(0);
    await deploy(fixture, { replicas: 2 });
  });

  test("a port that a stranger holds is skipped", async () => {
    await using fixture = await createFixture({ overrides: { isPortFree: async (_address, port) => port !== 8100 } });
    const { id } = await deploy(fixture);
    expect((await becomes(fixture, id, "RUNNING")).replicas[0]?.endpointUrl).toBe("http://127.0.0.1:8101/mcp");
  });

  test("a replica that runs and does not answer leaves READY at once and is replaced after the threshold", async () => {
    await using fixture = await createFixture({
      tools: {
        "tool-1": {
          slug: "weather",
          launch: { kind: "stdio", command: "x", options: { health: { intervalSeconds: 0.4, failureThreshold: 5 } } },
        },
      },
    });
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING", "HEALTHY");
    const name = fixture.runtime.running()[0]?.name ?? "";
    fixture.sick.add(name);
    await eventually("UNHEALTHY", async () => (await stateOf(fixture, id)).replicas[0]?.phase === "UNHEALTHY");
    expect((await routesOf(fixture)).routes[0]?.targets).toMatchObject([{ ready: false }]);
    await eventually(
      "replaced",
      async () => fixture.runtime.running()[0] !== undefined && fixture.runtime.running()[0]?.name !== name,
    );
    const state = await becomes(fixture, id, "RUNNING", "HEALTHY");
    expect(state.replicas[0]?.restarts).toBe(1);
    const { deployment } = await fixture.run<{ deployment: { healthChecks: { status: string }[] } }>(
      `query ($id: ID!) { deployment(id: $id) { healthChecks(first: 50) { status kind latencyMs } lastHealthCheck } }`,
      { id },
    );
    expect(deployment.healthChecks.map(({ status }) => status)).toContain("UNHEALTHY");
  });
});

describe("REPLACE", () => {
  test("the route moves once the new one answers, and the old one stops", async () => {
    await using fixture = await createFixture({
      faultOf: ({ name }) => (name.endsWith("-0-1") ? { readyAfterMs: 150 } : {}),
    });
    const first = await deploy(fixture);
    await becomes(fixture, first.id, "RUNNING");
    const second = await deploy(fixture, { versionNumber: 2 });
    const main = (table: Routes) => table.routes.find(({ ref }) => ref === "");
    expect(main(await routesOf(fixture))?.deploymentId).toBe(first.id);
    await becomes(fixture, second.id, "RUNNING");
    await becomes(fixture, first.id, "STOPPED");
    expect(main(await routesOf(fixture))?.deploymentId).toBe(second.id);
  });

  test("a new one that never works leaves the old one as it is", async () => {
    let broken = false;
    await using fixture = await createFixture({
      faultOf: () => (broken ? { failToStart: { code: "BAD_USER_INPUT", message: "No." } } : {}),
    });
    const first = await deploy(fixture);
    await becomes(fixture, first.id, "RUNNING", "HEALTHY");
    broken = true;
    const second = await deploy(fixture);
    await becomes(fixture, second.id, "FAILED");
    expect(await stateOf(fixture, first.id)).toMatchObject({ status: "RUNNING", health: "HEALTHY" });
    expect((await routesOf(fixture)).routes.find(({ ref }) => ref === "")?.deploymentId).toBe(first.id);
  });

  test("a new one of which only a part works leaves the old one as it is, and takes over once that has no more that works", async () => {
    let broken = false;
    await using fixture = await createFixture({
      faultOf: ({ name }) =>
        broken && name.endsWith("-1-1") ? { failToStart: { code: "BAD_USER_INPUT", message: "No." } } : {},
    });
    const first = await deploy(fixture, { replicas: 2 });
    await becomes(fixture, first.id, "RUNNING", "HEALTHY");
    broken = true;
    const second = await deploy(fixture, { replicas: 2 });
    await becomes(fixture, second.id, "RUNNING", "DEGRADED");
    const routed = async () => (await routesOf(fixture)).routes.find(({ ref }) => ref === "")?.deploymentId;
    expect(await routed()).toBe(first.id);
    await fixture.run("mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 1) { id } }", { id: first.id });
    await becomes(fixture, first.id, "STOPPED");
    expect(await routed()).toBe(second.id);
  });

  test("staging and production have routes of their own", async () => {
    await using fixture = await createFixture();
    const production = await deploy(fixture);
    const staging = await deploy(fixture, { environment: "STAGING" });
    await becomes(fixture, production.id, "RUNNING");
    const state = await becomes(fixture, staging.id, "RUNNING");
    expect(state.routeUrl).toBe("http://127.0.0.1:4100/mcp/weather@staging/v1");
    const refs = (await routesOf(fixture)).routes.map(({ ref }) => ref);
    expect(refs.toSorted()).toEqual(["", "staging", production.name, staging.name].toSorted());
  });
});

describe("restarts of the control plane", () => {
  test("with REPLICAS_ON_EXIT=keep replicas go on and are adopted", async () => {
    await using fixture = await createFixture();
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING");
    const [before] = fixture.runtime.running();
    await using next = await fixture.restart();
    expect(await stateOf(next, id)).toMatchObject({ status: "RUNNING", health: "HEALTHY" });
    expect(next.runtime.running()).toEqual([before]);
    await next.run(STOP, { id });
    await becomes(next, id, "STOPPED");
    expect(next.runtime.running()).toEqual([]);
  });

  test("with REPLICAS_ON_EXIT=stop nothing is left, and the deployment returns by itself", async () => {
    await using fixture = await createFixture({ config: { replicasOnExit: "stop" } });
    const { id } = await deploy(fixture, { replicas: 2 });
    await becomes(fixture, id, "RUNNING", "HEALTHY");
    await fixture.subgraph.close();
    expect(fixture.runtime.running()).toEqual([]);
    await using next = await createFixture({
      dataDir: fixture.dataDir,
      world: fixture.world,
      config: { replicasOnExit: "stop" },
    });
    const { replicas } = await becomes(next, id, "RUNNING", "HEALTHY");
    expect(replicas.map(({ restarts }) => restarts)).toEqual([0, 0]);
    await next.run(STOP, { id });
  });

  test("a runtime that is away keeps none of another's replicas from being stopped", async () => {
    let isAway = false;
    await using fixture = await createFixture({
      config: { replicasOnExit: "stop" },
      runtimes: (mock) => [
        mock,
        {
          ...mock,
          kind: "DOCKER",
          list: async () => {
            if (isAway) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The engine does not answer.");
            return [];
          },
        },
      ],
    });
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING", "HEALTHY");
    isAway = true;
    await fixture.subgraph.close();
    expect(fixture.runtime.running()).toEqual([]);
    await using next = await createFixture({ dataDir: fixture.dataDir, world: fixture.world });
    const { replicas } = await becomes(next, id, "RUNNING", "HEALTHY");
    expect(replicas.map(({ restarts }) => restarts)).toEqual([0]);
  });

  test.each([
    ["end with the supervisor", true],
    ["go on where the supervisor starts this process again", false],
  ])("without REPLICAS_ON_EXIT they %s", async (_what, isOver) => {
    const supervision = { isOver: false };
    await using fixture = await createFixture({ overrides: { supervision } });
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING", "HEALTHY");
    supervision.isOver = isOver;
    await fixture.subgraph.close();
    expect(fixture.runtime.running()).toHaveLength(isOver ? 0 : 1);
  });

  test("what died meanwhile is started again, and what no row knows is stopped", async () => {
    await using fixture = await createFixture();
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING");
    const [spec] = fixture.runtime.running();
    if (!spec) throw new Error("nothing runs");
    await fixture.subgraph.close();
    fixture.runtime.crash(spec.name);
    await fixture.runtime.start({ ...spec, name: "stray-0-1", replicaId: "nobody" });
    await using next = await createFixture({ dataDir: fixture.dataDir, world: fixture.world });
    await eventually("the stray is gone", async () => !next.runtime.running().some(({ name }) => name === "stray-0-1"));
    await eventually("it is started again", async () => next.runtime.running().length === 1);
    const { replicas } = await becomes(next, id, "RUNNING", "HEALTHY");
    expect(replicas).toMatchObject([{ restarts: 1 }]);
    expect(next.runtime.running()).toHaveLength(1);
  });
});

describe("who may what", () => {
  test("anonymous, viewers and other developers are refused", async () => {
    await using fixture = await createFixture();
    const input = { input: { toolId: "tool-1" } };
    expect(await fixture.codeOf(DEPLOY, input, anonymous)).toBe("UNAUTHENTICATED");
    expect(await fixture.codeOf(DEPLOY, input, createUserCaller("viewer", "VIEWER"))).toBe("FORBIDDEN");
    expect(await fixture.codeOf(DEPLOY, input, createUserCaller("other", "DEVELOPER"))).toBe("FORBIDDEN");
    expect(await fixture.codeOf(DEPLOY, input, admin)).toBeNull();
    expect(await fixture.codeOf(ROUTES, {}, admin)).toBe("FORBIDDEN");
    expect(await fixture.codeOf(`{ deployments { totalCount } }`, {}, anonymous)).toBe("UNAUTHENTICATED");
  });

  test("where replicas listen is for who may inspect the deployment: neither a field nor an event tells others", async () => {
    await using fixture = await createFixture();
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING");
    const [process_] = fixture.runtime.running();
    await fixture.run(`mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 2) { id } }`, { id });
    if (process_) fixture.runtime.crash(process_.name);
    await eventually("both", async () => fixture.runtime.running().length === 2);
    await becomes(fixture, id, "RUNNING", "HEALTHY");
    const everything = `query ($id: ID!) { deployment(id: $id) { status reason replicas { id phase reason endpointUrl health host }
      healthChecks(first: 100) { detail kind } events(first: 100) { edges { node { kind message data } } } } }`;
    const seenBy = async (caller: typeof admin): Promise<string> =>
      JSON.stringify(await fixture.run(everything, { id }, caller));
    expect(await seenBy(author)).toContain('"endpointUrl":"http://127.0.0.1:81');
    for (const caller of [createUserCaller("viewer", "VIEWER"), createUserCaller("other", "DEVELOPER")]) {
      const seen = await seenBy(caller);
      expect(seen).toContain("REPLICA_STARTING");
      expect(seen).toContain('"endpointUrl":null');
      expect(seen).not.toMatch(/(?:[:" ]|port )81\d\d\b|"port"|unix:/);
    }
  });

  test("viewers read deployments but not their logs", async () => {
    await using fixture = await createFixture();
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING");
    const viewer = createUserCaller("viewer", "VIEWER");
    const logs = `query ($id: ID!) { deployment(id: $id) { logs(last: 5) { text stream replicaId } } }`;
    expect(await fixture.codeOf(STATE, { id }, viewer)).toBeNull();
    expect(await fixture.codeOf(logs, { id }, viewer)).toBe("FORBIDDEN");
    const { deployment } = await fixture.run<{ deployment: { logs: { text: string }[] } }>(logs, { id }, author);
    expect(deployment.logs).toMatchObject([{ text: "listening on 127.0.0.1:8100", stream: "SYSTEM" }]);
  });
});
