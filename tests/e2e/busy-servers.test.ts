import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  connectMcp,
  eventually,
  freePort,
  graphqlClient,
  logIn,
  startToolyard,
  type McpEra,
  type RunningToolyard,
} from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

/* Servers that do one thing at a time are probed while they do it: they are busy, and not ill until a call's time is over. */

const onStdio = fileURLToPath(new URL("../../packages/bridge/fixtures/one-thread.mjs", import.meta.url));
const onHttp = fileURLToPath(new URL("fixtures/one-thread-http.mjs", import.meta.url));

let toolyard: RunningToolyard;
let token: string;
let folder: string;
let remote: ChildProcess;
let remotePort: number;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-busy-"));
  // Servers wait for files there.
  toolyard = await startToolyard({ env: { ALLOW_PRIVATE_REMOTES: "true", PROCESS_ISOLATION: "none" } });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  remotePort = await freePort();
  remote = spawn(process.execPath, [onHttp], { env: { PORT: String(remotePort) }, stdio: "ignore" });
});
afterAll(async () => {
  remote.kill("SIGKILL");
  await toolyard[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

interface State {
  status: string;
  health: string;
  reason: string | null;
  healthChecks: { at: string; status: string; detail: string | null }[];
  replicas: { restarts: number }[];
  logs: { text: string }[];
}

async function deploy(name: string, launch: Record<string, unknown>) {
  const admin = graphqlClient(toolyard.url, token);
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
      "query ($id: ID!) { deployment(id: $id) { status health reason healthChecks(first: 100) { at status detail } replicas { restarts } logs { text } } }",
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

const options = { timeoutSeconds: 60, health: { intervalSeconds: 1, timeoutSeconds: 1, failureThreshold: 2 } };
const stdio = (sessions: string) => () => ({
  stdio: { command: process.execPath, args: [onStdio], sessions, options },
});
const launches: [string, McpEra, () => Record<string, unknown>][] = [
  ["SHARED by sessions", "v1", stdio("SHARED")],
  ["SHARED, of stateless calls", "v2-stateless", stdio("SHARED")],
  ["ISOLATED, of stateless calls", "v2-stateless", stdio("ISOLATED")],
  ["that speaks HTTP itself", "v1", () => ({ http: { command: process.execPath, args: [onHttp], options } })],
  ["that is remote", "v1", () => ({ remote: { url: `http://127.0.0.1:${remotePort}/mcp`, options } })],
];

// Side by side, since they wait for probes.
describe.concurrent.each(launches)("a server %s", (name, era, launchOf) => {
  test("is let alone while a call is in it, and found when it hangs without one", async () => {
    const { mcpUrl, state } = await deploy(`One thread ${name}`, launchOf());
    const gate = join(folder, `${name} goes on`);
    const client = await connectMcp(era, mcpUrl, token);
    try {
      const from = new Date().toISOString();
      const call = client.callTool("block", { until: gate });
      call.catch(() => undefined);
      await eventually("five probes", async () => {
        const { status, health, healthChecks } = await state();
        expect({ status, health }).toEqual({ status: "RUNNING", health: "HEALTHY" });
        return healthChecks.filter(({ at }) => at > from).length >= 5;
      });
      await writeFile(gate, "");
      expect(await call).toBe("block");
      expect((await state()).replicas).toMatchObject([{ restarts: 0 }]);

      expect(await client.callTool("hang", { until: join(folder, "never") })).toBe("hang");
      if (name.startsWith("ISOLATED")) {
        // Of several processes the one that hangs is ended; nothing else is touched.
        await eventually("its end", async () =>
          (await state()).logs.some(({ text }) => text.includes("has not answered tools/list for 1 s and is ended")),
        );
        expect(await client.callTool("block", { until: gate })).toBe("block");
        return expect((await state()).replicas).toMatchObject([{ restarts: 0 }]);
      }
      const told = await eventually("that it is found", async () =>
        (await state()).healthChecks.find(({ status, detail }) => status === "UNHEALTHY" && detail),
      );
      expect(told.detail).toMatch(/^It did not answer \S+ within 1 s \(health\.timeoutSeconds\)\.$/);
      if (!name.includes("remote"))
        await eventually("its restart", async () => {
          const { health, replicas } = await state();
          return health === "HEALTHY" && replicas[0]?.restarts === 1;
        });
    } finally {
      await client.close().catch(() => undefined);
    }
  });
});
