import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import { startBridge } from "@toolyard/bridge/bridge.fixture.ts";
import { eventually, freePort, graphqlClient, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runConformance, startForwarder, type Suite } from "../conformance/run.ts";

/**
 * The MCP conformance suite against one server, directly and through Toolyard: the same checks of the same scenarios pass.
 */

const SUITES: Readonly<Record<Suite, number>> = {
  "0.1.16": 32,
  "0.2.0 for 2025-11-25": 33,
  "0.2.0 for 2026-07-28": 37,
};
/** What sessions that share a process cannot have: the server would not know whom it asks. */
const NOT_SHARED: Readonly<Partial<Record<Suite, readonly string[]>>> = {
  "0.1.16": [
    "tools-call-sampling",
    "tools-call-elicitation",
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
  ],
  "0.2.0 for 2025-11-25": [
    "tools-call-sampling",
    "tools-call-elicitation",
    "elicitation-sep1034-defaults",
    "elicitation-sep1330-enums",
  ],
};
/** Of an extension that the server does not implement. */
const isServed = (scenario: string): boolean => !scenario.startsWith("tasks-");
const server = join(import.meta.dirname, "..", "conformance", "server.mjs");

let toolyard: RunningToolyard;
let token: string;
let direct: ChildProcess;
const expected = new Map<Suite, readonly string[]>();
const suites = Object.keys(SUITES) as Suite[];

beforeAll(async () => {
  const port = await freePort();
  direct = spawn(process.execPath, [server], {
    env: { PATH: process.env.PATH, PORT: String(port) },
    stdio: "ignore",
  });
  toolyard = await startToolyard();
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const url = `http://127.0.0.1:${port}/mcp`;
  await eventually("the server itself", () => fetch(url).then(Boolean, () => false));
  for (const suite of suites) expected.set(suite, (await runConformance(suite, url, isServed)).passed);
});
afterAll(async () => {
  direct?.kill();
  await toolyard?.[Symbol.asyncDispose]();
});

/** Deploys the server and waits for all its replicas. */
async function deploy(name: string, launch: Record<string, unknown>, replicas: number): Promise<string> {
  const admin = graphqlClient(toolyard.url, token);
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    { input: { name, description: "conformance", launch } },
  );
  const { deployTool } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
    { input: { toolId: createTool.id, replicas } },
  );
  await eventually(
    `${name} healthy`,
    async () => {
      const { deployment } = await admin.query<{ deployment: { health: string } }>(
        "query ($id: ID!) { deployment(id: $id) { health } }",
        { id: deployTool.id },
      );
      return deployment.health === "HEALTHY";
    },
    60_000,
  );
  return deployTool.mcpUrl;
}

test("the server passes the suite by itself", () => {
  for (const suite of suites) expect(expected.get(suite)?.length, suite).toBeGreaterThanOrEqual(SUITES[suite]);
});

describe.each([
  ["stdio", 1, "proxy"],
  ["stdio", 2, "proxy"],
  ["http", 1, "proxy"],
  ["http", 2, "proxy"],
  ["stdio", 1, "gateway"],
  ["http", 2, "gateway"],
] as const)("as a %s launch with %i replica(s), called at the %s", (kind, replicas, address) => {
  test("it passes the same", { timeout: 400_000 }, async () => {
    const launch =
      kind === "stdio"
        ? { stdio: { command: process.execPath, args: [server, "stdio"] } }
        : { http: { command: process.execPath, args: [server] } };
    const mcpUrl = await deploy(`Conformance ${kind} ${replicas} ${address}`, launch, replicas);
    const called = address === "gateway" ? toolyard.url + new URL(mcpUrl).pathname : mcpUrl;
    await using forwarder = await startForwarder(called, token);
    for (const suite of suites) {
      const { passed, complaints } = await runConformance(suite, forwarder.url, isServed);
      expect(passed, complaints).toEqual(expected.get(suite));
    }
  });
});

test("through a bridge alone, it passes the same", { timeout: 400_000 }, async () => {
  await using bridge = await startBridge([server, "stdio"]);
  for (const suite of suites) {
    const { passed, complaints } = await runConformance(suite, bridge.url.href, isServed);
    expect(passed, complaints).toEqual(expected.get(suite));
  }
});

test("as a launch whose sessions share a process, it passes what needs no question", { timeout: 400_000 }, async () => {
  const launch = { stdio: { command: process.execPath, args: [server, "stdio"], sessions: "SHARED" } };
  await using forwarder = await startForwarder(await deploy("Conformance shared", launch, 1), token);
  for (const suite of suites) {
    const served = expected.get(suite)?.filter((scenario) => !NOT_SHARED[suite]?.includes(scenario));
    const { passed, complaints } = await runConformance(
      suite,
      forwarder.url,
      isServed,
      (scenario) => served?.includes(scenario) ?? false,
    );
    expect(passed, complaints).toEqual(served);
  }
});
