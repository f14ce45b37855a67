import { createRequire } from "node:module";
import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { type Bridge, type BridgeOptions, createBridge } from "./bridge.ts";
import { prepareLaunch } from "./child/spawn.ts";

/** Shared by the bridge's tests: a running bridge in this process, and raw requests. */

const require = createRequire(import.meta.url);
export const everything = [
  join(dirname(require.resolve("@modelcontextprotocol/server-everything/package.json")), "dist/index.js"),
  "stdio",
];
export const fixture = (name: string, ...args: string[]): string[] => [
  fileURLToPath(new URL(`./fixtures/${name}.mjs`, import.meta.url)),
  ...args,
];

export interface RunningBridge extends AsyncDisposable {
  bridge: Bridge;
  url: URL;
  /** Its log, one parsed line each. */
  log: { at: number; stream: string; text: string }[];
  /** Folders of children that are there now. */
  folders(): string[];
  /** One POST to /mcp. */
  post(body: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** A call of a tool by a session of `openSession`, or without one; its text. */
  callTool(name: string, args?: Record<string, unknown>, session?: string): Promise<string>;
  openSession(capabilities?: Record<string, unknown>): Promise<string>;
}

export interface Answer {
  status: number;
  headers: Headers;
  /** The messages of the answer, in order; the last one is the answer to the request. */
  messages: RpcAnswer[];
  text: string;
}

interface RpcAnswer {
  id?: number | string | null;
  method?: string;
  params?: Record<string, unknown>;
  // The answer is the subject of each test, which states its own expectations.
  result?: { [key: string]: unknown; content?: { text: string }[] };
  error?: { code: number; message: string; data?: unknown };
}

export async function startBridge(
  args: string[],
  options: Partial<BridgeOptions> = {},
  environment: Record<string, string> = {},
): Promise<RunningBridge> {
  const folder = await mkdtemp(join(tmpdir(), "bridge-test-"));
  const log: RunningBridge["log"] = [];
  const launch = prepareLaunch({
    command: process.execPath,
    args,
    workingDirectory: null,
    environment: { PATH: process.env.PATH ?? "", ...environment },
  });
  const bridge = createBridge({
    launch: { ...launch, temporaryDirectory: folder },
    port: 0,
    token: null,
    writeLog: (line) => log.push(JSON.parse(line)),
    ...options,
  });
  const { port } = await bridge.listen();
  const url = new URL(`http://127.0.0.1:${port}/mcp`);

  const post: RunningBridge["post"] = async (body, headers = {}) => {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...headers },
      body: typeof body === "string" ? body : JSON.stringify(body),
    });
    const text = await response.text();
    const events = text.split("\n").filter((line) => line.startsWith("data: "));
    const parsed =
      text === ""
        ? []
        : (response.headers.get("content-type") ?? "").includes("event-stream")
          ? events.map((line) => JSON.parse(line.slice(6)))
          : JSON.parse(text);
    const messages = Array.isArray(parsed) ? parsed : [parsed];
    return { status: response.status, headers: response.headers, messages, text };
  };
  let nextId = 100;
  return {
    bridge,
    url,
    log,
    folders: () => readdirSync(folder),
    post,
    async callTool(name, args_ = {}, session) {
      nextId += 1;
      const { messages } = await post(
        { jsonrpc: "2.0", id: nextId, method: "tools/call", params: { name, arguments: args_ } },
        session === undefined ? {} : { "mcp-session-id": session },
      );
      const last = messages.at(-1);
      if (last?.error !== undefined) throw new Error(last.error.message);
      return last?.result?.content?.[0]?.text ?? "";
    },
    async openSession(capabilities = {}) {
      const answer = await post(initialize(capabilities));
      const session = answer.headers.get("mcp-session-id");
      if (session === null) throw new Error(`no session: ${JSON.stringify(answer.messages)}`);
      await post({ jsonrpc: "2.0", method: "notifications/initialized" }, { "mcp-session-id": session });
      return session;
    },
    async [Symbol.asyncDispose]() {
      await bridge.close(0);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export function initialize(capabilities: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    jsonrpc: "2.0",
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities, clientInfo: { name: "test", version: "1" } },
  };
}

/** A request of the stateless revision with its headers. */
export function stateless(
  method: string,
  params: Record<string, unknown> = {},
  options: {
    id?: number;
    capabilities?: Record<string, unknown>;
    meta?: Record<string, unknown>;
    /** The caller, as the proxy would name it. */
    user?: string;
  } = {},
) {
  const name = params.name ?? params.uri;
  return {
    body: {
      jsonrpc: "2.0",
      id: options.id ?? 1,
      method,
      params: {
        ...params,
        _meta: {
          "io.modelcontextprotocol/protocolVersion": "2026-07-28",
          "io.modelcontextprotocol/clientCapabilities": options.capabilities ?? {},
          "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
          ...options.meta,
        },
      },
    },
    headers: {
      "mcp-protocol-version": "2026-07-28",
      "mcp-method": method,
      ...(typeof name === "string" ? { "mcp-name": name } : {}),
      ...(options.user === undefined ? {} : { "x-toolyard-user": options.user }),
    },
  };
}

/** A killed process that waits for its parent to notice does not count. */
export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    if (process.platform !== "linux") return true;
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ESRCH" || error.code === "ENOENT")) return false;
    throw error;
  }
}
