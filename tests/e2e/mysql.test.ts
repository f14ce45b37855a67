import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { eventually } from "@toolyard/testing";
import { connectMcp } from "@toolyard/testing/mcp-client.ts";
import { describeOnMysql } from "@toolyard/testing/sql-stores.ts";
import { graphqlClient, logIn, startToolyard } from "@toolyard/testing/toolyard.ts";
import { withWayTo } from "@toolyard/testing/way-to-server.ts";
import mysql from "mysql2/promise";
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

  test("ends in order while its server is away", async () => {
    const database = await createScratchDatabase(server);
    onTestFinished(() => database.drop());
    const { hostname, port } = new URL(server);
    await withWayTo({ host: hostname, port: Number(port || 3306) }, async (way) => {
      const DATABASE_URL = Object.assign(new URL(database.url), { host: way.host }).href;
      await using toolyard = await startToolyard({ env: { DATABASE_URL, PROXY_SPOOL_MAX_MB: "8" } });
      expect(toolyard.output()).toContain(
        "PROXY_SPOOL_MAX_MB is no variable of Toolyard; did you mean PROXY_SPOOL_MAX_MIB?",
      );
      await way.close();
      await eventually("it is known", async () => (await fetch(`${toolyard.url}/health`)).status === 503);
      const code = await toolyard.stop();
      expect(toolyard.output()).not.toMatch(/Stopping .* failed/);
      expect(code).toBe(0);
    });
  });

  test("a change that another transaction deadlocks is made all the same, once", async () => {
    const database = await createScratchDatabase(server);
    onTestFinished(() => database.drop());
    await using toolyard = await startToolyard({ env: { DATABASE_URL: database.url } });
    const client = graphqlClient(toolyard.url, await logIn(toolyard.url, "admin", toolyard.adminPassword));
    const { createTool: tool } = await client.query<{ createTool: { id: string } }>(
      'mutation { createTool(input: { name: "Deadlocked", description: "before", launch: { stdio: { command: "node" } } }) { id } }',
    );
    const other = await mysql.createConnection(database.url);
    onTestFinished(() => other.end());
    const [[counter]] = await other.query<mysql.RowDataPacket[]>(
      "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'tool%event_counter'",
    );
    // InnoDB gives up the one of the two that has changed less.
    await other.query("CREATE TABLE weight (n INT)");
    await other.query("BEGIN");
    await other.query(`INSERT INTO weight VALUES ${Array.from({ length: 500 }, (_, n) => `(${n})`).join(", ")}`);
    await other.query(`SELECT * FROM ${String(counter?.["name"])} FOR UPDATE`);
    const deadlocks = async () => {
      const [[found]] = await other.query<mysql.RowDataPacket[]>("SHOW ENGINE INNODB STATUS");
      return /LATEST DETECTED DEADLOCK\n-+\n([^\n]+)/.exec(String(found?.["Status"]))?.[1];
    };
    const before = await deadlocks();
    const change = client.query<{ updateTool: { description: string } }>(
      'mutation ($id: ID!) { updateTool(id: $id, input: { description: "after" }) { description } }',
      { id: tool.id },
    );
    const waiting = async () => {
      const [rows] = await other.query<mysql.RowDataPacket[]>(
        "SELECT 1 FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id WHERE t.trx_state = 'LOCK WAIT' AND p.db = DATABASE()",
      );
      return rows.length;
    };
    // InnoDB reads this table anew only where nobody has asked for it for 100 ms.
    await expect.poll(waiting, { interval: 250 }).toBeGreaterThan(0);
    await other.query("SELECT * FROM tools WHERE id = ? FOR UPDATE", [tool.id]);
    expect(await deadlocks()).not.toBe(before);
    await other.query("COMMIT");
    expect(await change).toEqual({ updateTool: { description: "after" } });
    const { tool: found } = await client.query<{ tool: unknown }>(
      "query ($id: ID!) { tool(id: $id) { description versions { totalCount } } }",
      { id: tool.id },
    );
    expect(found).toEqual({ description: "after", versions: { totalCount: 2 } });
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
