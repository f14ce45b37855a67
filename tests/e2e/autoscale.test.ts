import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connectMcp, eventually, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";

const SERVER = join(import.meta.dirname, "fixtures/waiter.mjs");
const AUTOSCALE = { min: 0, max: 2, targetConcurrentCalls: 2, idleSeconds: 1 };

let toolyard: RunningToolyard;
let admin: ReturnType<typeof graphqlClient>;
let token: string;

beforeAll(async () => {
  // A server here reads a file outside of its sandbox.
  toolyard = await startToolyard({ env: { PROCESS_ISOLATION: "none" } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  admin = graphqlClient(toolyard.url, token);
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

interface State {
  status: string;
  health: string;
  reason: string | null;
  desiredReplicas: number;
  replicas: { phase: string; reason: string | null }[];
  events: { edges: { node: { kind: string; data: { from: number; to: number } } }[] };
}

test("replicas are as many as their calls need, none while idle, and no call fails on the way", async () => {
  await admin.query("mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }", {
    input: { name: "Waiter", description: "e2e", launch: { stdio: { command: process.execPath, args: [SERVER] } } },
  });
  const deploy = async () =>
    (
      await admin.query<{ deployTool: { id: string; mcpUrl: string; autoscale: typeof AUTOSCALE } }>(
        "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl autoscale { min max targetConcurrentCalls idleSeconds } } }",
        { input: { toolId: "waiter", autoscale: AUTOSCALE } },
      )
    ).deployTool;
  let deployed = await deploy();
  expect(deployed.autoscale).toEqual(AUTOSCALE);
  const state = async (): Promise<State> =>
    (
      await admin.query<{ deployment: State }>(
        `query ($id: ID!) { deployment(id: $id) { status health reason desiredReplicas replicas { phase reason }
           events(first: 100) { edges { node { kind data } } } } }`,
        { id: deployed.id },
      )
    ).deployment;

  // From the first answer on, no call fails.
  await (await eventually("an answer", () => connectMcp("v2-stateless", deployed.mcpUrl, token))).close();
  let load = 6;
  let calls = 0;
  const caller = async (place: number): Promise<void> => {
    const client = await connectMcp("v2-stateless", deployed.mcpUrl, token);
    for (; load > place; calls += 1) expect(await client.callTool("wait", { ms: 200 })).toBe("done");
    await client.close();
  };
  const callers = Array.from({ length: load }, (_, place) => caller(place));
  await eventually("two ready replicas", async () => {
    const { replicas } = await state();
    return replicas.filter(({ phase }) => phase === "READY").length === 2;
  });
  // The next one has what this load needs before it gets its calls.
  deployed = await deploy();
  const kindsOf = async () => (await state()).events.edges.map(({ node }) => node.kind).toReversed();
  const kinds = await eventually("the route", async () => {
    const now = await kindsOf();
    return now.includes("ROUTE_SHIFTED") && now;
  });
  expect(kinds.slice(0, kinds.indexOf("ROUTE_SHIFTED")).filter((kind) => kind === "REPLICA_READY")).toHaveLength(2);
  const long = await connectMcp("v2-stateless", deployed.mcpUrl, token);
  const answered = long.callTool("wait", { ms: 3_000 });
  load = 1;
  await eventually("one replica", async () => {
    const { status, health, desiredReplicas, replicas } = await state();
    return status === "RUNNING" && health === "HEALTHY" && desiredReplicas === 1 && replicas.length === 1;
  });
  load = 0;
  await Promise.all(callers);
  expect(calls).toBeGreaterThan(6);
  expect(await answered).toBe("done");
  await long.close();

  const idle = await eventually("idle at zero", async () => {
    const now = await state();
    return now.desiredReplicas === 0 && now.replicas.length === 0 && now;
  });
  expect(idle).toMatchObject({ status: "RUNNING", health: "UNKNOWN", reason: expect.stringContaining("idle at zero") });

  const clients = await Promise.all(
    Array.from({ length: 2 }, () => connectMcp("v2-stateless", deployed.mcpUrl, token)),
  );
  const texts = await Promise.all(clients.map((client) => client.callTool("wait", { ms: 1 })));
  expect(texts).toEqual(["done", "done"]);
  await Promise.all(clients.map((client) => client.close()));
  const { events } = await state();
  const steps = events.edges.flatMap(({ node }) =>
    node.kind === "SCALED" ? [`${node.data.from}-${node.data.to}`] : [],
  );
  // Newest first; two calls that wait need one replica, which may be idle again by now.
  expect(steps.join(" ")).toMatch(/^(1-0 )?0-1 1-0/);
});

test("while a deployment wakes up, its tools are listed as they were, and a call of one is held and answered", async () => {
  const file = join(toolyard.dataDir, "may-start");
  await writeFile(file, "");
  const launch = { stdio: { command: process.execPath, args: [SERVER, file] } };
  await admin.query("mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }", {
    input: { name: "Sleeper", description: "e2e", launch },
  });
  const { deployTool: deployed } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
    { input: { toolId: "sleeper", autoscale: { min: 0, max: 1, idleSeconds: 1 } } },
  );
  const replicas = async () =>
    (
      await admin.query<{ deployment: { health: string; replicas: { phase: string }[] } }>(
        "query ($id: ID!) { deployment(id: $id) { health replicas { phase } } }",
        { id: deployed.id },
      )
    ).deployment.replicas.map(({ phase }) => phase);
  await eventually("its start", async () => (await replicas()).includes("READY"));
  await eventually("idle at zero", async () => (await replicas()).length === 0);
  await rm(file);
  const client = await connectMcp("v2-stateless", deployed.mcpUrl, token);
  expect(await client.listTools()).toEqual(["wait"]);
  const answer = client.callTool("wait", { ms: 1 });
  await writeFile(file, "");
  expect(await answer).toBe("done");
  await client.close();
});

test("scaleDeployment refuses what is scaled by load, and says what to do", async () => {
  const { errors } = await admin.send('mutation { scaleDeployment(id: "waiter", replicas: 2) { id } }');
  expect(JSON.stringify(errors)).toContain("CONFLICT");
});
