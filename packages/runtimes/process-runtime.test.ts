import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { afterEach, describe, expect, onTestFinished, test } from "vitest";
import { memoryIsLimited, openProcessHarness, whyNoBubblewrap } from "./process-runtime.harness.ts";
import type { ProcessHarness } from "./process-runtime.harness.ts";
import type { ProcessRuntimeOptions } from "./process/process-runtime.ts";
import type { ReplicaHandle, ReplicaLaunch, ReplicaSpec } from "./runtime.ts";
import { stopAll } from "./fixtures/stop-all.ts";

const FIXTURES = join(import.meta.dirname, "fixtures");
const UNSAID = { cpus: null, memoryMb: null, processes: null, diskMb: null };

/** Why what is about bubblewrap is skipped: in the name of the skipped tests. */
const problem = await whyNoBubblewrap();

const limitsMemory = memoryIsLimited();

let harness: ProcessHarness;
async function open(options: Partial<ProcessRuntimeOptions> = {}): Promise<ProcessHarness> {
  harness = await openProcessHarness({ isolation: "none", ...options });
  return harness;
}
afterEach(async () => {
  await stopAll(harness.runtime, 0);
  await harness.runtime.close();
  await harness.close();
});

function withLaunch(spec: ReplicaSpec, change: Partial<ReplicaLaunch & { kind: "http" }>): ReplicaSpec {
  // The fixtures' launches are all of kind "http".
  return { ...spec, launch: { ...spec.launch, ...change } as ReplicaLaunch };
}
async function isAlive(handle: ReplicaHandle): Promise<boolean> {
  return (await harness.runtime.inspect(handle)).alive;
}
const texts = async (handle: ReplicaHandle, last = 100): Promise<string[]> =>
  (await harness.runtime.logs(handle, last)).map(({ text }) => text);

describe("environment", () => {
  test("a replica sees what its launch says and the allowed names of the host's, and no secret of the host's", async () => {
    const { PATH = "" } = process.env;
    const hostEnv = { PATH, HOME: "/home/of-host", LANG: "C", SECRET_KEY: "s3cret", ALLOWED: "yes", OTHER: "no" };
    const { runtime, fixture, ask, dataDir } = await open({ hostEnv, replicaEnv: ["ALLOWED", "NOT_SET"] });
    const spec = withLaunch(await fixture("env", "http-server.mjs"), { env: { OF_LAUNCH: "1", LANG: "C.UTF-8" } });
    await runtime.start(spec);
    expect(await ask(spec, "/environment")).toEqual({
      PATH,
      HOME: "/home/of-host",
      LANG: "C.UTF-8",
      ALLOWED: "yes",
      OF_LAUNCH: "1",
      TMPDIR: join(dataDir, "replicas/env/tmp"),
      PORT: String(spec.port),
      HOST: spec.host,
      npm_config_cache: expect.stringContaining(dataDir),
      UV_CACHE_DIR: expect.stringContaining(dataDir),
      UV_TOOL_DIR: expect.stringContaining(dataDir),
      UV_PYTHON_INSTALL_DIR: expect.stringContaining(dataDir),
    });
    expect(await ask(spec, "/directory")).toBe(join(dataDir, "replicas/env/work"));
  });

  test.each(["TOOLYARD_OWNER", "BRIDGE_TOKEN", "A=B", ""])("a launch cannot set %j", async (name) => {
    const { runtime, fixture } = await open();
    const spec = withLaunch(await fixture("env", "http-server.mjs"), { env: { [name]: "x" } });
    await expect(runtime.start(spec)).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
  });

  test("what is kept on disk of a replica holds no secret and is for its owner only", async () => {
    const { runtime, fixture, dataDir } = await open();
    const spec = withLaunch(await fixture("kept", "http-server.mjs"), { env: { API_KEY: "very-secret" } });
    await runtime.start(spec);
    const path = join(dataDir, "replicas/kept/replica.json");
    expect(readFileSync(path, "utf8")).not.toMatch(/very-secret|a-secret-token/);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });
});

describe("launches", () => {
  test("a command that does not exist is named, without the PATH that was searched: every reader sees the reason", async () => {
    const { runtime, fixture } = await open();
    const start = runtime.start(withLaunch(await fixture("none", ""), { env: { PATH: "/nowhere" } }));
    await expect(start).rejects.toThrow(/^There is no command "no-such-command-anywhere" on the PATH(?!.*nowhere)/);
  });

  test.each<[string, Partial<ReplicaLaunch & { kind: "http" }>, RegExp]>([
    [
      "a working directory that is not there",
      { workingDirectory: "/no/such/folder" },
      /"\/no\/such\/folder" does not exist/,
    ],
    ["a working directory that is a file", { workingDirectory: process.execPath }, /is not a folder/],
    ["a path to nothing", { command: "./nothing" }, /"\.\/nothing".*does not exist/],
    ["a file that is not executable", { command: join(FIXTURES, "http-server.mjs") }, /is not executable/],
    ["a folder", { command: FIXTURES }, /is a folder/],
    [
      "a whole command line",
      { command: "node server.mjs" },
      /whole command line.*args: command "node", args \["server.mjs"\]/,
    ],
    [
      "a home folder that a shell would know",
      { command: "~/bin/server" },
      /begins with ~, which only a shell replaces/,
    ],
    ["a path of Windows", { command: "C:\\node.exe" }, /path of Windows/],
    ["a script that is not there", { args: ["/no/such/server.mjs"] }, /argument 1 "\/no\/such.*does not exist/],
    [
      "a script relative to nothing",
      { args: ["server.mjs"] },
      /argument 1 "server.mjs" cannot be used: it is a relative path/,
    ],
  ])("%s is refused in words", async (_what, change, message) => {
    const { runtime, fixture, remains } = await open();
    const spec = withLaunch(await fixture("refused", "http-server.mjs"), change);
    await expect(runtime.start(spec)).rejects.toMatchObject({
      code: "BAD_USER_INPUT",
      message: expect.stringMatching(message),
    });
    expect(await remains(spec)).toEqual([]);
  });

  test.each<[string, string, RegExp]>([
    ["whose interpreter is not there", "#!/opt/no/python9 -u\n", /run by "\/opt\/no\/python9".*not there\.$/],
    ["whose interpreter is not on the PATH", "#!/usr/bin/env -S python9 -u\n", /run by "python9".*not on the PATH\.$/],
    ["with line ends of Windows", "#!/usr/bin/env node\r\n", /carriage return/],
    [
      "that does not say by what it is run",
      "import x\n",
      /no first line.*give the command "python3" with "\S+server.py" as/,
    ],
  ])("an executable file %s is refused in words", async (_what, content, message) => {
    const { runtime, fixture, dataDir } = await open();
    const file = join(dataDir, "..", `${basename(dataDir)}-server.py`);
    writeFileSync(file, content, { mode: 0o755 });
    onTestFinished(() => rmSync(file));
    const spec = withLaunch(await fixture("refused", "http-server.mjs"), { command: file });
    await expect(runtime.start(spec)).rejects.toMatchObject({
      code: "BAD_USER_INPUT",
      message: expect.stringMatching(message),
    });
  });

  test("a command is found relative to the launch's working directory", async () => {
    const { runtime, fixture, ask } = await open();
    const workingDirectory = join(process.execPath, "..");
    const spec = withLaunch(await fixture("relative", "http-server.mjs"), { command: "./node", workingDirectory });
    await runtime.start(spec);
    expect(await ask(spec, "/directory")).toBe(workingDirectory);
  });

  test("an image launch is refused", async () => {
    const { runtime, fixture } = await open();
    const launch: ReplicaLaunch = {
      kind: "image",
      image: "some/image",
      args: [],
      env: {},
      writablePaths: [],
      port: 80,
    };
    const start = runtime.start({ ...(await fixture("image", "")), launch });
    await expect(start).rejects.toMatchObject({ code: "BAD_USER_INPUT", message: expect.stringMatching(/image/) });
  });

  test("a stdio launch runs under the bridge, which is handed its token and the environment of the launch, and whose log is read as such", async () => {
    const { runtime, fixture, dataDir } = await open({ bridgeEntry: join(FIXTURES, "bridge.mjs") });
    const spec = await fixture("stdio", "");
    const launch: ReplicaLaunch = {
      kind: "stdio",
      command: "node",
      args: ["http-server.mjs", "--flag"],
      env: { PATH: join(process.execPath, "..") },
      workingDirectory: FIXTURES,
      writablePaths: [],
      sessions: "SHARED",
      timeoutSeconds: 45,
      startTimeoutSeconds: 90,
      maxSessions: 7,
      idleSeconds: null,
      maxMessageBytes: 70_000,
    };
    const handle = await runtime.start({ ...spec, launch, port: null });
    await expect.poll(() => runtime.logs(handle, 5)).toHaveLength(1);
    const [line] = await runtime.logs(handle, 5);
    expect(line).toMatchObject({ at: 1_000, stream: "SYSTEM" });
    const flags = {
      "--host": "127.0.0.1",
      "--listen-fd": "4",
      "--sessions": "shared",
      "--working-directory": FIXTURES,
      "--max-sessions": "7",
      "--timeout-seconds": "45",
      "--start-timeout-seconds": "90",
      "--max-message-bytes": "70000",
      "--memory-mb": "4096",
      "--max-tasks": "1024",
    };
    const { args, ...handed } = JSON.parse(line?.text ?? "") as {
      args: string[];
      inherited: { memoryKillCounts?: string[] };
    };
    // Where this host has control groups.
    delete handed.inherited.memoryKillCounts;
    const ownArgs = args.slice(0, args.indexOf("--"));
    expect(Object.fromEntries(ownArgs.flatMap((flag, at) => (at % 2 === 0 ? [[flag, ownArgs[at + 1]]] : [])))).toEqual(
      flags,
    );
    expect({ args: args.slice(ownArgs.length), ...handed }).toEqual({
      args: ["--", process.execPath, "http-server.mjs", "--flag"],
      environment: {},
      inherited: {
        token: spec.token,
        logKey: expect.stringMatching(/^[\w-]{43}$/),
        secrets: spec.secrets,
        environment: expect.objectContaining(launch.env),
        setpriv: expect.toBeOneOf([null, expect.stringMatching(/^\//)]),
        temporaryDirectory: join(dataDir, "replicas/stdio/tmp"),
      },
      execArgv: ["--max-semi-space-size=2", "--no-parallel-scavenge", "--disable-sigusr1"],
    });
  });
});

describe("nothing is left", () => {
  async function startWithGrandchild(): Promise<{ spec: ReplicaSpec; handle: ReplicaHandle }> {
    const spec = await harness.fixture("family", "forks-detached.mjs");
    const handle = await harness.runtime.start(spec);
    await expect.poll(async () => (await harness.processes(spec)).length).toBe(2);
    await expect.poll(() => texts(handle)).toHaveLength(1);
    return { spec, handle };
  }

  test("a grandchild in a session of its own that ignores SIGTERM dies with its replica", async () => {
    await open();
    const { spec, handle } = await startWithGrandchild();
    await harness.runtime.stop(handle, 200);
    await harness.runtime.forget(handle);
    expect(await harness.remains(spec)).toEqual([]);
  });

  test("what a main process leaves that was killed with SIGKILL is killed before its end is told", async () => {
    await open();
    const { spec, handle } = await startWithGrandchild();
    const leftAtExit = new Promise<number[]>((resolve, reject) => {
      harness.runtime.onExit(() => {
        harness.processes(spec).then(resolve, reject);
      });
    });
    await harness.killFromOutside(handle);
    expect(await leftAtExit).toEqual([]);
    expect(await harness.runtime.inspect(handle)).toMatchObject({ alive: false, signal: "SIGKILL" });
  });

  test("what such a process leaves while no control plane runs is killed by the next one", async () => {
    await open();
    const { spec, handle } = await startWithGrandchild();
    await harness.runtime.close();
    await harness.killFromOutside(handle);
    harness.runtime = await harness.successor();
    expect(await harness.runtime.list()).toEqual([]);
    await expect.poll(() => harness.processes(spec)).toEqual([]);
  });

  test("a stop reaches what is left although the main process and the records are gone", async () => {
    await open();
    const { spec, handle } = await startWithGrandchild();
    await harness.runtime.close();
    await harness.killFromOutside(handle);
    await rm(join(harness.dataDir, "replicas"), { recursive: true });
    harness.runtime = await harness.successor();
    await harness.runtime.stop(handle, 0);
    expect(await harness.processes(spec)).toEqual([]);
  });
});

function commandLines(): string[] {
  const { stdout } = spawnSync("ps", ["-A", "-ww", "-o", "command="], { encoding: "utf8" });
  return stdout.split("\n");
}

describe("a control plane that was killed", () => {
  const isolations = problem === null ? (["none", "bubblewrap"] as const) : (["none"] as const);
  test.each(isolations)(
    "between a spawn and its record leaves nothing that runs: what was spawned waits in vain for its launch (%s)",
    async (isolation) => {
      await open({ isolation });
      const unique = `window-${process.pid}-${isolation}`;
      const spec = await harness.fixture("window", "http-server.mjs", [unique]);
      const args = [join(FIXTURES, "killed-control-plane.ts"), harness.dataDir, JSON.stringify(spec), isolation];
      const [, signal] = await once(spawn(process.execPath, args, { stdio: "inherit" }), "exit");
      expect(signal).toBe("SIGKILL");
      const record = JSON.parse(readFileSync(join(harness.dataDir, "replicas/window/replica.json"), "utf8"));
      expect(record.pid).toBe(null);
      await expect.poll(() => commandLines().filter((line) => line.includes(unique))).toEqual([]);
      expect(await harness.runtime.list()).toEqual([]);
      await expect.poll(() => harness.remains(spec)).toEqual([]);
    },
  );

  test("before a spawn leaves nothing but a record, which goes", async () => {
    const { runtime, fixture, successor, remains } = await open();
    const spec = await fixture("unborn", "http-server.mjs");
    const handle = await runtime.start(spec);
    const path = join(harness.dataDir, "replicas/unborn/replica.json");
    const record = JSON.parse(readFileSync(path, "utf8"));
    await runtime.stop(handle, 5_000);
    await runtime.close();
    writeFileSync(path, JSON.stringify({ ...record, pid: null, startToken: null, startedAt: null }));
    harness.runtime = await successor();
    expect(await harness.runtime.list()).toEqual([]);
    expect(await remains(spec)).toEqual([]);
  });
});

test("a process that has the pid of an ended replica is taken for no replica, and is not killed", async () => {
  const { runtime, fixture } = await open();
  const spec = await fixture("reused", "http-server.mjs");
  const handle = await runtime.start(spec);
  await runtime.stop(handle, 5_000);
  const stranger = spawn(process.execPath, [join(FIXTURES, "ignores-sigterm.mjs")], {
    detached: true,
    stdio: "ignore",
  });
  try {
    const mistaken = { ...handle, identity: { ...handle.identity, pid: stranger.pid ?? 0 } };
    expect(await isAlive(mistaken)).toBe(false);
    await runtime.stop(mistaken, 0);
    expect(() => process.kill(stranger.pid ?? 0, 0)).not.toThrow();
    expect(stranger.exitCode ?? stranger.signalCode).toBe(null);
  } finally {
    stranger.kill("SIGKILL");
    await once(stranger, "exit");
  }
});

test("two owners on one host do not see each other's replicas", async () => {
  const { runtime, fixture } = await open();
  const handle = await runtime.start(await fixture("mine", "http-server.mjs"));
  const other = await openProcessHarness({ isolation: "none" });
  expect(await other.runtime.list()).toEqual([]);
  await other.runtime.close();
  await other.close();
  expect(await isAlive(handle)).toBe(true);
});

test("a replica that prints without end takes a bounded space, and its last lines are read across rotations", async () => {
  const logMaxBytes = 64 * 1024;
  const { runtime, fixture, dataDir } = await open({ logMaxBytes });
  const count = 20_000; // about 1.8 MB
  const handle = await runtime.start(await fixture("much", "prints-much.mjs", [String(count), String(logMaxBytes)]));
  await expect.poll(async () => (await texts(handle, 1))[0]).toMatch(`line ${count - 1} `);
  const numbers = (await texts(handle, 50)).map((line) => Number(line.split(" ")[1]));
  expect(numbers).toHaveLength(50);
  expect(numbers.at(-1)).toBe(count - 1);
  // Lines that are printed at the very moment of a rotation may be lost, of which there is one among so few at most, but none is twice or out of place.
  expect(numbers).toEqual([...new Set(numbers)].toSorted((one, other) => one - other));
  const gaps = numbers.filter((number, index) => index > 0 && number !== (numbers[index - 1] ?? 0) + 1);
  expect(gaps.length).toBeLessThanOrEqual(1);
  const largest = (): number =>
    Math.max(...["stdout.log", "stdout.log.1"].map((file) => statSync(join(dataDir, "replicas/much", file)).size));
  await expect.poll(largest).toBeLessThanOrEqual(3 * logMaxBytes);
});

/** Whoever was first, Toolyard or the kernel. */
const MORE_THAN_IT_MAY = /^It used (\d+ MiB of memory, where 150 MiB are allowed|more than its 150 MiB of memory)\.$/;

test("a replica that uses more memory than it may is killed, and its log says so", async () => {
  const { runtime, fixture, ask } = await open();
  const spec = { ...(await fixture("fat", "http-server.mjs")), resources: { ...UNSAID, memoryMb: 150 } };
  const handle = await runtime.start(spec);
  await ask(spec, "/grow?of=10");
  expect(await isAlive(handle)).toBe(true);
  await fetch(`http://${spec.host}:${spec.port}/grow?of=300`).catch(() => null);
  await expect.poll(() => isAlive(handle)).toBe(false);
  await expect
    .poll(async () => await runtime.inspect(handle))
    .toMatchObject({ signal: "SIGKILL", why: expect.stringMatching(MORE_THAN_IT_MAY) });
});

test.skipIf(!limitsMemory)(
  "a replica that the kernel ended before its use was looked at has the reason, too",
  async () => {
    const { runtime, fixture, ask } = await open({ pollIntervalMs: 60_000 });
    const spec = { ...(await fixture("fat", "http-server.mjs")), resources: { ...UNSAID, memoryMb: 150 } };
    const handle = await runtime.start(spec);
    await ask(spec, "/grow?of=10");
    await fetch(`http://${spec.host}:${spec.port}/grow?of=600`).catch(() => null);
    await expect
      .poll(async () => await runtime.inspect(handle))
      .toMatchObject({ signal: "SIGKILL", why: "It used more than its 150 MiB of memory." });
    expect(await texts(handle)).toContainEqual("Killed by the system: it used more than its 150 MiB of memory.");
  },
);

test.skipIf(!limitsMemory).each(["none", ...(problem === null ? (["bubblewrap"] as const) : [])] as const)(
  "a server on stdio that the kernel ends at its start has the reason in its bridge's log, with PROCESS_ISOLATION=%s",
  async (isolation) => {
    const { runtime, fixture } = await open({ isolation, pollIntervalMs: 60_000 });
    const spec = await fixture("fat", "");
    const eats = "const all = []; for (;;) all.push(Buffer.alloc(1_048_576, 1));";
    const own = { sessions: "ISOLATED", timeoutSeconds: 30, startTimeoutSeconds: 30 };
    const limits = { maxSessions: null, idleSeconds: null, maxMessageBytes: null };
    const launch = { ...spec.launch, ...own, ...limits, kind: "stdio", command: process.execPath, args: ["-e", eats] };
    const resources = { ...UNSAID, memoryMb: 256 };
    const handle = await runtime.start({ ...spec, resources, launch: launch as ReplicaLaunch, port: null });
    await expect
      .poll(() => texts(handle))
      .toContainEqual(expect.stringMatching(/killed by SIGKILL for want of memory/));
  },
);

describe.skipIf(problem !== null)(`under bubblewrap${problem === null ? "" : ` (skipped: ${problem})`}`, () => {
  test("a replica sees the system but neither Toolyard's data, nor hidden paths, nor other processes", async () => {
    const hidden = [join(FIXTURES, "exits-at-once.mjs"), join(import.meta.dirname, "process")];
    await open({ isolation: "bubblewrap", hiddenPaths: hidden });
    const [one, other] = [
      await harness.fixture("one", "http-server.mjs"),
      await harness.fixture("other", "http-server.mjs"),
    ];
    await harness.runtime.start(other);
    await harness.runtime.start(one);
    const { dataDir } = harness;
    expect(await harness.ask(one, "/list?of=/usr")).toContain("bin");
    expect(await harness.ask(one, `/list?of=${FIXTURES}`)).toContain("http-server.mjs");
    expect(await harness.ask(one, `/list?of=${dataDir}/replicas`)).toEqual(["one"]);
    expect(await harness.ask(one, `/list?of=${dataDir}/replicas/one`)).toEqual(["work"]);
    expect(await harness.ask(one, `/list?of=${hidden[1]}`)).toEqual([]);
    const processes = (await harness.ask(one, "/list?of=/proc")) as string[]; // The fixture answers with names.
    expect(processes.filter((name) => /^\d+$/.test(name)).length).toBeLessThanOrEqual(3);
    for (const path of [FIXTURES, dataDir, `${dataDir}/replicas`, "/etc"]) {
      expect(await harness.ask(one, `/write?of=${path}/written-by-replica`)).toMatchObject({ error: "EROFS" });
    }
    for (const path of ["/tmp", `${dataDir}/replicas/one/work`]) {
      expect(await harness.ask(one, `/write?of=${path}/written-by-replica`)).toBe("written");
    }
    expect(await harness.ask(other, "/list?of=/tmp")).not.toContain("written-by-replica");
  });

  test("a replica has no capabilities, even when Toolyard runs as root", async () => {
    await open({ isolation: "bubblewrap" });
    const spec = withLaunch(await harness.fixture("caps", ""), { command: "cat", args: ["/proc/self/status"] });
    const handle = await harness.runtime.start(spec);
    await expect.poll(() => texts(handle)).toEqual(expect.arrayContaining([expect.stringMatching(/^CapEff:\s+0+$/)]));
    expect(await texts(handle)).toEqual(expect.arrayContaining([expect.stringMatching(/^NoNewPrivs:\s+1$/)]));
  });

  test("a launch that names something hidden is refused in words", async () => {
    await open({ isolation: "bubblewrap" });
    const inData = withLaunch(await harness.fixture("data", "http-server.mjs"), { workingDirectory: harness.dataDir });
    await expect(harness.runtime.start(inData)).rejects.toThrow(/Toolyard's data is there/);
  });

  test("a working directory below /tmp is seen, read-only", async () => {
    await open({ isolation: "bubblewrap" });
    const workingDirectory = await mkdtemp("/tmp/toolyard-launch-");
    try {
      await writeFile(join(workingDirectory, "file"), "");
      const spec = withLaunch(await harness.fixture("there", "http-server.mjs"), { workingDirectory });
      await harness.runtime.start(spec);
      expect(await harness.ask(spec, `/list?of=${workingDirectory}`)).toEqual(["file"]);
      expect(await harness.ask(spec, `/write?of=${workingDirectory}/more`)).toMatchObject({ error: "EROFS" });
    } finally {
      await rm(workingDirectory, { recursive: true });
    }
  });

  test("a grandchild in a session of its own dies with its replica", async () => {
    await open({ isolation: "bubblewrap" });
    const spec = await harness.fixture("family", "forks-detached.mjs");
    const handle = await harness.runtime.start(spec);
    await expect.poll(() => texts(handle)).toHaveLength(1);
    await harness.killFromOutside(handle);
    await expect.poll(() => harness.processes(spec)).toEqual([]);
  });
});

test("bubblewrap that is asked for and is not there stops the start, in words", async () => {
  await open();
  await expect(openProcessHarness({ isolation: "bubblewrap", hostEnv: { PATH: "/nowhere" } })).rejects.toThrow(
    /PROCESS_ISOLATION=bubblewrap.*not installed/,
  );
  const automatic = await openProcessHarness({ isolation: "auto", hostEnv: { PATH: "/nowhere" } });
  expect(automatic.runtime.capabilities).toMatchObject({
    isolation: { isolated: false, detail: expect.stringMatching(/not installed/) },
  });
  await automatic.runtime.close();
  await automatic.close();
});
