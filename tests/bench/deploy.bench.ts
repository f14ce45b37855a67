/**
 * From the request to deploy a stdio server to the first answered tools/list through the proxy, beside the same server's spawn to
 * the answer to `initialize`. Taken in turns; medians.
 */
import { spawn } from "node:child_process";
import { graphqlClient, logIn, startToolyard } from "@toolyard/testing";
import { sampleServerEntry } from "../../standalone/sample.ts";

const RUNS = 9;
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Milliseconds from spawn to the answer to `initialize`. */
function bareStart(): Promise<number> {
  const started = performance.now();
  const child = spawn(process.execPath, [sampleServerEntry(), "stdio"], { stdio: ["pipe", "pipe", "ignore"] });
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "bench", version: "1" } };
  child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params })}\n`);
  return new Promise((resolve) => {
    child.stdout.once("data", () => {
      resolve(performance.now() - started);
      child.kill("SIGKILL");
    });
  });
}

await using toolyard = await startToolyard();
const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
const admin = graphqlClient(toolyard.url, token);

/** Milliseconds from `deployTool` to the first answered call. */
async function deployed(run: number): Promise<number> {
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    {
      input: {
        name: `Bench ${run}`,
        description: "bench",
        launch: { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } },
      },
    },
  );
  const started = performance.now();
  const { deployTool } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
    {
      input: { toolId: createTool.id },
    },
  );
  const meta = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": { name: "bench", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  for (;;) {
    const answer = await fetch(deployTool.mcpUrl, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/list",
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: { _meta: meta } }),
    });
    await answer.arrayBuffer();
    if (answer.status === 200) break;
    if (performance.now() - started > 30_000) throw new Error(`no answer after 30 s: ${answer.status}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const elapsed = performance.now() - started;
  await admin.query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id: deployTool.id });
  return elapsed;
}

const bare: number[] = [];
const ours: number[] = [];
for (let run = 0; run < RUNS; run++) {
  bare.push(await bareStart());
  ours.push(await deployed(run));
}
const difference = median(ours) - median(bare);
console.log(
  `deploy to first answered call  ${median(ours).toFixed(0)} ms; spawn to initialize ${median(bare).toFixed(0)} ms; +${difference.toFixed(0)} ms (reach ≤ +500)`,
);
