/**
 * From the first call of a deployment that is scaled to zero to its answer, beside the same server's own start to its answer to the same
 * call: as a process, and where TEST_DOCKER_HOST and TEST_DOCKER_BASE_IMAGE name an engine, as a container. Taken in turns; medians.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connectMcp, eventually, freePort, graphqlClient, logIn, startToolyard } from "@toolyard/testing";
import { noContainers, openContainerEngine } from "@toolyard/testing/containers.ts";

const RUNS = 7;
const SERVER = join(import.meta.dirname, "../e2e/fixtures/noted.mjs");
const IMAGE = "localhost/toolyard-bench-wake:1";
const PORT = 8_080;
const CALL = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "note", arguments: { id: "bench" } } };
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

async function bareProcess(): Promise<number> {
  const started = performance.now();
  const child = spawn(process.execPath, [SERVER], { stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.write(`${JSON.stringify(CALL)}\n`);
  for await (const _ of createInterface({ input: child.stdout })) break;
  const took = performance.now() - started;
  child.kill("SIGKILL");
  return took;
}

const engine = noContainers === null ? openContainerEngine() : null;
await engine?.buildOfFiles(IMAGE, { "/server.mjs": SERVER });

async function bareContainer(): Promise<number> {
  const port = await freePort();
  const started = performance.now();
  const { Id: id } = (await engine?.ask<{ Id: string }>("POST", "/containers/create", {
    Image: IMAGE,
    Cmd: ["node", "/server.mjs"],
    Env: [`PORT=${PORT}`, "HOST=0.0.0.0"],
    ExposedPorts: { [`${PORT}/tcp`]: {} },
    HostConfig: { PortBindings: { [`${PORT}/tcp`]: [{ HostIp: "127.0.0.1", HostPort: String(port) }] } },
  })) ?? { Id: "" };
  await engine?.ask("POST", `/containers/${id}/start`);
  await eventually("its answer", async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/mcp`, { method: "POST", body: JSON.stringify(CALL) });
    return (await answer.text()).includes("bench");
  });
  const took = performance.now() - started;
  await engine?.ask("DELETE", `/containers/${id}?force=true`);
  return took;
}

await using toolyard = await startToolyard({
  env: {
    MCP_DEPLOYMENT_BACKEND: engine === null ? "process" : "process,docker",
    DOCKER_HOST: process.env["TEST_DOCKER_HOST"] ?? "",
  },
});
const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
const admin = graphqlClient(toolyard.url, token);

for (const [kind, launch, bare] of [
  ["process", { stdio: { command: process.execPath, args: [SERVER] } }, bareProcess],
  ...(engine === null
    ? []
    : ([
        ["container", { image: { image: IMAGE, args: ["node", "/server.mjs"], port: PORT } }, bareContainer],
      ] as const)),
] as const) {
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    { input: { name: `Wakes as a ${kind}`, description: "bench", launch } },
  );
  const { deployTool } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
    {
      input: {
        toolId: createTool.id,
        autoscale: { min: 0, max: 1, targetConcurrentCalls: 1, idleSeconds: 1 },
      },
    },
  );
  await eventually("HEALTHY", async () => {
    const query = "query ($id: ID!) { deployment(id: $id) { health } }";
    const { deployment } = await admin.query<{ deployment: { health: string } }>(query, { id: deployTool.id });
    return deployment.health === "HEALTHY";
  });
  const client = await connectMcp("v2-stateless", deployTool.mcpUrl, token);
  const [own, waking]: [number[], number[]] = [[], []];
  for (let run = 0; run < RUNS; run++) {
    await eventually("idle at zero", async () => {
      const query = "query ($id: ID!) { deployment(id: $id) { replicas { id } } }";
      const { deployment } = await admin.query<{ deployment: { replicas: unknown[] } }>(query, { id: deployTool.id });
      return deployment.replicas.length === 0;
    });
    own.push(await bare());
    const started = performance.now();
    await client.callTool("note", { id: "bench" });
    waking.push(performance.now() - started);
  }
  await client.close();
  await admin.query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id: deployTool.id });
  console.log(
    `first call at zero, ${kind}  ${median(waking).toFixed(0)} ms; its own start ${median(own).toFixed(0)} ms; +${(median(waking) - median(own)).toFixed(0)} ms (reach ≤ +1000)`,
  );
}
await engine?.close();
