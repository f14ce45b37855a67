import { eventually } from "@toolyard/testing/eventually.ts";
import { describe, expect, test } from "vitest";
import { createFixture, proxy, type Fixture } from "./deployments-fixture.ts";

const DEPLOY = `mutation ($replicas: Int) { deployTool(input: { toolId: "tool-1", replicas: $replicas }) { id name } }`;
const STATE = `query ($id: ID!) { deployment(id: $id) { status desiredReplicas replicas { phase endpointUrl } } }`;

interface State {
  status: string;
  desiredReplicas: number;
  replicas: { phase: string; endpointUrl: string | null }[];
}
const deploy = async (fixture: Fixture, replicas = 1): Promise<{ id: string; name: string }> =>
  (await fixture.run<{ deployTool: { id: string; name: string } }>(DEPLOY, { replicas })).deployTool;
const stateOf = async (fixture: Fixture, id: string): Promise<State> =>
  (await fixture.run<{ deployment: State }>(STATE, { id })).deployment;
const becomes = (fixture: Fixture, id: string, status: string) =>
  eventually(status, async () => (await stateOf(fixture, id)).status === status);
const scale = (fixture: Fixture, id: string, replicas: number) =>
  fixture.run(`mutation ($id: ID!, $replicas: Int!) { scaleDeployment(id: $id, replicas: $replicas) { id } }`, {
    id,
    replicas,
  });
const stop = (fixture: Fixture, id: string) =>
  fixture.run(`mutation ($id: ID!) { stopDeployment(id: $id) { id } }`, { id });

describe("at the same time", () => {
  test("of several deployments of one tool the last one has the route, and no address is used twice", async () => {
    await using fixture = await createFixture();
    const made = await Promise.all(Array.from({ length: 5 }, () => deploy(fixture, 2)));
    expect(new Set(made.map(({ name }) => name)).size).toBe(5);
    const last = made.toSorted((a, b) => (a.id < b.id ? -1 : 1)).at(-1)?.id ?? "";
    await becomes(fixture, last, "RUNNING");
    await eventually("the others stopped", async () => {
      const states = await Promise.all(made.filter(({ id }) => id !== last).map(({ id }) => stateOf(fixture, id)));
      return states.every(({ status }) => status === "STOPPED");
    });
    expect(fixture.runtime.running()).toHaveLength(2);
  });

  test("the last ports go to one of two, and the other hears of it", async () => {
    await using fixture = await createFixture({ config: { portRange: { first: 9_000, last: 9_002 } } });
    const outcomes = await Promise.allSettled([deploy(fixture, 2), deploy(fixture, 2)]);
    expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
  });

  test("a stop while it starts leaves nothing", async () => {
    await using fixture = await createFixture({ faultOf: () => ({ readyAfterMs: "never" }) });
    const { id } = await deploy(fixture, 3);
    await eventually("something runs", async () => fixture.runtime.running().length > 0);
    await stop(fixture, id);
    await becomes(fixture, id, "STOPPED");
    expect(fixture.runtime.running()).toEqual([]);
    expect(fixture.world.replicas.size).toBe(0);
  });

  test("a stop for good of what is being stopped to be tried again leaves nothing", async () => {
    const launch = { kind: "stdio", command: "x", options: { health: { startTimeoutSeconds: 0.05 } } };
    await using fixture = await createFixture({
      tools: { "tool-1": { slug: "weather", launch } },
      faultOf: () => ({ readyAfterMs: "never", unkillableForMs: 300 }),
    });
    const { id } = await deploy(fixture);
    await eventually("given up", async () => (await stateOf(fixture, id)).replicas[0]?.phase === "STOPPING");
    await stop(fixture, id);
    await becomes(fixture, id, "STOPPED");
    expect(fixture.world.replicas.size).toBe(0);
  });

  test("scaling what is stopping is a CONFLICT, and it stops all the same", async () => {
    await using fixture = await createFixture({ faultOf: () => ({ ignoresSigterm: true }) });
    const { id } = await deploy(fixture, 2);
    await becomes(fixture, id, "RUNNING");
    await stop(fixture, id);
    expect(await fixture.codeOf(`mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 3) { id } }`, { id })).toBe(
      "CONFLICT",
    );
    await becomes(fixture, id, "STOPPED");
    expect(fixture.runtime.running()).toEqual([]);
  });

  test("many changes of mind end with the last one", async () => {
    await using fixture = await createFixture();
    const { id } = await deploy(fixture);
    for (const replicas of [3, 0, 4, 1, 2]) await scale(fixture, id, replicas);
    await eventually("two ready", async () => {
      const { replicas } = await stateOf(fixture, id);
      return (
        replicas.length === 2 &&
        replicas.every(({ phase }) => phase === "READY") &&
        fixture.runtime.running().length === 2
      );
    });
  });

  test("one that starts slowly holds up no other", async () => {
    await using fixture = await createFixture({
      tools: { "tool-1": { slug: "slow" }, "tool-2": { slug: "quick" } },
      faultOf: ({ name }) => (name.startsWith("slow") ? { readyAfterMs: "never" } : {}),
    });
    await Promise.all([deploy(fixture), deploy(fixture), deploy(fixture)]);
    const { deployTool } = await fixture.run<{ deployTool: { id: string } }>(
      `mutation { deployTool(input: { toolId: "tool-2" }) { id } }`,
    );
    await becomes(fixture, deployTool.id, "RUNNING");
  });
});

describe("subscriptions", () => {
  test("events replay from where one left off and go on live, and leaving ends the stream", async () => {
    await using fixture = await createFixture();
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING");
    const source = `subscription ($id: ID, $after: String) { deploymentEvents(deploymentId: $id, after: $after) { sequence kind status deployment { name status } } }`;
    await using events = await fixture.stream<{ deploymentEvents: { sequence: string; kind: string; status: string } }>(
      source,
      { id, after: "0" },
    );
    const next = async () => (await events.next()).value?.data.deploymentEvents;
    expect(await next()).toMatchObject({ kind: "DEPLOYED", status: "STARTING" });
    while ((await next()).kind !== "RUNNING");
    await stop(fixture, id);
    expect((await next()).kind).toBe("STOP_REQUESTED");
    while ((await next()).kind !== "STOPPED");
    await events.return();
  });

  test("the first check and each that turns out differently is told", async () => {
    const launch = { kind: "stdio", command: "x", options: { health: { intervalSeconds: 0.05 } } };
    await using fixture = await createFixture({ tools: { "tool-1": { slug: "weather", launch } } });
    await using checks = await fixture.stream<{ deploymentHealth: { check: { status: string } } }>(
      `subscription { deploymentHealth(after: "0") { sequence deploymentId check { status kind detail } deployment { name } } }`,
    );
    const { id } = await deploy(fixture);
    const next = async () => (await checks.next()).value?.data.deploymentHealth.check.status;
    expect(await next()).toBe("HEALTHY");
    fixture.sick.add(fixture.runtime.running()[0]?.name ?? "");
    expect(await next()).toBe("UNHEALTHY");
    fixture.sick.clear();
    expect(await next()).toBe("HEALTHY");
    await stop(fixture, id);
  });

  test("a proxy gets the table at once and at each change, its version rising", async () => {
    // What is over within a turn of the event loop is one change.
    await using fixture = await createFixture({ faultOf: () => ({ readyAfterMs: 100 }) });
    type Table = {
      routesChanged: { version: string; routes: { ref: string; stateReason: string | null; targets: unknown[] }[] };
    };
    await using tables = await fixture.stream<Table>(
      `subscription { routesChanged { version sessionKey routes { slug ref stateReason targets { url token ready headers { name value } remote } } } }`,
      {},
      proxy,
    );
    const next = async () => (await tables.next()).value?.data.routesChanged;
    const first = await next();
    expect(first.routes).toEqual([]);
    const { id } = await deploy(fixture);
    let table = await next();
    expect(table.routes.find(({ ref }: { ref: string }) => ref === "")).toMatchObject({
      targets: [],
      stateReason: expect.stringMatching(/^weather is starting\./),
    });
    while (table.routes[0].targets.length === 0) {
      const later = await next();
      expect(Number(later.version)).toBeGreaterThan(Number(table.version));
      table = later;
    }
    expect(table.routes[0].stateReason).toBeNull();
    await stop(fixture, id);
    while (table.routes.length > 1) table = await next();
    expect(table.routes[0]).toMatchObject({ targets: [], stateReason: "weather is stopped." });
    const version = "{ routesVersion }";
    const { routesVersion } = await fixture.run(version, {}, proxy);
    expect(Number(routesVersion)).toBeGreaterThanOrEqual(Number(table.version));
    expect(await fixture.codeOf(version)).toBe("FORBIDDEN");
  });

  test("a deployment's log is followed, and that of replicas that start later from their first line", async () => {
    await using fixture = await createFixture();
    const { id } = await deploy(fixture);
    await becomes(fixture, id, "RUNNING");
    await using lines = await fixture.stream<{ deploymentLogs: { text: string } }>(
      `subscription ($id: ID!) { deploymentLogs(deploymentId: $id) { text stream replicaId at } }`,
      { id },
    );
    const next = async () => (await lines.next()).value?.data.deploymentLogs.text;
    const first = next();
    const print = setInterval(() => fixture.runtime.print(fixture.runtime.running()[0]?.name ?? "", "hello"), 10);
    try {
      expect(await first).toBe("hello");
    } finally {
      clearInterval(print);
    }
    await fixture.run("mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 2) { id } }", { id });
    let line = await next();
    while (line === "hello") line = await next();
    expect(line).toMatch(/^listening on /);
  });
});
