import { connect } from "node:net";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import {
  connectMcp,
  eventually,
  graphqlClient,
  logIn,
  processesWith,
  startToolyard,
  type RunningToolyard,
} from "@toolyard/testing";
import { createClient, type Client } from "graphql-ws";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { sampleServerEntry } from "../../standalone/sample.ts";

let toolyard: RunningToolyard;
let admin: ReturnType<typeof graphqlClient>;
let token: string;

beforeAll(async () => {
  toolyard = await startToolyard();
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  admin = graphqlClient(toolyard.url, token);
});
afterAll(async () => {
  await toolyard?.[Symbol.asyncDispose]();
});

const DEPLOYMENT =
  "id name status reason health endpointUrl routeUrl mcpUrl stoppedAt replicas { id phase endpointUrl }";
interface Deployment {
  id: string;
  name: string;
  status: string;
  reason: string | null;
  health: string;
  endpointUrl: string;
  routeUrl: string;
  mcpUrl: string;
  stoppedAt: string | null;
  replicas: { id: string; phase: string; endpointUrl: string | null }[];
}
interface Event {
  deploymentEvents: {
    sequence: string;
    kind: string;
    status: string;
    health: string;
    deployment: { name: string; tool: { slug: string } | null };
  };
}

function watch(client: Client, query: string, variables: Record<string, unknown>) {
  const events: Event["deploymentEvents"][] = [];
  const stop = client.subscribe<Event>(
    { query, variables },
    {
      next: ({ data, errors }) => {
        if (errors) throw new Error(JSON.stringify(errors));
        if (data) events.push(data.deploymentEvents);
      },
      error: () => undefined, // the socket is closed at the end of the test
      complete: () => undefined,
    },
  );
  return { events, stop };
}

test("register → deploy → watch → call in both eras → scale → stop → nothing left", async () => {
  const { createTool: tool } = await admin.query<{ createTool: { id: string; slug: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id slug } }",
    {
      input: {
        name: "Weather",
        description: "e2e",
        launch: { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } },
      },
    },
  );
  expect(tool.slug).toBe("weather");

  const sockets = createClient({
    url: `${toolyard.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
  });
  const query =
    "subscription ($toolId: ID, $after: String) { deploymentEvents(toolId: $toolId, after: $after) { sequence kind status health deployment { name tool { slug } } } }";
  const live = watch(sockets, query, { toolId: tool.id, after: "0" });

  const { deployTool: deployed } = await admin.query<{ deployTool: Deployment }>(
    `mutation ($input: DeployToolInput!) { deployTool(input: $input) { ${DEPLOYMENT} } }`,
    { input: { toolId: tool.id } },
  );
  expect(deployed).toMatchObject({
    status: "STARTING",
    routeUrl: `${toolyard.proxyUrl}/mcp/weather/v1`,
    mcpUrl: `${toolyard.proxyUrl}/mcp/weather/v1/mcp`,
    stoppedAt: null,
  });
  await eventually("an event that says RUNNING", () =>
    live.events.some(({ status, health }) => status === "RUNNING" && health === "HEALTHY"),
  );
  // Fields of another subgraph are resolved for each event.
  expect(live.events[0]?.deployment).toEqual({ name: deployed.name, tool: { slug: "weather" } });

  const apiKey = await admin.query<{ createApiKey: { secret: string } }>(
    'mutation { createApiKey(input: { name: "e2e", scopes: [INVOKE] }) { secret } }',
  );
  for (const era of ["v1", "v2-sessions", "v2-stateless"] as const) {
    for (const credential of [token, apiKey.createApiKey.secret]) {
      const client = await connectMcp(era, deployed.mcpUrl, credential);
      expect(await client.listTools()).toContain("echo");
      expect(await client.callTool("echo", { message: `hello ${era}` })).toContain(`hello ${era}`);
      await client.close();
    }
  }

  const reload = async () =>
    (
      await admin.query<{ deployment: Deployment }>(`query ($id: ID!) { deployment(id: $id) { ${DEPLOYMENT} } }`, {
        id: deployed.id,
      })
    ).deployment;
  await admin.query("mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 2) { id } }", { id: deployed.id });
  const scaled = await eventually("two ready replicas", async () => {
    const now = await reload();
    return now.replicas.filter(({ phase }) => phase === "READY").length === 2 && now.health === "HEALTHY" ? now : null;
  });
  const urls = scaled.replicas.map(({ endpointUrl }) => endpointUrl);
  expect(new Set(urls).size).toBe(2);

  // Usage arrives in batches, never on the call's path.
  const usage = await eventually("usage of the calls", async () => {
    const { usageRecords } = await admin.query<{
      usageRecords: { totalCount: number; edges: { node: { mcpTool: string | null; statusCode: number } }[] };
    }>(
      "query ($id: ID!) { usageRecords(deploymentId: $id, first: 100) { totalCount edges { node { mcpTool statusCode } } } }",
      { id: deployed.id },
    );
    return usageRecords.edges.filter(({ node }) => node.mcpTool === "echo").length === 6 ? usageRecords : null;
  });
  expect(usage.edges.every(({ node }) => node.statusCode < 400)).toBe(true);
  const counted = async () => {
    const headers = { authorization: `Bearer ${token}` };
    return (await fetch(`${toolyard.proxyUrl}/metrics`, { headers })).text();
  };
  const series = `mcp_tool_calls_total{tool="weather",deployment="${deployed.name}",outcome="ok"}`;
  expect(await counted()).toContain(`\n${series} `);

  await admin.query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id: deployed.id });
  const stopped = await eventually("STOPPED", async () => {
    const now = await reload();
    return now.status === "STOPPED" ? now : null;
  });
  expect(stopped.stoppedAt).not.toBeNull();
  await eventually("the event that says STOPPED", () => live.events.at(-1)?.status === "STOPPED");
  await eventually("it has left the proxy's metrics", async () => !(await counted()).includes(series));

  // Resuming misses nothing and repeats nothing.
  const middle = live.events[1]?.sequence ?? "";
  const resumed = watch(sockets, query, { toolId: tool.id, after: middle });
  await eventually("the rest of the events", () => resumed.events.at(-1)?.sequence === live.events.at(-1)?.sequence);
  expect(resumed.events.map(({ sequence }) => sequence)).toEqual(live.events.slice(2).map(({ sequence }) => sequence));
  live.stop();
  resumed.stop();
  await sockets.dispose();

  const answer = await fetch(deployed.mcpUrl, {
    method: "POST",
    headers: { authorization: `Bearer ${token}` },
    body: "{}",
  });
  expect(answer.status).toBe(503);
  expect(await answer.json()).toMatchObject({ status: 503, detail: expect.stringMatching(/stopped/i) });
  for (const url of urls) await expect(canConnect(url ?? "")).resolves.toBe(false);
  const left = await processesWith(join(toolyard.dataDir, "replicas"));
  expect(left).toEqual([]);
  expect(await readdir(join(toolyard.dataDir, "replicas")).catch(() => [])).toEqual([]);
});

test("stopping Toolyard leaves no process and says so with exit code 0", async () => {
  const own = await startToolyard({ env: { SAMPLE: "true" } });
  try {
    await eventually("the sample running", async () => {
      const as = graphqlClient(own.url, await logIn(own.url, "admin", own.adminPassword));
      const { deployments } = await as.query<{ deployments: { edges: { node: { status: string } }[] } }>(
        "{ deployments { edges { node { status } } } }",
      );
      return deployments.edges[0]?.node.status === "RUNNING";
    });
    expect((await processesWith(own.dataDir)).length).toBeGreaterThan(1);
    expect(await own.stop()).toBe(0);
    expect(await processesWith(own.dataDir)).toEqual([]);
  } finally {
    await own[Symbol.asyncDispose]();
  }
});

function canConnect(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
