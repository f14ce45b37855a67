import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { eventually } from "@toolyard/testing";
import { connectMcp } from "@toolyard/testing/mcp-client.ts";
import { describeOnMysql } from "@toolyard/testing/sql-stores.ts";
import { graphqlClient, logIn, startToolyard } from "@toolyard/testing/toolyard.ts";
import { expect, onTestFinished, test } from "vitest";

describeOnMysql("Toolyard with its data", (server) => {
  test("registers, deploys and calls a tool, and knows it after a restart; nothing but documents is in files", async () => {
    const database = await createScratchDatabase(server);
    onTestFinished(() => database.drop());
    const dataDir = await mkdtemp(join(tmpdir(), "toolyard-e2e-"));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }));
    const start = () => startToolyard({ dataDir, env: { DATABASE_URL: database.url, SAMPLE: "true" } });
    const running = async (url: string, password: string) => {
      const client = graphqlClient(url, await logIn(url, "admin", password));
      await eventually("the sample answers", async () => {
        const { tool } = await client.query<{ tool: { deployments: { edges: { node: { health: string } }[] } } }>(
          '{ tool(slug: "everything") { deployments { edges { node { health } } } } }',
        );
        return tool.deployments.edges[0]?.node.health === "HEALTHY";
      });
    };
    for (const round of ["first", "second"]) {
      await using toolyard = await start();
      await running(toolyard.url, toolyard.adminPassword);
      const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
      const mcp = await connectMcp("v1", `${toolyard.proxyUrl}/mcp/everything/v1/mcp`, token);
      expect(await mcp.callTool("echo", { message: round })).toContain(round);
      await mcp.close();
      const health: unknown = await (await fetch(`${toolyard.url}/health`)).json();
      expect(health).toMatchObject({ services: { mysql: { status: "healthy", essential: true } } });
      expect(existsSync(join(dataDir, "identity.sqlite"))).toBe(false);
    }
  });

  test("says what is wrong with DATABASE_URL, without the password in it", async () => {
    const { host } = new URL(server);
    const refusal = async (DATABASE_URL: string) =>
      String(await startToolyard({ env: { DATABASE_URL } }).catch((error: unknown) => error));
    const noDatabase = await refusal(`mysql://root@${host}/toolyard_that_is_not_there`);
    expect(noDatabase).toMatch(/DATABASE_URL: .*no database "toolyard_that_is_not_there".*CREATE DATABASE/);
    const noUser = await refusal(`mysql://stranger:hunter2@${host}/mysql`);
    expect(noUser).toMatch(/DATABASE_URL: .*refuses/);
    expect(noUser).not.toContain("hunter2");
  });
});
