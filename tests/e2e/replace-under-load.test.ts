import { randomUUID } from "node:crypto";
import { join } from "node:path";
import {
  connectMcp,
  eventually,
  graphqlClient,
  logIn,
  startToolyard,
  type McpClient,
  type McpEra,
  type RunningToolyard,
} from "@toolyard/testing";
import { noContainers, openContainerEngine, type ContainerEngine } from "@toolyard/testing/containers.ts";
import { createClient, type Client } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

/* A tool is deployed again while it is called: no call fails, and none is carried out twice. */

const IMAGE = "localhost/toolyard-replaced-test:1";
const EVERY_MS = 20;
const server = join(import.meta.dirname, "fixtures/noted.mjs");
const program = { command: process.execPath, args: [server] };

let engine: ContainerEngine | null = null;
let toolyard: RunningToolyard;
let token: string;
let sockets: Client;
const query = <Data>(text: string, variables: object) =>
  graphqlClient(toolyard.url, token).query<Data>(text, { ...variables });

beforeAll(async () => {
  if (noContainers === null) {
    engine = openContainerEngine();
    await engine.buildOfFiles(IMAGE, { "/server.mjs": server });
  }
  toolyard = await startToolyard({
    env: {
      RATE_LIMIT_ENABLED: "false",
      MCP_DEPLOYMENT_BACKEND: engine === null ? "process" : "process,docker",
      DOCKER_HOST: process.env["TEST_DOCKER_HOST"] ?? "",
    },
  });
  token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
  sockets = createClient({
    url: `${toolyard.url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
  });
});
afterAll(async () => {
  await sockets?.dispose();
  await toolyard?.[Symbol.asyncDispose]();
  await engine?.close();
});

/** One client for all calls, as programs have it; it begins a new session where it is told that its own is gone, as the protocol says. */
function createCaller(era: McpEra, url: string) {
  let client: Promise<McpClient> | null = null;
  const connected = () => (client ??= connectMcp(era, url, token));
  return {
    async note(id: string): Promise<string> {
      const used = connected();
      try {
        return await (await used).callTool("note", { id });
      } catch (error) {
        if (!/\b404\b|session/i.test(String(error))) throw error;
        // Others may have begun one meanwhile.
        if (client === used) client = null;
        return (await connected()).callTool("note", { id });
      }
    },
    close: async () => (await client)?.close(),
  };
}

describe.each([
  ["a server on stdio", { stdio: program }],
  ["a server on HTTP", { http: program }],
  [
    `a container${noContainers === null ? "" : ` (skipped: ${noContainers})`}`,
    { image: { image: IMAGE, args: ["node", "/server.mjs"], port: 8080 } },
  ],
] as const)("%s", (name, launch) => {
  test.skipIf("image" in launch && noContainers !== null)(
    "is replaced under 50 calls a second of both eras",
    { timeout: 240_000 },
    async () => {
      const { createTool: tool } = await query<{ createTool: { id: string; slug: string } }>(
        "mutation ($input: CreateToolInput!) { createTool(input: $input) { id slug } }",
        { input: { name: `Replaced ${name.slice(0, 18)}`, description: "", launch } },
      );
      /** How often the servers carried out each call. */
      const noted = new Map<string, number>();
      const look = async (id: string) =>
        (
          await query<{ deployment: { status: string; health: string } }>(
            "query ($id: ID!) { deployment(id: $id) { status health } }",
            { id },
          )
        ).deployment;
      const deploy = async () => {
        const { deployTool } = await query<{ deployTool: { id: string; mcpUrl: string } }>(
          "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
          { input: { toolId: tool.id } },
        );
        const lines = "subscription ($id: ID!) { deploymentLogs(deploymentId: $id) { text } }";
        sockets.subscribe<{ deploymentLogs: { text: string } }>(
          { query: lines, variables: { id: deployTool.id } },
          {
            next({ data }) {
              const id = /noted (\S+)/.exec(data?.deploymentLogs.text ?? "")?.[1];
              if (id !== undefined) noted.set(id, (noted.get(id) ?? 0) + 1);
            },
            error: () => undefined, // the socket is closed at the end
            complete: () => undefined,
          },
        );
        await eventually("HEALTHY", async () => (await look(deployTool.id)).health === "HEALTHY");
        return deployTool;
      };

      let running = await deploy();
      const callers = (["v2-stateless", "v2-sessions"] as const).map((era) => createCaller(era, running.mcpUrl));
      for (const caller of callers) await eventually("the route", () => caller.note("first").catch(() => null));
      const answered = new Set<string>();
      const failed: string[] = [];
      const calls: Promise<void>[] = [];
      const load = setInterval(() => {
        const caller = callers[calls.length % callers.length];
        const id = randomUUID();
        calls.push(
          (async () => {
            try {
              if ((await caller?.note(id)) === id) answered.add(id);
              else failed.push("another answer");
            } catch (error) {
              failed.push(String(error));
            }
          })(),
        );
      }, EVERY_MS);
      const more = async () => {
        const before = answered.size;
        await eventually("more calls", () => answered.size >= before + 50);
      };
      try {
        await more();
        for (let times = 0; times < 2; times++) {
          const replaced = running;
          running = await deploy();
          await eventually("the end of the replaced one", async () => (await look(replaced.id)).status === "STOPPED");
          await more();
        }
      } finally {
        clearInterval(load);
        await Promise.all(calls);
        for (const caller of callers) await caller.close();
      }
      expect(failed).toEqual([]);
      await expect.poll(() => [...answered].filter((id) => !noted.has(id))).toEqual([]);
      noted.delete("first");
      expect([...noted].filter(([, times]) => times !== 1)).toEqual([]);
      await query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id: running.id });
    },
  );
});
