import { readFile, readdir } from "node:fs/promises";
import {
  connectMcp,
  eventually,
  graphqlClient,
  logIn,
  processesWith,
  startToolyard,
  type McpClient,
  type RunningToolyard,
} from "@toolyard/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { sampleServerEntry } from "../../standalone/sample.ts";

/*
 * kill -9 of each process while calls run. Afterwards what was acknowledged is there, the deployment is RUNNING again by itself, and
 * nothing is orphaned.
 */

let toolyard: RunningToolyard;
let token: string;
let deployment: { id: string; mcpUrl: string };

beforeEach(async () => {
  toolyard = await startToolyard();
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  const admin = graphqlClient(toolyard.url, token);
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    {
      input: {
        name: "Steady",
        description: "faults",
        launch: { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } },
      },
    },
  );
  const { deployTool } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
    {
      input: { toolId: createTool.id },
    },
  );
  deployment = deployTool;
  await untilServing();
});
afterEach(async () => {
  await toolyard[Symbol.asyncDispose]();
  // Whatever happened, stopping Toolyard leaves no process.
  expect(await processesWith(toolyard.dataDir)).toEqual([]);
});

async function state() {
  const { deployment: found } = await graphqlClient(toolyard.url, token).query<{
    deployment: { status: string; health: string; replicas: { phase: string }[] };
  }>("query ($id: ID!) { deployment(id: $id) { status health replicas { phase } } }", { id: deployment.id });
  return found;
}

async function untilServing(): Promise<void> {
  await eventually("RUNNING and HEALTHY", async () => {
    const { status, health } = await state();
    return status === "RUNNING" && health === "HEALTHY";
  });
  await eventually("an answered call", async () => {
    const client = await connectMcp("v2-stateless", deployment.mcpUrl, token);
    try {
      return (await client.callTool("echo", { message: "there?" })).includes("there?");
    } finally {
      await client.close();
    }
  });
}

/** Pids of this Toolyard's processes by what their command line ends with. */
async function pidsOf(wanted: "server" | "bridge" | "proxy"): Promise<number[]> {
  const pids = await processesWith(toolyard.dataDir);
  const kinds = await Promise.all(
    pids.map(async (pid) => {
      const args = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).split("\0");
      const program = args.findIndex((arg) => /(^|\/)node$/.test(arg));
      const script = args.slice(program + 1).find((arg) => /\.(m?js|ts)$/.test(arg)) ?? "";
      if (args[0]?.endsWith("bwrap")) return null;
      if (script.includes("packages/bridge/")) return { pid, kind: "bridge" };
      if (script.includes("packages/proxy/")) return { pid, kind: "proxy" };
      return script === sampleServerEntry() ? { pid, kind: "server" } : null;
    }),
  );
  return kinds.flatMap((found) => (found?.kind === wanted ? [found.pid] : []));
}

/** Calls one after the other until told to stop; a call may fail, but none may hang. */
function keepCalling() {
  let stopped = false;
  let answered = 0;
  const running = (async () => {
    while (!stopped) {
      let client: McpClient | null = null;
      try {
        client = await connectMcp("v2-stateless", deployment.mcpUrl, token);
        await client.callTool("echo", { message: "x" });
        answered += 1;
      } catch {
        // oxlint-disable-next-line no-restricted-globals -- a client's pause before it tries again, for which nothing waits
        await new Promise((resolve) => setTimeout(resolve, 20)); // expected while what was killed comes back
      }
      await client?.close();
    }
  })();
  return {
    answered: () => answered,
    async stop() {
      stopped = true;
      await running;
    },
  };
}

test.each(["server", "bridge"] as const)("kill -9 of a replica's %s: RUNNING again by itself", async (kind) => {
  const calls = keepCalling();
  await eventually("calls", () => calls.answered() > 2);
  const victims = await pidsOf(kind);
  expect(victims.length).toBeGreaterThan(0);
  for (const pid of victims) process.kill(pid, "SIGKILL");
  await eventually("another process", async () => {
    const now = await pidsOf(kind);
    return now.length > 0 && now.every((pid) => !victims.includes(pid));
  });
  await untilServing();
  const before = calls.answered();
  await eventually("calls that are answered again", () => calls.answered() > before + 2);
  await calls.stop();
});

test("kill -9 of the proxy: it is back with its routes, and usage it had taken is not lost", async () => {
  const calls = keepCalling();
  await eventually("calls", () => calls.answered() > 5);
  const [victim] = await pidsOf("proxy");
  expect(victim).toBeDefined();
  process.kill(victim ?? 0, "SIGKILL");
  const before = calls.answered();
  await eventually("calls through the new proxy", () => calls.answered() > before + 5);
  await calls.stop();
  expect((await pidsOf("proxy"))[0]).not.toBe(victim);
  expect(await state()).toMatchObject({ status: "RUNNING", health: "HEALTHY" });
});

test("kill -9 of standalone: what was acknowledged is there after the next start, the replica serves again, and none is orphaned", async () => {
  const admin = graphqlClient(toolyard.url, token);
  const { uploadDocument } = await admin.query<{ uploadDocument: { id: string } }>(
    'mutation { uploadDocument(input: { title: "Kept", content: "acknowledged before the kill" }) { id } }',
  );
  const calls = keepCalling();
  await eventually("calls", () => calls.answered() > 2);
  const { url, dataDir } = toolyard;
  await toolyard.kill();
  await calls.stop();
  await eventually("the end of the proxy, whose parent is gone", async () => (await pidsOf("proxy")).length === 0);

  toolyard = await toolyard.restart();
  token = await logIn(url, "admin", toolyard.adminPassword);
  await untilServing();
  expect((await pidsOf("bridge")).length).toBe(1);
  const again = graphqlClient(url, token);
  expect(await again.query("query ($id: ID!) { document(id: $id) { title } }", { id: uploadDocument.id })).toEqual({
    document: { title: "Kept" },
  });
  const { deployment: found } = await again.query<{
    deployment: { replicas: { id: string }[]; events: { edges: { node: { status: string } }[] } };
  }>("query ($id: ID!) { deployment(id: $id) { replicas { id } events(first: 1) { edges { node { status } } } } }", {
    id: deployment.id,
  });
  expect(found.replicas).toHaveLength(1);
  expect(found.events.edges[0]?.node.status).toBe("RUNNING");
  expect((await readdir(`${dataDir}/replicas`)).length).toBeLessThanOrEqual(2);
});
