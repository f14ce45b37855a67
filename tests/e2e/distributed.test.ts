import { readdir, readFile, readlink } from "node:fs/promises";
import { createServer } from "node:net";
import { connectMcp, eventually, freePorts, graphqlClient, logIn, processesWith } from "@toolyard/testing";
import { noMysql } from "@toolyard/testing/sql-stores.ts";
import { startToolyard, type RunningToolyard } from "@toolyard/testing/toolyard.ts";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { sampleServerEntry } from "../../standalone/sample.ts";

/* `npm run start:distributed` with two of each part of which there may be several. */

const missing = noMysql ?? (["TEST_MONGODB_URL", "TEST_REDIS_URL"].find((name) => !process.env[name]) || null);
/** As in parts-killed.test.ts: the second of docs/operating.md, on a busy machine. */
const REVOKED_WITHIN_MS = 15_000;
const EVENTS =
  "subscription ($after: String) { deploymentEvents(after: $after) { sequence kind deployment { name } } }";

let toolyard: RunningToolyard;
let gateways: string[];
let proxies: string[];
let token: string;

async function start(): Promise<RunningToolyard> {
  const [gateway, proxy] = [await freePorts(2), await freePorts(2)];
  gateways = [gateway, gateway + 1].map((port) => `http://127.0.0.1:${port}`);
  proxies = [proxy, proxy + 1].map((port) => `http://127.0.0.1:${port}`);
  return startToolyard({
    distributed: true,
    ports: { gateway, proxy },
    env: { GATEWAYS: "2", PROXIES: "2", WORKERS: "2", SAMPLE: "true", LOG_LEVEL: "info" },
  });
}

/** Where the n-th answers. */
const gatewayOf = (n: number) => gateways[n] ?? expect.fail();

function follow(url: string, credential: string, query: string, after = "0") {
  const seen: { sequence: string; kind: string }[] = [];
  const ended = Promise.withResolvers<void>();
  const client = createClient({
    url: `${url.replace("http", "ws")}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${credential}` },
    retryAttempts: 0,
    on: { closed: () => ended.resolve() },
  });
  client.subscribe<Record<string, (typeof seen)[number]>>(
    { query, variables: { after } },
    {
      next: ({ data }) => void seen.push(...Object.values(data ?? {})),
      error: () => ended.resolve(),
      complete: () => ended.resolve(),
    },
  );
  return { seen, ended: ended.promise, stop: () => client.dispose() };
}

describe.skipIf(missing !== null)(
  `the parts on MySQL, MongoDB and Redis${missing === null ? "" : ` (skipped: ${missing})`}`,
  () => {
    beforeAll(async () => {
      toolyard = await start();
      token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
      await eventually("the sample runs", async () => {
        const { tool } = await graphqlClient(gatewayOf(1), token).query<{
          tool: { deployments: { edges: { node: { health: string } }[] } };
        }>('{ tool(slug: "everything") { deployments { edges { node { health } } } } }');
        return tool.deployments.edges[0]?.node.health === "HEALTHY";
      });
    });
    afterAll(async () => {
      await toolyard?.[Symbol.asyncDispose]();
    });

    test("the banner names each address, and each line of the log its part", () => {
      for (const url of [...gateways, ...proxies]) expect(toolyard.output()).toContain(url);
      const parts = [...toolyard.output().matchAll(/^\{"part":"([^"]+)"/gm)].map(([, part]) => part);
      expect(new Set(parts)).toEqual(
        new Set(
          ["identity", "tools", "knowledge", "analysis", "deployments"].concat(
            ["gateway", "proxy", "worker"].flatMap((kind) => [`${kind}-1`, `${kind}-2`]),
          ),
        ),
      );
    });

    test("a tool is called by either proxy, and through either gateway", async () => {
      for (const url of [...proxies, ...gateways]) {
        const client = await connectMcp("v2-sessions", `${url}/mcp/everything/v1/mcp`, token);
        expect(await client.callTool("echo", { message: url })).toContain(url);
        await client.close();
      }
    });

    test("subscriptions are served by any gateway, from any event on", async () => {
      const streams = gateways.map((url) => follow(url, token, EVENTS));
      const { seen } = streams[0] ?? expect.fail();
      await eventually("the events of the sample", () => seen.some(({ kind }) => kind === "RUNNING"));
      await graphqlClient(gatewayOf(1), token).query(
        '{ tool(slug: "everything") { deployments { edges { node { id } } } } }',
      );
      const last = seen.at(-1)?.sequence ?? "";
      const resumed = gateways.map((url) => follow(url, token, EVENTS, last));
      const { tool } = await graphqlClient(gatewayOf(0), token).query<{
        tool: { deployments: { edges: { node: { id: string } }[] } };
      }>('{ tool(slug: "everything") { deployments { edges { node { id } } } } }');
      await graphqlClient(gatewayOf(0), token).query(
        "mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 2) { id } }",
        {
          id: tool.deployments.edges[0]?.node.id,
        },
      );
      await eventually("the second replica, at each", () =>
        resumed.every((each) => each.seen.some(({ kind }) => kind === "REPLICA_READY")),
      );
      for (const { seen: after } of resumed) {
        const at = seen.findIndex(({ sequence }) => sequence === last);
        expect(after.map(({ sequence }) => sequence)).toEqual(
          seen.slice(at + 1, at + 1 + after.length).map(({ sequence }) => sequence),
        );
      }
      for (const each of [...streams, ...resumed]) await each.stop();
    });

    test("tasks are run by workers: subgraphs only take them", async () => {
      const { analyzeFeasibility } = await graphqlClient(gatewayOf(0), token).query<{
        analyzeFeasibility: { id: string };
      }>('mutation { analyzeFeasibility(input: { description: "Serve our wiki with npx -y wiki-mcp" }) { id } }');
      await eventually("its end", async () => {
        const { task } = await graphqlClient(gatewayOf(1), token).query<{ task: { status: string } }>(
          "query ($id: ID!) { task(id: $id) { status } }",
          { id: analyzeFeasibility.id },
        );
        return task.status === "SUCCEEDED";
      });
    });

    test("a revoked key is refused by all gateways and proxies, and its streams end at each", async () => {
      const admin = graphqlClient(gatewayOf(0), token);
      const { createApiKey: key } = await admin.query<{ createApiKey: { apiKey: { id: string }; secret: string } }>(
        'mutation { createApiKey(input: { name: "to be revoked", scopes: [READ, INVOKE] }) { apiKey { id } secret } }',
      );
      const streams = gateways.map((url) => follow(url, key.secret, EVENTS));
      for (const { seen } of streams) await eventually("an event", () => seen.length > 0);
      const atGateway = async (url: string) =>
        (await graphqlClient(url, key.secret).send("{ me { id } }")).errors.length > 0;
      const atProxy = async (url: string) =>
        (
          await fetch(`${url}/mcp/everything/v1/mcp`, {
            method: "POST",
            headers: { authorization: `Bearer ${key.secret}`, "content-type": "application/json" },
            body: '{"jsonrpc":"2.0","id":1,"method":"ping"}',
          })
        ).status === 401;
      const refusals = async () => Promise.all([...gateways.map(atGateway), ...proxies.map(atProxy)]);
      expect(await refusals()).toEqual([false, false, false, false]);
      await admin.query("mutation ($id: ID!) { revokeApiKey(id: $id) { id } }", { id: key.apiKey.id });
      const since = Date.now();
      await expect.poll(refusals).toEqual([true, true, true, true]);
      await Promise.all(streams.map(({ ended }) => ended));
      expect(Date.now() - since).toBeLessThan(REVOKED_WITHIN_MS);
    });

    test("a part that is killed is started again", async () => {
      const [tools] = await partsWith("subgraphs/tools/main.ts");
      process.kill(tools ?? expect.fail(), "SIGKILL");
      await eventually("the line about it", () =>
        toolyard.output().includes('"message":"the part \\"tools\\" ended and is started again"'),
      );
      await eventually("its answer", async () => {
        const { errors } = await graphqlClient(gatewayOf(0), token).send("{ tools(first: 1) { totalCount } }");
        return errors.length === 0;
      });
    });

    test("nobody takes the port of a part that is killed, and a login meanwhile is answered or refused", async () => {
      const port = Number(/identity :(\d+)/.exec(toolyard.output())?.[1]);
      const outcomes: string[] = [];
      const impostor = setInterval(() => {
        const server = createServer();
        server.once("error", ({ message }) => outcomes.push(message));
        server.listen(port, "127.0.0.1", () => outcomes.push("taken"));
      }, 20);
      try {
        const [identity = expect.fail()] = await partsWith("subgraphs/identity/main.ts");
        process.kill(identity, "SIGKILL");
        await eventually("its end", async () => !(await partsWith("subgraphs/identity/main.ts")).includes(identity));
        const before = outcomes.length;
        const { errors } = await graphqlClient(gatewayOf(0)).send(
          'mutation ($password: String!) { login(username: "admin", password: $password) { accessToken } }',
          { password: toolyard.adminPassword },
        );
        for (const { extensions } of errors) expect(extensions.code).toBe("UPSTREAM_UNAVAILABLE");
        await eventually("a login", () =>
          logIn(gatewayOf(0), "admin", toolyard.adminPassword).then(
            () => true,
            () => false,
          ),
        );
        await eventually("tries", () => outcomes.length > before);
        expect(new Set(outcomes)).toEqual(new Set([expect.stringContaining("EADDRINUSE")]));
      } finally {
        clearInterval(impostor);
      }
    });

    test("no replica inherits a part's socket", async () => {
      const socketsOf = async (pids: readonly number[]) => {
        const folders = pids.map((pid) => `/proc/${pid}/fd`);
        const links = await Promise.all(
          folders.map(async (folder) =>
            Promise.all((await readdir(folder)).map((fd) => readlink(`${folder}/${fd}`).catch(() => ""))),
          ),
        );
        return links.flat().filter((link) => link.startsWith("socket:"));
      };
      const kept = new Set(await socketsOf(await partsWith("distributed/main.ts")));
      expect(await socketsOf(await partsWith("subgraphs/deployments/main.ts"))).toSatisfy((sockets: string[]) =>
        sockets.some((socket) => kept.has(socket)),
      );
      const replicas = await partsWith(sampleServerEntry());
      expect(replicas).not.toEqual([]);
      expect((await socketsOf(replicas)).filter((socket) => kept.has(socket))).toEqual([]);
    });

    test("replicas outlive a deployments part that is stopped alone, and end with all of it", async () => {
      const replicas = () => partsWith(sampleServerEntry());
      const before = await replicas();
      expect(before).not.toEqual([]);
      const [deployments] = await partsWith("subgraphs/deployments/main.ts");
      process.kill(deployments ?? expect.fail(), "SIGTERM");
      await eventually("another", async () => {
        const [other] = await partsWith("subgraphs/deployments/main.ts");
        return other !== undefined && other !== deployments;
      });
      await eventually("its answer", async () => {
        const { errors } = await graphqlClient(gatewayOf(0), token).send("{ deployments(first: 1) { totalCount } }");
        return errors.length === 0;
      });
      expect(await replicas()).toEqual(before);
    });

    test("SIGTERM ends all of them, those that are asked before those that they ask", async () => {
      expect(await toolyard.stop()).toBe(0);
      expect(await processesWith(toolyard.dataDir)).toEqual([]);
      const at = (part: string) => toolyard.output().lastIndexOf(`{"part":"${part}"`);
      expect(at("proxy-2")).toBeLessThan(at("gateway-1"));
      expect(at("gateway-2")).toBeLessThan(at("identity"));
    });
  },
);

/** The pids of the parts with this main.ts. */
async function partsWith(entry: string): Promise<number[]> {
  const pids = await processesWith(toolyard.dataDir);
  const commands = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return pids.filter((_, n) => commands[n]?.includes(entry));
}
