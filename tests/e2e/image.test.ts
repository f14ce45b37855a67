import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connectMcp, eventually, graphqlClient, logIn, startToolyard } from "@toolyard/testing";
import { noContainers, openContainerEngine, type ContainerEngine } from "@toolyard/testing/containers.ts";
import { isInstalled } from "@toolyard/testing/reverse-proxy.ts";
import { DEFAULT_OPTIONS } from "@toolyard/launch/launch.ts";
import { openDockerHarness } from "@toolyard/runtimes/docker-runtime.harness.ts";
import { connectorTo } from "@toolyard/runtimes/endpoint/connector.ts";
import { stopAll } from "@toolyard/runtimes/fixtures/stop-all.ts";
import type { ReplicaSpec } from "@toolyard/runtimes/runtime.ts";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { createClient } from "graphql-ws";
import { Agent, request } from "undici";
import { WebSocket } from "ws";
import { noCompose, startCompose } from "./fixtures/compose.ts";
import { scaleByLoad } from "./fixtures/scaled-by-load.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

/* The image of the Dockerfile, and the runner image, on the container engine at TEST_DOCKER_HOST. */

const MAX_IMAGE_MIB = 260;
const root = join(import.meta.dirname, "../..");
const readJson = (path: string): unknown => JSON.parse(readFileSync(join(root, path), "utf8"));
/** As docker-compose.yml and docs/docker.md have it run. */
const hardened = {
  Init: true,
  ReadonlyRootfs: true,
  Tmpfs: { "/tmp": "" },
  CapDrop: ["ALL"],
  SecurityOpt: ["no-new-privileges"],
  Memory: 1_536 * 1_048_576,
};

const problem = noContainers ?? (isInstalled("uv") && isInstalled("podman") ? null : "uv or podman is not installed");

describe.skipIf(problem !== null)(`the image${problem === null ? "" : ` (skipped: ${problem})`}`, () => {
  let engine: ContainerEngine;
  let images: { toolyard: string; runner: string };
  const started: string[] = [];

  beforeAll(async () => {
    engine = openContainerEngine();
    images = await engine.buildToolyard();
  }, 600_000);
  afterAll(async () => {
    for (const id of started) await engine.ask("DELETE", `/containers/${id}?force=1&v=1`).catch(() => undefined);
    await engine.close();
  });

  async function start(options: {
    Image?: string;
    Cmd?: string[];
    Entrypoint?: string[];
    Env?: string[];
    Volumes?: object;
    HostConfig?: object;
  }) {
    const { Id } = await engine.ask<{ Id: string }>("POST", "/containers/create", {
      Image: images.toolyard,
      ...options,
    });
    started.push(Id);
    await engine.ask("POST", `/containers/${Id}/start`);
    return Id;
  }
  const endOf = async (id: string) =>
    (await engine.ask<{ StatusCode: number }>("POST", `/containers/${id}/wait`)).StatusCode;
  /** What a program prints that runs in the image. */
  async function printed(program: string): Promise<string> {
    const id = await start({ Entrypoint: ["node", "-e", program], HostConfig: hardened });
    await endOf(id);
    return engine.logs(id);
  }

  test("says what it is, what is in it, and that nobody but a numbered user runs it", async () => {
    const { Config, Size } = await engine.ask<{
      Size: number;
      Config: { Labels: Record<string, string>; User: string; Volumes?: object | null };
    }>("GET", `/images/${images.toolyard}/json`);
    const { Size: baseSize } = await engine.ask<{ Size: number }>("GET", "/images/localhost/toolyard-base/json");
    expect((Size - baseSize) / 1_048_576).toBeLessThan(MAX_IMAGE_MIB);
    expect(Config.User).toBe("1000:1000");
    // Parts that keep nothing would have one, too.
    expect(Config.Volumes ?? {}).toEqual({});
    const { version } = readJson("package.json") as { version: string };
    expect(Config.Labels).toMatchObject({
      "org.opencontainers.image.title": "Toolyard",
      "org.opencontainers.image.version": version,
    });
    const sbom = JSON.parse(
      await printed(`console.log(fs.readFileSync("${Config.Labels["dev.toolyard.sbom"]}", "utf8"))`),
    ) as {
      bomFormat: string;
      components: { name: string; purl: string; "bom-ref": string; hashes?: unknown[] }[];
    };
    expect(sbom.bomFormat).toBe(Config.Labels["dev.toolyard.sbom.format"]);
    const names = sbom.components.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["node", "graphql", "@apollo/subgraph", "mysql2"]));
    expect(names).not.toContain("vitest");
    expect(sbom.components.find(({ name }) => name === "@apollo/subgraph")).toMatchObject({
      purl: expect.stringMatching(/^pkg:npm\/%40apollo\/subgraph@\d/),
      hashes: [{ alg: "SHA-512", content: expect.stringMatching(/^[0-9a-f]{128}$/) }],
    });
    expect(new Set(sbom.components.map((component) => component["bom-ref"])).size).toBe(names.length);
  });

  test("has what runs, and no tests, no secrets and nothing that is for development", async () => {
    const program = `const own = (folder) => fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = folder + "/" + entry.name;
      return !entry.isDirectory() ? [path] : entry.name === "node_modules" ? [] : own(path);
    });
    console.log(JSON.stringify({ own: own("."), packages: fs.readdirSync("node_modules") }))`;
    const found = JSON.parse(await printed(program)) as { own: string[]; packages: string[] };
    const { devDependencies } = readJson("package.json") as { devDependencies: Record<string, string> };
    expect(found.packages.filter((name) => name in devDependencies && name !== "eventsource")).toEqual([]);
    expect(found.own.filter((path) => /\.(test|contract|bench)\.|fixture|\.env|\/data\/|\/\.git/.test(path))).toEqual(
      [],
    );
    expect(found.own).toEqual(expect.arrayContaining(["./standalone.ts", "./gateway/main.ts", "./scripts/migrate.ts"]));
  });

  test("a command that it does not have is answered by those that it has", async () => {
    const id = await start({ Cmd: ["gatewy"], HostConfig: hardened });
    expect(await endOf(id)).toBe(64);
    expect(await engine.logs(id)).toMatch(/no command "gatewy".*gateway, subgraph NAME, proxy/);
  });

  test("does its main job read-only and as no root, is healthy meanwhile, and ends by SIGTERM with nothing left", async () => {
    const ports = {
      "4000/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }],
      "4100/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }],
    };
    const env = ["PROCESS_ISOLATION=none", "SAMPLE=false", "ADMIN_PASSWORD=correct horse battery"];
    const Volumes = { "/var/lib/toolyard": {} };
    const id = await start({ Env: env, Volumes, HostConfig: { ...hardened, PortBindings: ports } });
    const look = () =>
      engine.ask<{
        State: { ExitCode: number; Running: boolean };
        NetworkSettings: { Ports: Record<string, { HostPort: string }[]> };
        Mounts: { Name: string }[];
      }>("GET", `/containers/${id}/json`);
    const { NetworkSettings, Mounts } = await look();
    const urlOf = (port: string) => `http://127.0.0.1:${NetworkSettings.Ports[`${port}/tcp`]?.[0]?.HostPort}`;
    await eventually("the image's Toolyard answers", async () => {
      if (!(await look()).State.Running) throw new Error(await engine.logs(id));
      return (await fetch(`${urlOf("4000")}/health/ready`)).ok && (await fetch(`${urlOf("4100")}/healthz`)).ok;
    });
    // Podman leaves the schedule to systemd, so the check is made by hand.
    const healthy = () => engine.ask<{ Status: string }>("GET", `/v4.0.0/libpod/containers/${id}/healthcheck`);
    await eventually("its own health check succeeds", async () => (await healthy()).Status === "healthy");

    const token = await logIn(urlOf("4000"), "admin", "correct horse battery");
    const admin = graphqlClient(urlOf("4000"), token);
    const deploymentId = await deployEverything(admin);
    await eventually("the server runs", async () => {
      const { deployment } = await admin.query<{ deployment: { health: string; reason: string | null } }>(
        "query ($id: ID!) { deployment(id: $id) { health reason } }",
        { id: deploymentId },
      );
      return deployment.health === "HEALTHY" || Promise.reject(new Error(deployment.reason ?? "it is starting"));
    });
    for (const port of ["4100", "4000"]) await callEverything(urlOf(port), token);

    // After a minute it would be killed, and end with 137.
    await engine.ask("POST", `/containers/${id}/stop?t=60`);
    expect((await look()).State, await engine.logs(id)).toMatchObject({ ExitCode: 0, Running: false });
    await engine.ask("DELETE", `/containers/${id}?v=1`);
    const left = await engine.ask<{ Volumes: { Name: string }[] | null }>("GET", "/volumes");
    expect((left.Volumes ?? []).filter(({ Name }) => Mounts.some((mount) => mount.Name === Name))).toEqual([]);
  });

  test("has uvx in its runner, where nothing but /tmp can be written to", async () => {
    const Entrypoint = ["/usr/local/sbin/uvx", "--version"];
    const id = await start({ Image: images.runner, Entrypoint, HostConfig: hardened });
    expect(await endOf(id), await engine.logs(id)).toBe(0);
    expect(await engine.logs(id)).toMatch(/^uvx \d+\.\d+/);
  });

  test("is the runner of the docker runtime: servers on stdio run in it under a bridge, which wants its token, commands that speak HTTP, and what holds them to egress lists", async () => {
    const harness = await openDockerHarness({ runnerImage: images.runner });
    const { runtime } = harness;
    const program = { env: { GREETING: "hello" }, workingDirectory: null, writablePaths: [] };
    const limits = { maxSessions: null, idleSeconds: null, maxMessageBytes: null };
    const everything = "/opt/toolyard/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
    const stdio: ReplicaSpec = {
      ...harness.image("stdio", []),
      launch: {
        ...program,
        ...limits,
        kind: "stdio",
        command: "node",
        args: [everything, "stdio"],
        sessions: "ISOLATED",
        timeoutSeconds: 30,
        startTimeoutSeconds: 60,
      },
    };
    const serve = `require("http").createServer((_, answer) => answer.end(JSON.stringify(process.env.GREETING))).listen(process.env.PORT)`;
    const http: ReplicaSpec = {
      ...harness.image("http", []),
      launch: { ...program, kind: "http", command: "node", args: ["-e", serve] },
    };
    const fetches = `const why = (error) => (error.cause ? why(error.cause) : error.message);
      require("http").createServer(async (_, answer) =>
        answer.end(JSON.stringify(await fetch("https://elsewhere.test").then(({ status }) => status, why))),
      ).listen(process.env.PORT)`;
    const listed: ReplicaSpec = {
      ...harness.image("listed", []),
      launch: { ...program, kind: "http", command: "node", args: ["-e", fetches] },
      options: { ...DEFAULT_OPTIONS, egress: { allow: ["api.example.com"] } },
    };
    try {
      const [bridged, direct, held] = await Promise.all([stdio, http, listed].map((spec) => runtime.start(spec)));
      if (!bridged || !direct || !held) throw new Error("three were started");
      expect(await harness.ask(direct, "/")).toBe("hello");
      expect(await harness.ask(held, "/")).toMatch(/403/);
      const url = `${bridged.endpoint.url}/mcp`;
      await eventually("the bridge answers", async () => (await fetch(url, { method: "POST" })).status === 401);
      const client = await connectMcp("v1", url, stdio.token);
      expect(await client.callTool("echo", { message: "from a container" })).toBe("Echo: from a container");
      await client.close();
      // As proxies and probes reach it.
      for (const [token, outcome] of [
        [stdio.token, 401],
        ["another's", "ERR_REPLICA_IMPOSTOR"],
      ] as const) {
        const dispatcher = new Agent({ connect: connectorTo({ url, token, owner: null }) });
        const answer = request(url, { dispatcher, method: "POST" });
        expect(await answer.then(({ statusCode }) => statusCode, systemCodeOf)).toBe(outcome);
        await dispatcher.close();
      }
      const said = expect.objectContaining({ stream: "STDERR", text: expect.stringContaining("STDIO") });
      expect(await runtime.logs(bridged, 50)).toContainEqual(said);
      const { Config } = await engine.ask<{ Config: { Cmd: string[] } }>(
        "GET",
        `/containers/${bridged.identity["id"]}/json`,
      );
      expect(Config.Cmd.join(" ")).not.toContain(stdio.token);
      await runtime.stop(bridged, 10_000);
      expect(await runtime.inspect(bridged)).toMatchObject({ alive: false, exitCode: 0 });
    } finally {
      await stopAll(runtime, 0);
      await runtime.close();
      await harness.close();
    }
  });

  test("replicas in it are as many as their calls need, none while idle, and wake with no call failed", async () => {
    await using toolyard = await startToolyard({
      env: {
        MCP_DEPLOYMENT_BACKEND: "process,docker",
        MCP_RUNNER_IMAGE: images.toolyard,
        DOCKER_HOST: process.env["TEST_DOCKER_HOST"] ?? "",
      },
    });
    const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
    await scaleByLoad(toolyard, token, "DOCKER");
    const filters = encodeURIComponent(JSON.stringify({ ancestor: [images.toolyard], label: ["managed-by=toolyard"] }));
    await expect.poll(() => engine.ask("GET", `/containers/json?all=1&filters=${filters}`)).toEqual([]);
  });

  describe.skipIf(noCompose !== null)(
    `docker-compose.yml${noCompose === null ? "" : ` (skipped: ${noCompose})`}`,
    () => {
      test("all parts of it, two of some, are one Toolyard behind one address", { timeout: 600_000 }, async () => {
        await using compose = await startCompose(engine, images.toolyard);
        const { url } = compose;
        await eventually("the front answers", async () => (await fetch(`${url}/health/ready`)).ok);
        const token = await logIn(url, "admin", compose.adminPassword);
        const admin = graphqlClient(url, token);
        const sockets = createClient({
          url: `${url.replace("http", "ws")}/graphql`,
          webSocketImpl: WebSocket,
          connectionParams: { authorization: `Bearer ${token}` },
        });
        const events = sockets.iterate<{ deploymentEvents: { health: string } }>({
          query: 'subscription { deploymentEvents(after: "0") { health } }',
        });
        await deployEverything(admin);
        for await (const { data } of events) if (data?.deploymentEvents.health === "HEALTHY") break;
        await sockets.dispose();
        // Each proxy follows routes for itself, and one may have it later.
        await eventually("an answer by both proxies", async () => {
          for (let n = 0; n < 12; n++) await callEverything(url, token);
          return true;
        });
        await eventually("that all parts are healthy", async () => {
          const { services } = (await (await fetch(`${url}/health`)).json()) as {
            services: Record<string, { status: string }>;
          };
          expect(Object.entries(services).filter(([, { status }]) => status !== "healthy")).toEqual([]);
          return true;
        });

        // Each request is shared out anew. That one of two is left out forty times in a row happens once in 10¹².
        for (let n = 0; n < 40; n++) expect((await admin.send("{ me { username } }")).status).toBe(200);
        for (let n = 0; n < 20; n++) await callEverything(url, token);
        for (const [service, line] of [
          ["gateway", '"path":"/graphql"'],
          ["proxy", '"slug":"everything"'],
        ] as const)
          for (const index of ["1", "2"])
            expect(await compose.run("logs", "--no-log-prefix", "--index", index, service)).toContain(line);

        // One of two may go, and nobody is told of it.
        await compose.run(
          "up",
          "--detach",
          "--no-build",
          "--no-recreate",
          "--scale",
          "gateway=1",
          "--scale",
          "proxy=1",
        );
        for (let n = 0; n < 10; n++) expect((await admin.send("{ me { username } }")).status).toBe(200);
        await callEverything(url, token);

        await compose.run("stop", "--timeout", "60");
        const states = (await compose.run("ps", "--all", "--format", "{{.Service}} {{.ExitCode}}")).trim().split("\n");
        const ends = states.filter((line) => !/^(mysql|mongodb|redis) /.test(line));
        expect(ends.length).toBeGreaterThan(9);
        expect(ends.filter((line) => !line.endsWith(" 0"))).toEqual([]);
      });
    },
  );
});

async function deployEverything(admin: ReturnType<typeof graphqlClient>): Promise<string> {
  const args = ["/opt/toolyard/node_modules/@modelcontextprotocol/server-everything/dist/index.js", "stdio"];
  const { createTool } = await admin.query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    { input: { name: "everything", description: "in a container", launch: { stdio: { command: "node", args } } } },
  );
  const { deployTool } = await admin.query<{ deployTool: { id: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id } }",
    { input: { toolId: createTool.id } },
  );
  return deployTool.id;
}

async function callEverything(url: string, token: string): Promise<void> {
  const client = await connectMcp("v1", `${url}/mcp/everything/v1/mcp`, token);
  expect(await client.callTool("echo", { message: "from a container" })).toBe("Echo: from a container");
  await client.close();
}
