import { randomUUID } from "node:crypto";
import { mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  connectMcp,
  eventually,
  graphqlClient,
  logIn,
  processesWith,
  startToolyard,
  type McpClient,
  type McpEra,
  type RunningToolyard,
} from "@toolyard/testing";
import { noContainers, openContainerEngine, type ContainerEngine } from "@toolyard/testing/containers.ts";
import { isSoak } from "@toolyard/testing/mode.ts";
import { createClient, type Client } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";

/*
 * A tool is deployed again while it is called: no call fails, and none is carried out twice, also when the replica that it leaves is killed meanwhile:
 * calls that it has then may fail, and say why. The servers count.
 */

const IMAGE = "localhost/toolyard-replaced-test:1";
const EVERY_MS = 20;
/** Of each so many calls one takes some time, so that some are always under way. */
const SLOW_EVERY = 5;
const SLOW_MS = 150;
/** Of one for each client that begins before a replacement. */
const LONG_MS = 4_000;
/** What the proxy says to calls of a replica that is killed, and the SDK of a connection that is refused until there is another one. */
const SAID =
  /ended the connection before it answered|cannot be reached|No replica of .+ is ready|answered the probe with HTTP 503/;
const server = join(import.meta.dirname, "fixtures/noted.mjs");
/** How many replicas are left, and how. */
const ENDS = isSoak ? (["drained", "killed", "drained", "killed"] as const) : (["drained", "killed"] as const);

let engine: ContainerEngine | null = null;
let toolyard: RunningToolyard;
let token: string;
let sockets: Client;
const query = <Data>(text: string, variables: object) =>
  graphqlClient(toolyard.url, token).query<Data>(text, { ...variables });

beforeAll(async () => {
  if (isSoak && noContainers === null) {
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
  const connected = () => {
    client ??= connectMcp(era, url, token);
    const asked = client;
    asked.catch(() => client === asked && (client = null));
    return asked;
  };
  return {
    async call(id: string, ms: number | null = null): Promise<string> {
      const used = connected();
      const [name, args] = ms === null ? ["note", { id }] : ["wait", { id, ms }];
      try {
        return await (await used).callTool(name, args);
      } catch (error) {
        // Then nothing was carried out.
        if (!/no such session/i.test(String(error))) throw error;
        // Others may have begun one meanwhile.
        if (client === used) client = null;
        return (await connected()).callTool(name, args);
      }
    },
    close: async () => (await client)?.close(),
  };
}

/** The containers of this Toolyard, by the ids of the engine. */
async function containersNow(): Promise<string[]> {
  if (engine === null) return [];
  const { ownerId } = JSON.parse(await readFile(join(toolyard.dataDir, "owner"), "utf8")) as { ownerId: string };
  const filters = encodeURIComponent(JSON.stringify({ label: [`dev.toolyard.owner=${ownerId}`] }));
  return (await engine.ask<{ Id: string }[]>("GET", `/containers/json?filters=${filters}`)).map(({ Id }) => Id);
}
/** What runs of replicas now. @returns kills it */
async function replicasNow(): Promise<() => Promise<void>> {
  const [pids, containers] = [await processesWith(join(toolyard.dataDir, "replicas")), await containersNow()];
  return async () => {
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    }
    for (const id of containers) await engine?.ask("POST", `/containers/${id}/kill?signal=KILL`).catch(() => undefined); // it has ended
  };
}

const program = (noted: string) => ({
  command: process.execPath,
  args: [server],
  env: [{ name: "NOTED", value: join(noted, "calls") }],
  writablePaths: [noted],
});

describe.each([
  ["a server on stdio", (noted: string) => ({ stdio: program(noted) })],
  ["a server on HTTP", (noted: string) => ({ http: program(noted) })],
  ...(isSoak
    ? ([
        [
          `a container${noContainers === null ? "" : ` (skipped: ${noContainers})`}`,
          () => ({ image: { image: IMAGE, args: ["node", "/server.mjs"], port: 8080 } }),
        ],
      ] as const)
    : []),
] as const)("%s", (name, launchOf) => {
  const isContainer = name.startsWith("a container");
  test.skipIf(isContainer && noContainers !== null)("is replaced under 50 calls a second of both eras", async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), "toolyard-replaced-"));
    await writeFile(join(folder.path, "calls"), "");
    const { createTool: tool } = await query<{ createTool: { id: string; slug: string } }>(
      "mutation ($input: CreateToolInput!) { createTool(input: $input) { id slug } }",
      { input: { name: `Replaced ${name.slice(0, 18)}`, description: "", launch: launchOf(folder.path) } },
    );
    const printed: string[] = [];
    /** The calls that the servers have carried out, in order: of a container by what it has printed. */
    const notedNow = async () =>
      isContainer ? printed : (await readFile(join(folder.path, "calls"), "utf8")).split("\n").slice(0, -1);
    const look = async (id: string) =>
      (
        await query<{ deployment: { status: string; health: string; replicas: { phase: string }[] } }>(
          "query ($id: ID!) { deployment(id: $id) { status health replicas { phase } } }",
          { id },
        )
      ).deployment;
    const deploy = async () => {
      const { deployTool } = await query<{ deployTool: { id: string; mcpUrl: string } }>(
        "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id mcpUrl } }",
        { input: { toolId: tool.id } },
      );
      if (isContainer) follow(deployTool.id);
      return deployTool;
    };
    function follow(id: string): void {
      const lines = "subscription ($id: ID!) { deploymentLogs(deploymentId: $id) { text } }";
      sockets.subscribe<{ deploymentLogs: { text: string } }>(
        { query: lines, variables: { id } },
        {
          next({ data }) {
            const noted = /noted (\S+)/.exec(data?.deploymentLogs.text ?? "")?.[1];
            if (noted !== undefined) printed.push(noted);
          },
          error: () => undefined, // the socket is closed at the end
          complete: () => undefined,
        },
      );
    }
    const untilHealthy = (id: string) => eventually("HEALTHY", async () => (await look(id)).health === "HEALTHY");

    let running = await deploy();
    await untilHealthy(running.id);
    const callers = (["v2-stateless", "v2-sessions"] as const).map((era) => createCaller(era, running.mcpUrl));
    for (const caller of callers) await eventually("the route", () => caller.call("first").catch(() => null));
    const answered = new Set<string>();
    const failed = new Map<string, string>();
    const calls: Promise<void>[] = [];
    const call = (caller: (typeof callers)[number], ms: number | null) => {
      const id = randomUUID();
      const noteEnd = caller.call(id, ms).then(
        (answer) => void (answer === id ? answered.add(id) : failed.set(id, `another answer: ${answer}`)),
        (error: unknown) => void failed.set(id, String(error)),
      );
      calls.push(noteEnd);
      return noteEnd;
    };
    const load = setInterval(() => {
      const caller = callers[calls.length % callers.length] ?? expect.fail();
      void call(caller, calls.length % SLOW_EVERY === 0 ? SLOW_MS : null);
    }, EVERY_MS);
    const more = async () => {
      const before = answered.size;
      await eventually("more calls", () => answered.size >= before + 50);
    };
    try {
      await more();
      for (const end of ENDS) {
        const replaced = running;
        const before = failed.size;
        const kill = await replicasNow();
        const long = callers.map((caller) => call(caller, LONG_MS));
        running = await deploy();
        if (end === "killed") {
          await eventually("READY", async () =>
            (await look(running.id)).replicas.some(({ phase }) => phase === "READY"),
          );
          await kill();
        }
        await untilHealthy(running.id);
        await eventually("the end of the replaced one", async () => (await look(replaced.id)).status === "STOPPED");
        await Promise.all(long);
        if (end === "drained") expect([...failed.values()].slice(before)).toEqual([]);
        await more();
      }
    } finally {
      clearInterval(load);
      await Promise.all(calls);
      for (const caller of callers) await caller.close();
    }
    expect([...failed.values()].filter((message) => !SAID.test(message))).toEqual([]);
    const missing = async () => {
      const noted = new Set(await notedNow());
      return [...answered].filter((id) => !noted.has(id));
    };
    await expect.poll(missing).toEqual([]);
    const noted = (await notedNow()).filter((id) => id !== "first");
    expect(noted.length).toBe(new Set(noted).size);
    await query("mutation ($id: ID!) { stopDeployment(id: $id) { id } }", { id: running.id });
  });
});
