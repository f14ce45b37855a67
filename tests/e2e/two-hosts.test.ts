import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createTokenSigner } from "@toolyard/service-kit";
import { PROXY_PERMISSIONS } from "@toolyard/service-kit/identity/permissions.ts";
import { createScratchDatabase } from "@toolyard/storage/mysql/scratch-database.ts";
import { compileCache, connectMcp, eventually, freePort, graphqlClient, logIn, processesWith } from "@toolyard/testing";
import { portBlock } from "@toolyard/testing/ports.ts";
import { describeOnMysql } from "@toolyard/testing/sql-stores.ts";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";

/*
 * Two deployments processes as two hosts have them, each with a DATA_DIR of its own, on one database. The gateway asks the second, so that the first is
 * always the other host; the first begins as the leader.
 */

const root = join(import.meta.dirname, "../..");
const SECRET_KEY = "a secret key for tests, of enough characters";
const PASSWORD = "correct horse battery";
/** Longer than a busy machine keeps a host from renewing its lease. */
const LEASE_SECONDS = 15;
/** Of one process, where six start at once. */
const START_MS = 120_000;
type Host = "one" | "two";

interface Replica {
  id: string;
  host: string;
  phase: string;
}

describeOnMysql("two hosts", (server) => {
  let folder: string;
  let database: Awaited<ReturnType<typeof createScratchDatabase>>;
  const running = new Map<string, ChildProcess>();
  const ports: Record<string, string> = {};
  const ranges: Record<string, string> = {};
  let url: string;
  let admin: ReturnType<typeof graphqlClient>;
  let token: string;
  let id: string;
  let mcpUrl: string;

  const dataDirOf = (name: string) => join(folder, name);
  const healthOf = (name: string, path: string) => `http://127.0.0.1:${ports[name]}${path}`;

  async function start(name: string, entry: string, env: Record<string, string>, health = "/health"): Promise<void> {
    const port = ports[name] ?? "";
    const child = spawn(process.execPath, [join(root, entry)], {
      cwd: root,
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        DATA_DIR: dataDirOf(name),
        DATABASE_URL: database.url,
        SECRET_KEY,
        LOG_LEVEL: "warn",
        NODE_COMPILE_CACHE: compileCache,
        GATEWAY_URL: url,
        PORT: port,
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.set(name, child);
    let printed = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => (printed += chunk.toString()));
    const answers = async () => child.exitCode !== null || (await fetch(healthOf(name, health))).status > 0;
    await eventually(`${name} answers`, answers, START_MS);
    if (child.exitCode !== null) throw new Error(`${name} did not start:\n${printed}`);
  }
  const startHost = async (name: Host) =>
    start(name, "subgraphs/deployments/main.ts", {
      HOST_ID: name,
      HOST_LEASE_SECONDS: String(LEASE_SECONDS),
      MCP_PORT_RANGE: (ranges[name] ??= await portBlock().then(({ first, last }) => `${first}-${last}`)),
      REPLICAS_ON_EXIT: "stop",
    });
  async function end(name: string, signal: NodeJS.Signals): Promise<void> {
    const child = running.get(name);
    running.delete(name);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "close");
    child.kill(signal);
    await ended;
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "toolyard-hosts-"));
    database = await createScratchDatabase(server);
    for (const name of ["gateway", "proxy", "identity", "tools", "one", "two"]) ports[name] = String(await freePort());
    url = `http://127.0.0.1:${ports["gateway"]}`;
    const urlOf = (name: string, host = name) => `${name}=http://127.0.0.1:${ports[host] ?? 1}/graphql`;
    const subgraphs = ["identity", "tools", "knowledge", "analysis"].map((name) => urlOf(name));
    const SUBGRAPH_URLS = [...subgraphs, urlOf("deployments", "two")].join(",");
    const signer = createTokenSigner({ secretKey: SECRET_KEY });
    const credential = await signer.serviceToken("proxy", PROXY_PERMISSIONS, 3_600);
    const ofProxy = {
      PROXY_PORT: ports["proxy"] ?? "",
      PROXY_CREDENTIAL: credential,
      DATABASE_URL: "",
      SECRET_KEY: "",
    };
    await Promise.all([
      start("identity", "subgraphs/identity/main.ts", { ADMIN_PASSWORD: PASSWORD }),
      start("tools", "subgraphs/tools/main.ts", {}),
      startHost("one").then(() => startHost("two")),
      start("gateway", "gateway/main.ts", { SUBGRAPH_URLS }, "/health/live"),
      start("proxy", "packages/proxy/main.ts", ofProxy, "/healthz"),
    ]);
    token = await logIn(url, "admin", PASSWORD);
    admin = graphqlClient(url, token);

    const launch = { command: process.execPath, args: [join(import.meta.dirname, "fixtures/chatty.mjs")] };
    const { createTool } = await admin.query<{ createTool: { id: string } }>(
      "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
      { input: { name: "Chatty", description: "hosts", launch: { stdio: launch } } },
    );
    const { deployTool } = await admin.query<{ deployTool: { id: string } }>(
      "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }",
      { input: { toolId: createTool.id, replicas: 2 } },
    );
    ({ id } = deployTool);
    mcpUrl = `http://127.0.0.1:${ports["proxy"]}/mcp/chatty/v1/mcp`;
  }, 2 * START_MS);
  afterAll(async () => {
    for (const name of ["proxy", "gateway", "one", "two", "tools", "identity"]) await end(name, "SIGTERM");
    await database?.drop();
    expect(await processesWith(folder)).toEqual([]);
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });

  interface Event {
    sequence: string;
    kind: string;
    message: string;
  }
  const placesOf = (replicas: readonly Replica[]) =>
    replicas.map((replica) => ({ id: replica.id, host: replica.host }));
  /** But those of health: on a busy machine a probe may be late, which is written, too. */
  const changesOf = (events: readonly Event[]) =>
    events.filter(({ kind }) => !/READY|HEALTHY|DEGRADED/.test(kind)).map(({ sequence }) => sequence);

  async function deploymentNow() {
    const query = `query ($id: ID!) { deployment(id: $id) { status health reason replicas { id host phase }
      events(first: 100) { edges { node { sequence kind message } } } } }`;
    const { deployment } = await admin.query<{
      deployment: {
        health: string;
        replicas: Replica[];
        events: { edges: { node: Event }[] };
      };
    }>(query, { id });
    const { health, replicas } = deployment;
    return { health, replicas, events: deployment.events.edges.map(({ node }) => node) };
  }
  const onHosts = (...hosts: Host[]) =>
    eventually(`ready on ${hosts.join(", ")}`, async () => {
      const { health, replicas } = await deploymentNow();
      const found = replicas.flatMap(({ host, phase }) => (phase === "READY" ? [host] : []));
      return health === "HEALTHY" && found.toSorted().join() === hosts.join() ? replicas : undefined;
    });
  async function call(word: string): Promise<string> {
    const mcp = await connectMcp("v1", mcpUrl, token);
    const answer = await mcp.callTool("say", { word });
    await mcp.close();
    return answer;
  }
  /** Servers of a host, by its DATA_DIR. */
  const processesOf = async (host: Host) =>
    (await processesWith(`${dataDirOf(host)}/replicas`)).filter((pid) => pid !== running.get(host)?.pid);
  const callsAnswer = () =>
    eventually("calls are answered", () =>
      call("hello").then(
        () => true,
        () => undefined,
      ),
    );

  test("replicas are spread, and all of them are called, checked and read, whichever host is asked", async () => {
    const replicas = await onHosts("one", "two");
    await callsAnswer();

    const heard = new Map<string, string>();
    const client = createClient({
      url: `${url.replace("http", "ws")}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: `Bearer ${token}` },
    });
    const query = `subscription { deploymentLogs(deploymentId: "${id}") { text replicaId } }`;
    client.subscribe<{ deploymentLogs: { text: string; replicaId: string } }>(
      { query },
      {
        next: ({ data }) => data && heard.set(data.deploymentLogs.replicaId, data.deploymentLogs.text),
        error: () => undefined,
        complete: () => undefined,
      },
    );
    await eventually("each replica was heard live", async () => {
      await call("news");
      return replicas.every((replica) => heard.get(replica.id)?.includes("It was told news.")) || undefined;
    });
    await client.dispose();

    await eventually("the logs of both", async () => {
      const { deployment } = await admin.query<{ deployment: { logs: { text: string; replicaId: string }[] } }>(
        `{ deployment(id: "${id}") { logs(last: 100) { text replicaId } replicas { sessions } } }`,
      );
      const said = deployment.logs.filter(({ text }) => text.includes("It was told news."));
      return replicas.every((replica) => said.some(({ replicaId }) => replicaId === replica.id));
    });
    // One of several is answered only where it is worse than the others.
    await eventually("a check of both", async () => {
      const { checkDeploymentHealth: check } = await admin.query<{ checkDeploymentHealth: object }>(
        `mutation { checkDeploymentHealth(id: "${id}") { status replicaId detail } }`,
      );
      expect(check).toEqual({ status: "HEALTHY", replicaId: null, detail: null });
      return true;
    });
  });

  test("the leader scales by the load that a proxy tells another host", async () => {
    const waiter = { command: process.execPath, args: [join(import.meta.dirname, "fixtures/waiter.mjs")] };
    await admin.query("mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }", {
      input: { name: "Waiter", description: "hosts", launch: { stdio: waiter } },
    });
    const { deployTool: scaled } = await admin.query<{ deployTool: { id: string } }>(
      "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }",
      { input: { toolId: "waiter", autoscale: { min: 1, max: 2, targetConcurrentCalls: 1 } } },
    );
    const connect = () => connectMcp("v2-stateless", `http://127.0.0.1:${ports["proxy"]}/mcp/waiter/v1/mcp`, token);
    await (await eventually("an answer", connect)).close();
    let isLoaded = true;
    const calling = [1, 2].map(async () => {
      const client = await connect();
      while (isLoaded) expect(await client.callTool("wait", { ms: 200 })).toBe("done");
      await client.close();
    });
    try {
      await eventually("two replicas", async () => {
        const { deployment } = await admin.query<{ deployment: { desiredReplicas: number } }>(
          "query ($id: ID!) { deployment(id: $id) { desiredReplicas } }",
          { id: scaled.id },
        );
        return deployment.desiredReplicas === 2;
      });
    } finally {
      isLoaded = false;
      await Promise.all(calling);
      await admin.query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id: scaled.id });
    }
  });

  test("a leader that was stopped past its lease writes nothing when it goes on, and stops what was moved", async () => {
    const first = running.get("one");
    first?.kill("SIGSTOP");
    // The next test needs it, however this one ends.
    onTestFinished(() => void first?.kill("SIGCONT"));
    const moved = await onHosts("two", "two");
    const { events } = await deploymentNow();
    expect(events.map(({ kind, message }) => `${kind} ${message}`)).toContainEqual(
      expect.stringMatching(/^MOVED Replica \d goes to host two\. Host one was not heard from since /),
    );
    await callsAnswer();
    const left = await processesOf("one");
    first?.kill("SIGCONT");
    expect(left).not.toEqual([]);
    await eventually("its processes are gone", async () => (await processesOf("one")).length === 0 || undefined);
    const after = await deploymentNow();
    expect(placesOf(after.replicas)).toEqual(placesOf(moved));
    expect(changesOf(after.events)).toEqual(changesOf(events));
    await callsAnswer();
  });

  test("the replicas of a host that was killed answer from the other, and what it left is stopped when it is back", async () => {
    await admin.query(`mutation { scaleDeployment(id: "${id}", replicas: 4) { id } }`);
    await onHosts("one", "one", "two", "two");
    await end("one", "SIGKILL");
    await onHosts("two", "two", "two", "two");
    await callsAnswer();
    expect(await processesOf("one")).not.toEqual([]);
    await startHost("one");
    await eventually("what it left is gone", async () => (await processesOf("one")).length === 0 || undefined);
    expect((await deploymentNow()).replicas.map(({ host }) => host)).toEqual(["two", "two", "two", "two"]);
    await callsAnswer();
  });
});
