import { fileURLToPath } from "node:url";
import {
  connectMcp,
  eventually,
  graphqlClient,
  logIn,
  processesWith,
  startToolyard,
  type RunningToolyard,
} from "@toolyard/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

/* What one caller of a deployed server does, or has to wait for, is not for the others to bear. */

const server = fileURLToPath(new URL("../../packages/bridge/fixtures/server.mjs", import.meta.url));

let toolyard: RunningToolyard;
let token: string;
beforeEach(async () => {
  toolyard = await startToolyard();
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
});
afterEach(async () => {
  await toolyard[Symbol.asyncDispose]();
  expect(await processesWith(toolyard.dataDir)).toEqual([]);
});

interface State {
  status: string;
  health: string;
  healthChecks: { at: string; status: string }[];
}

async function deploy(name: string, stdio: Record<string, unknown>) {
  const admin = graphqlClient(toolyard.url, token);
  const launch = { stdio: { command: process.execPath, ...stdio } };
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    { input: { name, description: name, launch } },
  );
  const { deployTool } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
    { input: { toolId: createTool.id } },
  );
  const state = async (): Promise<State> => {
    const { deployment } = await admin.query<{ deployment: State }>(
      "query ($id: ID!) { deployment(id: $id) { status health healthChecks(first: 100) { at status } } }",
      { id: deployTool.id },
    );
    return deployment;
  };
  await eventually("RUNNING and HEALTHY", async () => {
    const { status, health } = await state();
    return status === "RUNNING" && health === "HEALTHY";
  });
  return { ...deployTool, state };
}

test("a server whose next process would take forever to start is probed by the one that runs, and a session goes on", async () => {
  const health = { intervalSeconds: 1, timeoutSeconds: 1, failureThreshold: 1, startTimeoutSeconds: 3_600 };
  const { mcpUrl, state } = await deploy("Slow again", { args: [server, "slow-again"], options: { health } });
  // It takes the process that is there.
  const client = await connectMcp("v1", mcpUrl, token);
  try {
    await client.callTool("remember", { what: "state" });
    const from = (await state()).healthChecks[0]?.at ?? "";
    await eventually(
      "six probes",
      async () => (await state()).healthChecks.filter(({ at }) => at > from).length >= 6,
      60_000,
    );
    const { status, healthChecks } = await state();
    expect(status).toBe("RUNNING");
    expect(healthChecks.map((check) => check.status)).not.toContain("UNHEALTHY");
    expect(await client.callTool("recall", {})).toContain("state");
  } finally {
    await client.close();
  }
});

test("a launch says how long messages may be, and how many sessions there are", async () => {
  const { mcpUrl } = await deploy("Bounded", { args: [server], maxMessageBytes: 100_000, maxSessions: 3 });
  const first = await connectMcp("v1", mcpUrl, token);
  await expect(first.callTool("huge", { bytes: 100_000 })).rejects.toThrow(/more than 100000 bytes/);
  expect(await first.callTool("echo", { message: "still here" })).toContain("still here");
  // One caller has two of them: with an open stream a session is not idle.
  const second = await connectMcp("v1", mcpUrl, token);
  const headers = { authorization: `Bearer ${token}` };
  await eventually("both streams are open", async () =>
    (await (await fetch(`${toolyard.proxyUrl}/metrics`, { headers })).text()).includes("\nmcp_streams_open 2\n"),
  );
  await expect(connectMcp("v1", mcpUrl, token)).rejects.toThrow(/sessions that one caller may have are in use/);
  for (const client of [first, second]) await client.close();
});
