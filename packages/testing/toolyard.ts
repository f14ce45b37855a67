import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { eventually } from "./eventually.ts";
import { isDistributed } from "./mode.ts";
import { freePort, freePorts, portBlock } from "./ports.ts";
import { processesWith } from "./processes.ts";

/** A running Toolyard, started as its users start it. */
export interface RunningToolyard {
  url: string;
  proxyUrl: string;
  dataDir: string;
  /** The variables that say where its data is: for commands. */
  dataEnv: Record<string, string>;
  adminPassword: string;
  process: ChildProcess;
  /** The pids of its processes that serve: its own, in distributed mode those of its parts that are no proxy. */
  serving(): Promise<number[]>;
  /** All that it has printed. */
  output(): string;
  /** SIGTERM, waits for the end, answers the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL to its main process only; in distributed mode to all of its parts that are no proxy. */
  kill(): Promise<void>;
  /** Starts it again after its end, on the same data and ports. The data is removed at the end of that one, where this one would have removed it. */
  restart(): Promise<RunningToolyard>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface ToolyardOptions {
  env?: Record<string, string>;
  /** An existing DATA_DIR to start on; else a new one. */
  dataDir?: string;
  /** Whether that is there at the end. @default where it was given */
  keepsData?: boolean;
  /** The same ports as before. */
  ports?: { gateway: number; proxy: number };
  /** What is started; what the mode says unless given. */
  entry?: string;
  /** Each part as its own process. @default as TOOLYARD_MODE says */
  distributed?: boolean;
}

const root = join(import.meta.dirname, "..", "..");
const READY = "Toolyard is ready.";
/** For NODE_COMPILE_CACHE of processes that are started without npm's scripts: their types are stripped once, not at each start. */
export const compileCache = join(root, "node_modules/.cache/toolyard");

/** The beginning of the name of the test file, so that a folder which is left says whose it was; short, as sockets' paths are. */
function testFile(): string {
  // Vitest's own, of a file's worker.
  const worker = (globalThis as { __vitest_worker__?: { filepath?: string } }).__vitest_worker__;
  return basename(worker?.filepath ?? "none").slice(0, 9);
}

/** It needs drivers, and the test runner. */
const serverData = () => import("./server-data.ts");

/** The variables that say where the data of a Toolyard on this DATA_DIR is, or will be: for commands. */
export async function dataEnvOf(dataDir: string, distributed = isDistributed): Promise<Record<string, string>> {
  return { DATA_DIR: dataDir, ...(distributed && (await (await serverData()).serverDataOf(dataDir)).env) };
}

/** Starts a Toolyard as a process with an environment of its own and waits for its banner. @throws Error with what it printed */
export async function startToolyard(options: ToolyardOptions = {}): Promise<RunningToolyard> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), `ty-${testFile()}-`)));
  const ports = options.ports ?? { gateway: await freePort(), proxy: await freePort() };
  const replicaPorts = await portBlock();
  const { distributed = isDistributed } = options;
  const dataEnv = await dataEnvOf(dataDir, distributed);
  const entry = options.entry ?? join(root, distributed ? "distributed/main.ts" : "standalone.ts");
  const child = spawn(process.execPath, [entry], {
    cwd: root,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      TMPDIR: tmpdir(),
      PORT: String(ports.gateway),
      PROXY_PORT: String(ports.proxy),
      MCP_PORT_RANGE: `${replicaPorts.first}-${replicaPorts.last}`,
      ...(distributed && { PARTS_PORT: String(await freePorts(10)) }),
      ...dataEnv,
      SAMPLE: "false",
      LOG_LEVEL: "warn",
      ...options.env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  child.stdout.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  let stopping = false;
  const ended = new Promise<number | null>((done) =>
    child.once("exit", (code, signal) => {
      // A test only sees that nothing answers any more; this says why.
      if (!stopping && printed.includes(READY))
        process.stderr.write(`Toolyard ended by itself (${signal ?? `exit code ${code}`}):\n${printed}\n`);
      done(code);
    }),
  );
  const { keepsData = options.dataDir !== undefined } = options;
  const remove = async () => {
    if (keepsData) return;
    // Parts of one that was killed may still write there.
    const isQuiet = async () => (await processesWith(dataDir)).length === 0;
    if (child.signalCode === "SIGKILL") await eventually("its parts' end", isQuiet, 5_000).catch(() => undefined);
    if (distributed) await (await serverData()).dropServerData(dataDir);
    await rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  };
  const isOver = () => child.exitCode !== null || child.signalCode !== null;
  // Four at once from a cold compile cache take a minute on two slow cores. Hooks have a little longer.
  await eventually("its banner", () => printed.includes(READY) || isOver(), 110_000).catch(() => undefined);
  if (!printed.includes(READY)) {
    stopping = true;
    child.kill("SIGKILL");
    await ended;
    await remove();
    throw new Error(`Toolyard did not start (exit code ${child.exitCode}):\n${printed}`);
  }
  const stop = async () => {
    stopping = true;
    child.kill("SIGTERM");
    return ended;
  };
  return {
    url: `http://127.0.0.1:${ports.gateway}`,
    proxyUrl: `http://127.0.0.1:${ports.proxy}`,
    dataDir,
    dataEnv,
    adminPassword: options.env?.ADMIN_PASSWORD ?? (await readFile(join(dataDir, "admin-password"), "utf8")).trim(),
    process: child,
    serving: async () => (distributed ? partsOf(child) : [child.pid ?? 0]),
    output: () => printed,
    stop,
    async kill() {
      stopping = true;
      const parts = distributed ? await partsOf(child) : [];
      child.kill("SIGKILL");
      for (const pid of parts) process.kill(pid, "SIGKILL");
      await ended;
    },
    restart: () => startToolyard({ ...options, dataDir, ports, keepsData }),
    async [Symbol.asyncDispose]() {
      await stop();
      await remove();
    },
  };
}

/** The pids of its parts but the proxies, which end by themselves. */
async function partsOf({ pid }: ChildProcess): Promise<number[]> {
  const pids = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(" ").map(Number);
  const commands = await Promise.all(pids.map((each) => readFile(`/proc/${each}/cmdline`, "utf8")));
  return pids.filter((_, n) => !commands[n]?.includes("packages/proxy"));
}

export interface GraphqlAnswer<Data> {
  status: number;
  data: Data;
  errors: {
    message: string;
    path?: (string | number)[];
    extensions: { code: string; requestId?: string; [name: string]: unknown };
  }[];
}

/** A GraphQL client as simple as curl. */
export function graphqlClient(url: string, token?: string) {
  /** Sends an operation and answers all of it. */
  async function send<Data = Record<string, unknown>>(
    query: string,
    variables: Record<string, unknown> = {},
  ): Promise<GraphqlAnswer<Data>> {
    const response = await fetch(`${url}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json", ...(token !== undefined && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify({ query, variables }),
    });
    // The test names the shape of what it selected.
    const body = (await response.json()) as { data?: Data; errors?: GraphqlAnswer<Data>["errors"] };
    return { status: response.status, data: body.data as Data, errors: body.errors ?? [] };
  }
  return {
    send,
    /** The data. @throws Error when there are errors */
    async query<Data = Record<string, unknown>>(query: string, variables: Record<string, unknown> = {}): Promise<Data> {
      const { data, errors } = await send<Data>(query, variables);
      if (errors.length > 0)
        throw new Error(errors.map(({ extensions, message }) => `${extensions?.code}: ${message}`).join("\n"));
      return data;
    },
  };
}

/** An access token of a user. */
export async function logIn(url: string, username: string, password: string): Promise<string> {
  const { login } = await graphqlClient(url).query<{ login: { accessToken: string } }>(
    "mutation ($username: String!, $password: String!) { login(username: $username, password: $password) { accessToken } }",
    { username, password },
  );
  return login.accessToken;
}
