import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createProcessRuntime } from "@toolyard/runtimes/process/process-runtime.ts";
import { createLogger } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing/eventually.ts";
import { portBlock } from "@toolyard/testing/ports.ts";
import { expect, test } from "vitest";
import { createFixture, proxy, type Fixture } from "./deployments-fixture.ts";
import { createProber } from "./engine/probe.ts";

interface State {
  status: string;
  health: string;
  reason: string | null;
  desiredReplicas: number;
  replicas: { phase: string; reason: string | null }[];
  events: { edges: { node: { kind: string } }[] };
}
const stateOf = async (fixture: Fixture, id: string): Promise<State> =>
  (
    await fixture.run<{ deployment: State }>(
      `query ($id: ID!) { deployment(id: $id) {
         status health reason desiredReplicas replicas { phase reason } events(first: 100) { edges { node { kind } } } } }`,
      { id },
    )
  ).deployment;
const deploy = async (fixture: Fixture, autoscale: Record<string, number>): Promise<string> =>
  (
    await fixture.run<{ deployTool: { id: string } }>(
      "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }",
      { input: { toolId: "tool-1", autoscale } },
    )
  ).deployTool.id;
const report = (fixture: Fixture, proxyId: string, deploymentId: string, calls: number) =>
  fixture.run(
    "mutation ($proxyId: ID!, $loads: [DeploymentLoadInput!]!) { reportLoad(proxyId: $proxyId, loads: $loads) }",
    { proxyId, loads: [{ deploymentId, calls, replicaIds: [] }] },
    proxy,
  );
test("replicas follow what all proxies tell, also after a restart; nobody scales by hand; only proxies tell", async () => {
  await using fixture = await createFixture();
  const id = await deploy(fixture, { min: 0, max: 3, targetConcurrentCalls: 2, idleSeconds: 1 });
  await eventually("RUNNING", async () => (await stateOf(fixture, id)).status === "RUNNING");
  const scale = "mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 2) { id } }";
  expect(await fixture.codeOf(scale, { id })).toBe("CONFLICT");
  const asUser = `mutation { reportLoad(proxyId: "p", loads: []) }`;
  expect(await fixture.codeOf(asUser)).toBe("FORBIDDEN");
  await eventually("two of two proxies", async () => {
    await report(fixture, "p1", id, 2);
    await report(fixture, "p2", id, 1.5);
    return (await stateOf(fixture, id)).desiredReplicas === 2;
  });
  await eventually("idle at zero", async () => {
    const { desiredReplicas, replicas, reason } = await stateOf(fixture, id);
    return desiredReplicas === 0 && replicas.length === 0 && reason?.includes("idle at zero");
  });
  const again = await fixture.restart();
  try {
    expect(await stateOf(again, id)).toMatchObject({ status: "RUNNING", health: "UNKNOWN", desiredReplicas: 0 });
    await eventually("three", async () => {
      await report(again, "p1", id, 99);
      const { desiredReplicas, replicas } = await stateOf(again, id);
      return desiredReplicas === 3 && replicas.filter(({ phase }) => phase === "READY").length === 3;
    });
    await again.run("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id });
    await eventually("STOPPED", async () => (await stateOf(again, id)).status === "STOPPED");
  } finally {
    await again[Symbol.asyncDispose]();
  }
});

test("a replica with sessions takes no new calls, and stops once they have ended", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-deployments-"));
  const log = createLogger({ level: "silent", name: "test" });
  const prober = createProber({ allowPrivateRemotes: false });
  let sessions = 1;
  let asked = 0;
  const args = [join(import.meta.dirname, "../../tests/e2e/fixtures/waiter.mjs")];
  try {
    await using fixture = await createFixture({
      dataDir,
      tools: { "tool-1": { slug: "waiter", launch: { kind: "stdio", command: process.execPath, args } } },
      runtimes: () => [createProcessRuntime({ dataDir, isolation: "none", hostEnv: process.env, log })],
      config: { portRange: await portBlock(), replicasOnExit: "stop" },
      overrides: {
        prober: {
          ...prober,
          async countSessions() {
            asked += 1;
            return sessions;
          },
        },
      },
    });
    const id = await deploy(fixture, { min: 0, max: 1, idleSeconds: 1 });
    await eventually("two refusals to stop", () => asked >= 2);
    const { desiredReplicas, replicas } = await stateOf(fixture, id);
    expect(desiredReplicas).toBe(0);
    expect(replicas).toEqual([{ phase: "READY", reason: expect.stringContaining("takes no new calls") }]);
    sessions = 0;
    await eventually("its end", async () => (await stateOf(fixture, id)).replicas.length === 0);
    const kinds = (await stateOf(fixture, id)).events.edges.map(({ node }) => node.kind);
    expect(kinds).toContain("REPLICA_RETIRING");
    expect(kinds).not.toContain("REPLICA_BACKOFF");
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});
