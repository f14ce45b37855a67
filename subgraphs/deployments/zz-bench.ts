import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createProcessRuntime } from "@toolyard/runtimes/process-runtime.ts";
import { createLogger } from "@toolyard/service-kit";
import { createFixture, proxy } from "./deployments-fixture.ts";
import { createProber } from "./engine/probe.ts";
const EVERYTHING = join(import.meta.dirname, "../../node_modules/@modelcontextprotocol/server-everything/dist/index.js");
async function direct() {
  const t = performance.now();
  const child = spawn(process.execPath, [EVERYTHING, "stdio"], { stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.write(JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "x", version: "1" } } }) + "\n");
  await new Promise((r) => child.stdout.once("data", r));
  const d = performance.now() - t;
  child.kill("SIGKILL");
  return d;
}
const dataDir = await mkdtemp(join(tmpdir(), "toolyard-bench-"));
const logger = createLogger({ level: "warn", name: "bench" });
const runtime = createProcessRuntime({ dataDir, ownerId: "bench", isolation: (process.argv[2] ?? "none") as "none", hostEnv: process.env, log: logger });
const f = await createFixture({ dataDir, tools: { "tool-1": { slug: "weather", launch: { kind: "stdio", command: process.execPath, args: [EVERYTHING, "stdio"] } } }, runtimes: () => [runtime], config: { backend: "process", portRange: { first: 31000, last: 31050 }, replicasOnExit: "stop" }, overrides: { logger, prober: createProber({ allowPrivateRemotes: false }), timing: {} } });
try {
  for (let i = 0; i < 5; i++) {
    const base = await direct();
    const tables = await f.stream<any>(`subscription { routesChanged { routes { ref deploymentId targets { url token ready } } } }`, {}, proxy);
    const t = performance.now();
    const { deployTool } = await f.run<any>(`mutation { deployTool(input: { toolId: "tool-1" }) { id } }`);
    const t1 = performance.now() - t;
    let target: any = null;
    while (!target) {
      const { value } = await tables.next();
      target = value.data.routesChanged.routes.find((r: any) => r.ref === "" && r.deploymentId === deployTool.id)?.targets.find((x: any) => x.ready);
    }
    const t2 = performance.now() - t;
    await (await fetch(`${target.url}/mcp`, { method: "POST", headers: { "content-type": "application/json", accept: "application/json, text/event-stream", authorization: `Bearer ${target.token}` }, body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }) })).text();
    const t3 = performance.now() - t;
    await tables.return();
    const s = performance.now();
    await f.run(`mutation ($id: ID!) { stopDeployment(id: $id) { id } }`, { id: deployTool.id });
    while ((await f.run<any>(`query ($id: ID!) { deployment(id: $id) { status } }`, { id: deployTool.id })).deployment.status !== "STOPPED") await new Promise((r) => setTimeout(r, 10));
    process.stdout.write(`direct ${base.toFixed(0)} ms; mutation ${t1.toFixed(0)}; route ready ${t2.toFixed(0)}; first answer ${t3.toFixed(0)} (+${(t3 - base).toFixed(0)}); stop ${(performance.now() - s).toFixed(0)}\n`);
  }
  const c = process.cpuUsage(); await new Promise((r) => setTimeout(r, 4000)); const d = process.cpuUsage(c);
  process.stdout.write(`idle CPU with nothing: ${((d.user + d.system) / 4e4).toFixed(2)} %\n`);
} finally {
  await f[Symbol.asyncDispose]();
}
