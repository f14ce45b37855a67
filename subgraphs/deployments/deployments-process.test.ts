import { mkdtemp, readdir, rm } from "node:fs/promises";
import { once } from "node:events";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectorTo, originOf, type Callee } from "@toolyard/runtimes/endpoint/connector.ts";
import { createProcessRuntime } from "@toolyard/runtimes/process/process-runtime.ts";
import type { Runtime } from "@toolyard/runtimes/runtime.ts";
import { createLogger, createUserCaller } from "@toolyard/service-kit";
import { portBlock } from "@toolyard/testing/ports.ts";
import { Pool, request } from "undici";
import { eventually } from "@toolyard/testing/eventually.ts";
import { describe, expect, test } from "vitest";
import { createFixture, proxy, type Fixture } from "./deployments-fixture.ts";
import { createProber } from "./engine/probe.ts";

const logger = createLogger({ level: "silent", name: "test" });
const EVERYTHING = join(
  import.meta.dirname,
  "../../node_modules/@modelcontextprotocol/server-everything/dist/index.js",
);

async function withProcesses(
  launch: Record<string, unknown>,
  work: (fixture: Fixture, dataDir: string, runtime: Runtime) => Promise<void>,
): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-deployments-"));
  try {
    const runtime = createProcessRuntime({
      dataDir,
      isolation: "none",
      hostEnv: process.env,
      log: logger,
    });
    await using fixture = await createFixture({
      dataDir,
      tools: { "tool-1": { slug: "weather", launch } },
      runtimes: () => [runtime],
      config: {
        portRange: await portBlock(),
        replicasOnExit: "stop",
      },
      overrides: {
        prober: createProber({ allowPrivateRemotes: false }),
        timing: { sweepIntervalMs: 500, drainMs: 20 },
      },
    });
    await work(fixture, dataDir, runtime);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

interface State {
  status: string;
  health: string;
  reason: string | null;
  replicas: { phase: string; endpointUrl: string | null; restarts: number }[];
}
const stateOf = async (fixture: Fixture, id: string): Promise<State> =>
  (
    await fixture.run<{ deployment: State }>(
      `query ($id: ID!) { deployment(id: $id) { status health reason replicas { phase endpointUrl restarts } } }`,
      { id },
    )
  ).deployment;

/** Where the tool's route leads now. */
async function targetOf(fixture: Fixture): Promise<Callee & { path: string }> {
  const { routes } = await fixture.run<{ routes: { routes: { ref: string; mcpPath: string; targets: Callee[] }[] } }>(
    `{ routes { routes { ref mcpPath targets { url token owner } } } }`,
    {},
    proxy,
  );
  const route = routes.routes.find(({ ref }) => ref === "");
  const [target] = route?.targets ?? [];
  if (!route || !target) throw new Error("There is no route.");
  return { ...target, path: route.mcpPath };
}

/** `tools/list`, as the proxy sends it. */
async function listTools(target: Callee & { path: string }): Promise<string> {
  const dispatcher = new Pool(originOf(target), { connect: connectorTo(target) });
  try {
    const { body } = await request(`${originOf(target)}${target.path}`, {
      dispatcher,
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        authorization: `Bearer ${target.token}`,
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
    });
    return await body.text();
  } finally {
    await dispatcher.destroy();
  }
}

async function deploy(fixture: Fixture): Promise<string> {
  const { deployTool } = await fixture.run<{ deployTool: { id: string } }>(
    `mutation { deployTool(input: { toolId: "tool-1" }) { id } }`,
  );
  return deployTool.id;
}

test("a real server is started under the bridge, answers by its route's target, comes back when it is killed, and leaves nothing behind", async () => {
  await withProcesses(
    { kind: "stdio", command: process.execPath, args: [EVERYTHING, "stdio"] },
    async (fixture, dataDir, runtime) => {
      const id = await deploy(fixture);
      const running = await eventually("RUNNING", async () => {
        const state = await stateOf(fixture, id);
        return state.status === "RUNNING" && state;
      });
      expect(running.health).toBe("HEALTHY");
      const target = await targetOf(fixture);
      expect(await listTools(target)).toContain("echo");

      const [process_] = await runtime.list();
      process.kill(Number(process_?.handle.identity["pid"]), "SIGKILL");
      await eventually("another one", async () => {
        const { health, replicas } = await stateOf(fixture, id);
        return health === "HEALTHY" && replicas[0]?.restarts === 1;
      });
      const next = await targetOf(fixture);
      expect(await listTools(next)).toContain("echo");
      // Each start has a socket and a token of its own: neither of the first is good for the second.
      expect([next.url, next.token]).not.toContain(target.url);
      expect(next.token).not.toBe(target.token);
      await expect(listTools({ ...next, token: target.token })).rejects.toThrow("does not prove");
      await fixture.run(`mutation ($id: ID!) { stopDeployment(id: $id) { id } }`, { id });
      await eventually("STOPPED", async () => (await stateOf(fixture, id)).status === "STOPPED");
      await expect(listTools(next)).rejects.toThrow("ENOENT");
      expect(await readdir(join(dataDir, "replicas")).catch(() => [])).toEqual([]);
    },
  );
});

test("a command that does not exist is FAILED at once, and the reason names it", async () => {
  await withProcesses({ kind: "stdio", command: "no-such-command-anywhere" }, async (fixture) => {
    const id = await deploy(fixture);
    const failed = await eventually("FAILED", async () => {
      const state = await stateOf(fixture, id);
      return state.status === "FAILED" && state;
    });
    expect(failed.reason).toContain("no-such-command-anywhere");
  });
});

test("a server that exits at once is tried again, and the reason holds what it said", async () => {
  const launch = {
    kind: "stdio",
    command: process.execPath,
    args: ["-e", "console.error('no API key'); process.exit(3)"],
  };
  await withProcesses(launch, async (fixture) => {
    const id = await deploy(fixture);
    const waiting = await eventually("BACKOFF", async () => {
      const state = await stateOf(fixture, id);
      return state.reason?.includes("started again soon") && state;
    });
    expect(waiting.reason).toContain("code 3");
    expect(waiting.reason).toContain("no API key");
  });
});

test("a server that speaks HTTP itself gets its PORT and is probed by a real MCP session", async () => {
  await withProcesses(
    { kind: "http", command: process.execPath, args: [EVERYTHING, "streamableHttp"] },
    async (fixture) => {
      const id = await deploy(fixture);
      await eventually("RUNNING", async () => (await stateOf(fixture, id)).status === "RUNNING");
      const { checkDeploymentHealth } = await fixture.run<{ checkDeploymentHealth: unknown }>(
        `mutation ($id: ID!) { checkDeploymentHealth(id: $id) { status kind detail } }`,
        { id },
      );
      expect(checkDeploymentHealth).toEqual({ status: "HEALTHY", kind: "mcp tools/list", detail: null });
    },
  );
});

test("a server whose port a stranger took is started on another; the stranger is sent nothing", async () => {
  const script = `setTimeout(() => require("node:http").createServer((_, response) => response.end("mine"))
    .on("error", () => setInterval(() => undefined, 1000)).listen(Number(process.env.PORT), "127.0.0.1"), 500)`;
  const launch = {
    kind: "http",
    command: process.execPath,
    args: ["-e", script],
    options: { health: { readinessPath: "/ready" } },
  };
  await withProcesses(launch, async (fixture, _dataDir, runtime) => {
    const id = await deploy(fixture);
    const [first] = await eventually("its process", async () => {
      const running = await runtime.list();
      return running.length > 0 && running;
    });
    const port = Number(new URL(first?.handle.endpoint.url ?? "").port);
    let bytes = 0;
    const stranger = createServer((socket) => socket.on("data", (chunk) => (bytes += chunk.length)));
    await once(stranger.listen(port, "127.0.0.1"), "listening");
    try {
      const waiting = await eventually("the retry", async () => {
        const state = await stateOf(fixture, id);
        return state.reason?.includes("started again soon") && state;
      });
      expect(waiting.reason).toContain("Another process of this host listens at the replica's address.");
      await eventually("RUNNING", async () => (await stateOf(fixture, id)).status === "RUNNING");
      const target = await targetOf(fixture);
      expect(new URL(target.url).port).not.toBe(String(port));
      expect(bytes).toBe(0);
    } finally {
      stranger.close();
    }
  });
});

test.each([
  [
    "on stderr",
    "console.error('loading the model'); setInterval(() => {}, 1000)",
    /^It did not answer within 2 s of its start \(startTimeoutSeconds\)\. .*Its last line was: loading the model\.$/,
  ],
  [
    "on stdout, as a program that is no MCP server",
    "console.log('Listening on port 3000'); setInterval(() => {}, 1000)",
    /^It did not answer within 2 s of its start \(startTimeoutSeconds\)\. .*It prints text on stdout, where only MCP messages may be\. .*It printed: Listening on port 3000\.$/,
  ],
])(
  "a server that never answers is stopped after its start timeout, and the reason says so and what it prints: %s",
  async (_what, script, expected) => {
    const launch = {
      kind: "stdio",
      command: process.execPath,
      args: ["-e", script],
      options: { health: { startTimeoutSeconds: 2 } },
    };
    await withProcesses(launch, async (fixture) => {
      const id = await deploy(fixture);
      const waiting = await eventually("BACKOFF", async () => {
        const state = await stateOf(fixture, id);
        // On a busy machine a start may end before its server has said anything; the next one may not.
        return state.reason?.includes("started again soon") && /last line|It printed/.test(state.reason) && state;
      });
      expect(waiting.reason).toMatch(expected);
    });
  },
);

test("a server that says nothing is not said to print", async () => {
  await withProcesses(
    { kind: "stdio", command: "sleep", args: ["100"], options: { health: { startTimeoutSeconds: 4 } } },
    async (fixture) => {
      const id = await deploy(fixture);
      const reasons = new Set<string | null>();
      await eventually("BACKOFF", async () => {
        const { reason } = await stateOf(fixture, id);
        reasons.add(reason);
        return reason?.includes("started again soon");
      });
      expect([...reasons].join("\n")).not.toMatch(/print/);
      expect(reasons).toContain("It was started and has not answered yet.");
    },
  );
});

test("text on stdout is named while a server starts", async () => {
  const script = "console.log('Listening on port 3000'); setInterval(() => {}, 1000)";
  await withProcesses({ kind: "stdio", command: process.execPath, args: ["-e", script] }, async (fixture) => {
    const id = await deploy(fixture);
    const { status, reason } = await eventually("the reason", async () => {
      const state = await stateOf(fixture, id);
      return state.reason?.includes("stdout") && state;
    });
    expect(status).toBe("STARTING");
    expect(reason).toBe(
      "It has not answered yet. It prints text on stdout, where only MCP messages may be. It printed: Listening on port 3000.",
    );
  });
});

test("a program that prints to stdout and ends is no MCP server, and the reason says that", async () => {
  const launch = { kind: "stdio", command: process.execPath, args: ["-e", "console.log('usage: tool FILE')"] };
  await withProcesses(launch, async (fixture) => {
    const id = await deploy(fixture);
    const { reason } = await eventually("BACKOFF", async () => {
      const state = await stateOf(fixture, id);
      return state.reason?.includes("started again soon") && state;
    });
    expect(reason).toMatch(/exited with code 0 at once, and prints text on stdout, where only MCP messages may be\./);
    expect(reason).toContain("It said: usage: tool FILE");
  });
});

describe("a server that speaks HTTP itself says why it does not come up", () => {
  const server = (on: string, listener: string) => `require("node:${on}").createServer(${listener})
    .listen(process.env.PORT, "127.0.0.1")`;
  test.each([
    [
      "where it listens elsewhere",
      `require("node:http").createServer(() => {}).listen(0, "127.0.0.1")`,
      "Nothing listens on the port that it was given in PORT.",
    ],
    [
      "where its endpoint has another path",
      server("http", "(_, response) => response.writeHead(404).end()"),
      "It has nothing at the launch's path (HTTP 404): that must be its MCP endpoint.",
    ],
    [
      "where it speaks something else",
      server("net", "(socket) => socket.end('220 mail ESMTP\\r\\n')"),
      "Its answer is not HTTP.",
    ],
  ])("%s", async (_what, script, expected) => {
    await withProcesses({ kind: "http", command: process.execPath, args: ["-e", script] }, async (fixture) => {
      const id = await deploy(fixture);
      const { status, reason } = await eventually("the reason", async () => {
        const state = await stateOf(fixture, id);
        return state.reason?.startsWith(expected) && state;
      });
      expect(status).toBe("STARTING");
      expect(reason).not.toMatch(/npx|uvx/);
    });
  });
});

test("what replicas printed is answered after they were stopped, replaced or failed, masked, for those who may read logs, and after a restart", async () => {
  const secret = "s3cret-of-the-launch";
  const script = `console.error("hello from " + process.pid + " with ${secret}"); process.exit(1)`;
  const launch = { kind: "http", command: process.execPath, args: ["-e", script] };
  const LOGS = `query ($id: ID!) { deployment(id: $id) { logs(last: 50) { text replicaId } } }`;
  await withProcesses(launch, async (fixture, dataDir) => {
    const read = async (from: Fixture, id: string) =>
      (await from.run<{ deployment: { logs: { text: string; replicaId: string }[] } }>(LOGS, { id })).deployment.logs;
    const id = await deploy(fixture);
    // Each start that comes to nothing is another process: the first of three is kept by the runtime no more.
    await eventually("three processes", async () => (await read(fixture, id)).length >= 3);
    await fixture.run(`mutation ($id: ID!) { stopDeployment(id: $id) { id } }`, { id });
    await eventually("STOPPED", async () => (await stateOf(fixture, id)).status === "STOPPED");
    expect(await readdir(join(dataDir, "replicas"))).toEqual([]);
    const lines = await read(fixture, id);
    expect(lines.length).toBeGreaterThanOrEqual(3);
    expect(new Set(lines.map(({ text }) => text)).size).toBe(lines.length);
    for (const { text, replicaId } of lines)
      expect([text, replicaId]).toEqual([expect.stringMatching(/^hello from \d+ with /), expect.any(String)]);
    const stranger = createUserCaller("stranger-1", "DEVELOPER");
    expect(await fixture.codeOf(LOGS, { id }, stranger)).toBe("FORBIDDEN");
    expect(await fixture.codeOf(LOGS, { id }, createUserCaller("viewer-1", "VIEWER"))).toBe("FORBIDDEN");
    const again = await fixture.restart();
    try {
      expect(await read(again, id)).toEqual(lines);
    } finally {
      await again[Symbol.asyncDispose]();
    }
  });
});
