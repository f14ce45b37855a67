import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { eventually } from "@toolyard/testing/eventually.ts";
import { freePort } from "@toolyard/testing/ports.ts";
import { expect, test } from "vitest";

import { bridgeCommand, warmUpCommand } from "./index.ts";
import { alive, fixture } from "./bridge.fixture.ts";
import { handOver, pipesFor } from "./child/handover.ts";

/** The bridge as the process that the runtime starts. */

interface Started extends AsyncDisposable {
  process: ChildProcess;
  port: number;
  stdout(): string;
  stderr(): string;
  exit: Promise<number | null>;
  call(name: string, args?: Record<string, unknown>): Promise<string>;
}

const setpriv = ["/usr/bin/setpriv", "/bin/setpriv"].find((path) => existsSync(path)) ?? null;

async function start(
  args: string[],
  options: { port?: number; command?: string; entry?: string } = {},
): Promise<Started> {
  const port = options.port ?? (await freePort());
  // A bridge that is killed leaves its children's folders to whoever gave it that for them.
  const folder = await mkdtemp(join(tmpdir(), "bridge-test-"));
  const built = bridgeCommand({
    host: "127.0.0.1",
    port,
    command: options.command ?? process.execPath,
    args,
    timeoutSeconds: 20,
  });
  const child = spawn(
    process.execPath,
    options.entry === undefined ? built.args : [options.entry, ...built.args.slice(built.args.indexOf("--host"))],
    {
      stdio: ["ignore", "pipe", "pipe", ...pipesFor(1)],
      env: {},
    },
  );
  const environment = { PATH: process.env.PATH ?? "" };
  handOver(child, [
    JSON.stringify({ token: "secret", logKey: "key", secrets: [], environment, setpriv, temporaryDirectory: folder }),
  ]);
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk) => (stdout += String(chunk)));
  child.stderr?.on("data", (chunk) => (stderr += String(chunk)));
  const exit = once(child, "close").then(() => child.exitCode);
  return {
    process: child,
    port,
    stdout: () => stdout,
    stderr: () => stderr,
    exit,
    async call(name, args_ = {}) {
      const response = await fetch(`http://127.0.0.1:${port}/mcp`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: "Bearer secret", accept: "application/json" },
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: args_ } }),
      });
      // The fixture's own tools answer with one text.
      const answer = (await response.json()) as {
        result?: { content: { text: string }[] };
        error?: { message: string };
      };
      return answer.result?.content[0]?.text ?? answer.error?.message ?? "";
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exit;
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

async function healthy(started: Started): Promise<void> {
  await eventually("a healthy bridge", async () => {
    const response = await fetch(`http://127.0.0.1:${started.port}/ready`).catch(() => null);
    return response?.status === 200;
  });
}

test.each([
  ["start.mjs, as bridgeCommand has it", undefined],
  ["main.ts itself", fileURLToPath(new URL("./main.ts", import.meta.url))],
])(
  "serves by %s, logs JSON lines, and SIGTERM lets a running call finish and leaves no process",
  async (_name, entry) => {
    await using started = await start(fixture("server", "junk"), entry === undefined ? {} : { entry });
    await healthy(started);
    const pids = [Number(await started.call("pid")), Number(await started.call("grandchild"))];
    const running = started.call("slow", { steps: 10 });
    await eventually("the call to run", async () => Number(await started.call("calls")) >= 4);
    started.process.kill("SIGTERM");
    expect(await running).toBe("10 steps");
    expect(await started.exit).toBe(0);
    await eventually("the end of all processes", () => !pids.some(alive));
    const lines = started
      .stdout()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toContainEqual({
      at: expect.any(Number),
      stream: "STDOUT",
      text: "Welcome to the server!",
      mark: expect.any(String),
    });
    expect(started.stdout()).not.toContain("secret");
  },
);

test.runIf(setpriv !== null)(
  "a child does not outlive a bridge that is killed, even when it ignores stdin's end and SIGTERM",
  async () => {
    await using started = await start(fixture("server", "stubborn"));
    await healthy(started);
    const pid = Number(await started.call("pid"));
    started.process.kill("SIGKILL");
    await started.exit;
    await eventually("the child's end", () => !alive(pid));
  },
);

test.each([
  ["a command that is not there", "no-such-command-here", "command not found in PATH: no-such-command-here"],
  ["a file that is not there", "/no/such/file", "no executable file at /no/such/file"],
])("exits with 78 and one clear line for %s", async (_name, command, message) => {
  await using started = await start([], { command });
  expect(await started.exit).toBe(78);
  expect(started.stderr()).toBe(`bridge: ${message}\n`);
});

test("says so when its port is taken", async () => {
  await using first = await start(fixture("server"));
  await healthy(first);
  await using second = await start(fixture("server"), { port: first.port });
  expect(await second.exit).toBe(1);
  expect(second.stderr()).toContain("EADDRINUSE");
});

test("the warm-up loads the bridge and ends", async () => {
  const child = spawn(process.execPath, warmUpCommand().args, { stdio: "ignore" });
  await once(child, "exit");
  expect(child.exitCode).toBe(0);
});
