import { connectMcp, eventually, graphqlClient, logIn, startToolyard } from "@toolyard/testing";
import { describeOnFullDisk, withSmallDisk } from "@toolyard/testing/small-disk.ts";
import { expect, test } from "vitest";
import { sampleServerEntry } from "../../standalone/sample.ts";

/** More than the room that databases have in their files. */
const LONG = "full disk ".repeat(100_000);
const TEXT = "full disk ".repeat(1_000);
/** Of each subgraph. What some of them keep is small, and there may be room for it in a file for a while. */
const WRITES = {
  knowledge:
    "mutation ($name: String!, $long: String!) { made: uploadDocument(input: { title: $name, content: $long }) { id } }",
  tools: `mutation ($name: String!) { made: createTool(input: { name: $name, description: "${TEXT}", launch: { stdio: { command: "node" } } }) { id } }`,
  identity:
    "mutation ($name: String!) { made: createApiKey(input: { name: $name, scopes: [READ] }) { apiKey { id } } }",
  analysis: `mutation ($name: String!) { made: analyzeFeasibility(input: { description: "${TEXT}", requirements: [$name] }) { id } }`,
} as const;
type Part = keyof typeof WRITES;
const PARTS = Object.keys(WRITES) as Part[];

describeOnFullDisk("Toolyard on a full disk", () => {
  test("says so and what to do, reads on, calls tools, and goes on by itself when there is room: all that it acknowledged is there", () =>
    withSmallDisk(48, async (disk) => {
      const start = async () => {
        const toolyard = await startToolyard({
          dataDir: disk.folder,
          env: { RATE_LIMIT_ENABLED: "false", CACHE_DIR: `${disk.folder}/../cache` },
        });
        const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
        return { toolyard, token, admin: graphqlClient(toolyard.url, token) };
      };
      const { toolyard, token, admin } = await start();
      const acknowledged: Record<Part, number> = { knowledge: 0, tools: 0, identity: 0, analysis: 0 };
      const refusals = new Set<string>();
      let count = 0;
      /** @returns whether it was acknowledged */
      const write = async (part: Part): Promise<boolean> => {
        const { data, errors } = await admin.send<{ made: unknown } | null>(WRITES[part], {
          name: `${part} ${count++}`,
          ...(part === "knowledge" && { long: LONG }),
        });
        if (data?.made) acknowledged[part] += 1;
        else refusals.add(`${errors[0]?.extensions.code}: ${errors[0]?.message}`);
        return Boolean(data?.made);
      };
      const healthNow = async () => {
        const response = await fetch(`${toolyard.url}/health`);
        // The test reads these of it.
        const health = (await response.json()) as { status: string; services: Record<string, object> };
        return { code: response.status, ...health };
      };
      const { createTool } = await admin.query<{ createTool: { id: string } }>(
        "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
        {
          input: {
            name: "Steady",
            description: "",
            launch: { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } },
          },
        },
      );
      const { deployTool: deployment } = await admin.query<{ deployTool: { id: string; mcpUrl: string } }>(
        "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
        { input: { toolId: createTool.id } },
      );
      let called = 0;
      const call = async () => {
        const mcp = await connectMcp("v2-stateless", deployment.mcpUrl, token);
        expect(await mcp.callTool("echo", { message: "full?" })).toContain("full?");
        called += 1;
        await mcp.close();
      };
      await eventually("a call", () => call().then(() => true));
      for (const part of PARTS) expect(await write(part), [...refusals].join("\n")).toBe(true);

      disk.fill();
      for (const part of PARTS) await eventually(`a refusal of ${part}`, async () => !(await write(part)));
      expect([...refusals]).toEqual([expect.stringMatching(/^CAPACITY_EXHAUSTED: .*no space left.*Make room/)]);
      expect(await healthNow()).toMatchObject({
        code: 200,
        status: "degraded",
        services: {
          sqlite: { status: "degraded", detail: expect.stringMatching(/no space left.*Make room/) as unknown },
        },
      });
      await call();
      const counts = async (client = admin) => {
        const query =
          "{ documents { totalCount } tools { totalCount } tasks { totalCount } me { apiKeys(first: 100) { id } } }";
        interface Counts {
          documents: { totalCount: number };
          tools: { totalCount: number };
          tasks: { totalCount: number };
          me: { apiKeys: unknown[] };
        }
        const { documents, tools, tasks, me } = await client.query<Counts>(query);
        // The deployed one is beside those of `write`.
        return {
          knowledge: documents.totalCount,
          tools: tools.totalCount - 1,
          identity: me.apiKeys.length,
          analysis: tasks.totalCount,
        };
      };
      expect(await counts()).toEqual(acknowledged);
      const rest = await fetch(`${toolyard.url}/api/v1/knowledge/documents`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${token}`, "idempotency-key": "full" },
        body: JSON.stringify({ title: "by REST", content: LONG }),
      });
      expect({ status: rest.status, problem: (await rest.json()) as unknown }).toMatchObject({
        status: 503,
        problem: { code: "CAPACITY_EXHAUSTED" },
      });
      expect(toolyard.output()).toMatch(/no space left/);

      disk.free();
      for (const part of PARTS) expect(await write(part), [...refusals].join("\n")).toBe(true);
      await eventually("that it is healthy", async () => (await healthNow()).status === "healthy");
      expect(await counts()).toEqual(acknowledged);
      await call();
      const counted = async () => {
        const query =
          "query ($id: ID!) { deployment(id: $id) { usage(window: HOUR) { byMcpTool { mcpTool calls } } } }";
        const { deployment: found } = await admin.query<{
          deployment: { usage: { byMcpTool: { mcpTool: string; calls: number }[] } };
        }>(query, { id: deployment.id });
        return found.usage.byMcpTool.find(({ mcpTool }) => mcpTool === "echo")?.calls;
      };
      await eventually("the usage of all calls", async () => (await counted()) === called);
      await eventually("the end of all tasks", async () => {
        const { tasks } = await admin.query<{ tasks: { edges: { node: { status: string } }[] } }>(
          "{ tasks(first: 100) { edges { node { status } } } }",
        );
        return tasks.edges.every(({ node }) => node.status === "SUCCEEDED");
      });
      expect(await toolyard.stop()).toBe(0);

      const again = await start();
      expect(await counts(again.admin)).toEqual(acknowledged);
      expect(await again.toolyard.stop()).toBe(0);
    }));
});
