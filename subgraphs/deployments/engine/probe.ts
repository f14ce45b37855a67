import { INTERFACE_PATH, type InterfaceReading } from "@toolyard/bridge/interface.ts";
import { PROBE_HEADER } from "@toolyard/bridge/probe-header.ts";
import { knowsTransport, looksLegacy, mayBeLegacy, streamPaths } from "@toolyard/proxy/legacy/transport.ts";
import { connectorTo, ImpostorError, originOf, type Callee } from "@toolyard/runtimes/endpoint/connector.ts";
import type { ReplicaHandle } from "@toolyard/runtimes/runtime.ts";
import { systemCodeOf } from "@toolyard/service-kit";
import { collectBytes } from "@toolyard/service-kit/http/byte-collector.ts";
import { urlAt } from "@toolyard/service-kit/http/origin-path.ts";
import { publicConnector } from "@toolyard/service-kit/http/remote-addresses.ts";
import { Agent, Pool, request, type Dispatcher } from "undici";
import { z } from "zod";
import type { Launch } from "@toolyard/launch";
import { parseJson } from "@toolyard/service-kit/json.ts";
import { mcpPathOf } from "../deploying/deployed-launch.ts";
import type { Reason } from "../reason.ts";
import type { ListedTools } from "../usage/listed-names.ts";
import type { StartupFailure } from "./startup-probe-delay.ts";
import type { ProbeAnswer } from "./probe-answer.ts";
import { probeMcp, readMcp, type McpCallOptions } from "./mcp-probe.ts";
import {
  causesOf,
  describeFailure,
  ProbeError,
  said,
  sentence,
  tooSlow,
  whyNotYet,
  whyRefused,
  type Answer,
  type Asked,
} from "./probe-failure.ts";
import { limitOf, type Limit } from "./probe-limit.ts";
import { probeStream, readStream, type StreamCallOptions } from "./stream-probe.ts";

/** A replica as a caller reaches it. Holds secrets; never logged. */
export interface ProbeTarget extends Callee {
  launch: Launch;
  /** Of a remote launch, unsealed: its MCP endpoint, and the headers that are sent. */
  mcpUrl: URL | null;
  headers: Record<string, string>;
  handle: ReplicaHandle | null;
}

export interface ProbeResult {
  /** BUSY: it has calls within their time limit, or one of its processes is starting; it was not asked, or need not answer yet. */
  outcome: "ANSWERED" | "BUSY" | "FAILED";
  /** The kind of call, such as `mcp tools/list` or `GET /ready`. */
  kind: string;
  latencyMs: number;
  /** Why it failed, or was not asked, in a sentence; null when it answered. */
  detail: string | null;
  /** The server's own words: `words` of a Reason, secrets not hidden yet. */
  words: string | null;
  /** It failed in a way that waiting does not mend: the server ended, or a foreign process has its port. */
  hopeless?: boolean;
  /** The limit within which nothing came, when it accepted the call. */
  late?: Limit | null;
  /** How a startup probe failed. */
  startupFailure?: StartupFailure;
  /** The tools that it lists, when it was asked and answered. */
  tools?: ListedTools | null;
}

export interface Prober {
  /** A real call, as users make it. For each answer it waits as long as the launch says, or as `atMost` says if that is shorter. Never throws. */
  check(target: ProbeTarget, signal: AbortSignal, atMost?: Limit): Promise<ProbeResult>;
  /** Whether a replica that was just started answers yet: cheap enough to repeat until something listens, then use `check`. */
  checkStartup(target: ProbeTarget, signal: AbortSignal, atMost?: Limit): Promise<ProbeResult>;
  /** What the server offers; null where it speaks no MCP, or does not answer. Never throws. */
  readInterface(target: ProbeTarget, signal: AbortSignal): Promise<InterfaceReading | null>;
  /** MCP sessions that are open in a bridge. Throws when it does not answer in time. */
  countSessions(bridge: Callee): Promise<number>;
  close(): Promise<void>;
}

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const GREET_TIMEOUT_MS = 1_000;
/** A bridge itself answers at once. */
const BRIDGE_GRACE_MS = 5_000;

const bridgeStatus = z.object({
  status: z.string(),
  error: z.string().optional(),
  words: z.string().optional(),
  /** The output of a server that has not answered yet where only messages may be; "": none. */
  printed: z.string().default(""),
  sessions: z.number().int().default(0),
});
const rpcAnswer = z.object({
  result: z
    .object({
      state: z.enum(["answered", "busy", "starting", "silent"]).catch("answered"),
      // Bridges started by an earlier version do not report it.
      tools: z
        .object({ names: z.array(z.string()), isWhole: z.boolean() })
        .nullish()
        .catch(null),
    })
    .optional(),
  error: z.object({ code: z.number(), message: z.string() }).optional(),
});
const items = z.array(z.record(z.string(), z.unknown())).nullable();
const interfaceReading = z.object({
  instructions: z.string().nullable(),
  tools: items,
  prompts: items,
  resources: items,
  resourceTemplates: items,
  problems: z.array(z.string()),
  discovered: z.record(z.string(), z.unknown()).optional(),
});
/** Calls in each of the transports. */
interface Calls<Result> {
  mcp: (options: McpCallOptions) => Promise<Result>;
  stream: (options: StreamCallOptions) => Promise<Result | null>;
}
const probes: Calls<ProbeAnswer> = { mcp: probeMcp, stream: probeStream };
const readings: Calls<InterfaceReading> = { mcp: readMcp, stream: readStream };
/** JSON-RPC: the server lives but does not have this method. */
const METHOD_NOT_FOUND = -32601;
const NOT_ASKED: Record<"busy" | "starting", string> = {
  busy: "It is busy with calls that are within their time, and was not asked.",
  starting: "The process that would be asked is still starting.",
};

export function createProber(options: { allowPrivateRemotes: boolean }): Prober {
  const remote = new Agent({
    keepAliveTimeout: 1_000,
    connections: 4,
    ...(!options.allowPrivateRemotes && { connect: publicConnector() }),
  });

  /** Verifies the replica on each connection: nothing is sent to another process in its place. */
  async function connected<Result>(callee: Callee, work: (dispatcher: Dispatcher) => Promise<Result>): Promise<Result> {
    if (callee.url === "") throw new Error("It is not known where it answers; it is started again.");
    const pool = new Pool(originOf(callee), { connect: connectorTo(callee) });
    try {
      return await work(pool);
    } finally {
      await pool.destroy();
    }
  }

  /** `notAsked`: why the server was not asked; null when it answered. */
  async function callBridge(
    target: ProbeTarget,
    dispatcher: Dispatcher,
    signal: AbortSignal,
    limit: Limit,
  ): Promise<{ notAsked: string | null; tools: ListedTools | null }> {
    const late = AbortSignal.timeout(limit.seconds * 1_000 + BRIDGE_GRACE_MS);
    const { statusCode, body } = await request(`${originOf(target)}/mcp`, {
      dispatcher,
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json",
        authorization: `Bearer ${target.token}`,
        [PROBE_HEADER]: String(limit.seconds),
      },
      // The bridge passes it to a process that runs and has nothing to do; when all are busy, or one is starting, it says so.
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
      headersTimeout: 0,
      signal: AbortSignal.any([signal, late]),
    }).catch((error: unknown) => {
      throw late.aborted ? tooSlow("its bridge's probe", limit) : error;
    });
    const text = await readBounded(body);
    const answer = rpcAnswer.safeParse(parseJson(text));
    const error = answer.data?.error;
    if (statusCode === 200 && answer.success && (!error || error.code === METHOD_NOT_FOUND)) {
      const state = answer.data.result?.state;
      if (state === "silent") throw tooSlow("tools/list", limit);
      const tools = answer.data.result?.tools ?? null;
      return { notAsked: state === "busy" || state === "starting" ? NOT_ASKED[state] : null, tools };
    }
    if (!error) throw new ProbeError({ reason: `The bridge answered HTTP ${statusCode}.`, words: null });
    // The bridge itself refuses by a status; the server's own errors come as answers.
    if (statusCode !== 200) throw new ProbeError({ reason: sentence(error.message), words: null });
    throw new ProbeError({ reason: "It answered tools/list with an error.", words: said(error.message) });
  }

  async function get(
    target: ProbeTarget,
    dispatcher: Dispatcher,
    path: string,
    signal: AbortSignal,
    limit: Limit,
  ): Promise<void> {
    const late = AbortSignal.timeout(limit.seconds * 1_000);
    const call = async (): Promise<number> => {
      const { statusCode, body } = await request(urlAt(originOf(target), path), {
        dispatcher,
        headers: target.headers,
        headersTimeout: 0,
        signal: AbortSignal.any([signal, late]),
      });
      await readBounded(body);
      return statusCode;
    };
    const status = await call().catch((error: unknown) => {
      throw late.aborted ? tooSlow(`GET ${withoutQuery(path)}`, limit) : error;
    });
    if (status < 200 || status >= 400)
      throw new ProbeError({ reason: `GET ${withoutQuery(path)} answered HTTP ${status}.`, words: null });
  }

  async function call(
    target: ProbeTarget,
    dispatcher: Dispatcher,
    signal: AbortSignal,
    limit: Limit,
  ): Promise<ProbeAnswer & { notAsked: string | null }> {
    const { launch } = target;
    const { livenessPath, readinessPath } = launch.options.health;
    const paths = [...new Set([livenessPath, readinessPath])].filter((path) => path !== null);
    if (paths.length > 0 && launch.kind !== "stdio") {
      for (const path of paths) await get(target, dispatcher, path, signal, limit);
      return { kind: paths.map((path) => `GET ${withoutQuery(path)}`).join(", "), tools: null, notAsked: null };
    }
    if (launch.kind === "stdio")
      return { kind: "mcp tools/list", ...(await callBridge(target, dispatcher, signal, limit)) };
    return { ...(await callServer(target, dispatcher, signal, limit, probes)), notAsked: null };
  }

  /** In the transport that it speaks, found as the proxy does. */
  async function callServer<Result>(
    target: ProbeTarget,
    dispatcher: Dispatcher,
    signal: AbortSignal,
    limit: Limit,
    calls: Calls<Result>,
  ): Promise<Result> {
    const { launch } = target;
    const url = target.mcpUrl ?? urlAt(originOf(target), mcpPathOf(launch));
    const remote = launch.kind === "remote";
    const common = {
      signal,
      limitMs: limit.seconds * 1_000,
      tooSlow: (asked: string) => tooSlow(asked, limit),
      maxBytes: MAX_ANSWER_BYTES,
      tooLarge,
    };
    const streamAt = (path: string): Promise<Result | null> =>
      calls.stream({
        ...common,
        path,
        server: {
          target: { url: url.origin, remote },
          headers: Object.entries(target.headers).flat(),
          dispatcher: () => dispatcher,
        },
      });
    const named = url.pathname + url.search;
    const early = looksLegacy(url.pathname) ? await streamAt(named) : null;
    if (early !== null) return early;
    let refused: Answer | null = null;
    try {
      return await calls.mcp({
        ...common,
        url,
        remote,
        headers: target.headers,
        dispatcher,
        explain(answer) {
          refused = answer;
          const why = whyRefused(answer, askedOf(target));
          return why && new ProbeError(why);
        },
      });
    } catch (error) {
      // Set by the callback, which TypeScript does not see.
      const answer = refused as Answer | null;
      if (answer === null || !mayBeLegacy(answer.status) || knowsTransport(answer.text)) throw error;
      for (const path of streamPaths(named, { isRemote: remote, status: answer.status })) {
        const heard = await streamAt(path);
        if (heard !== null) return heard;
      }
      throw error;
    }
  }

  const check: Prober["check"] = async (target, signal, atMost) => {
    const limit = limitOf(target.launch, atMost);
    const started = performance.now();
    const elapsed = () => Math.round((performance.now() - started) * 100) / 100;
    try {
      const { kind, notAsked, tools } =
        target.launch.kind === "remote"
          ? await call(target, remote, signal, limit)
          : await connected(target, (dispatcher) => call(target, dispatcher, signal, limit));
      const outcome = notAsked === null ? "ANSWERED" : "BUSY";
      const asked = notAsked === null ? kind : "none";
      return { outcome, kind: asked, latencyMs: elapsed(), detail: notAsked, words: null, tools };
    } catch (error) {
      const { reason, words } = describeFailure(error, askedOf(target));
      const causes = causesOf(error);
      return {
        outcome: "FAILED",
        kind: kindOf(target),
        latencyMs: elapsed(),
        detail: reason,
        words,
        hopeless: causes.some((cause) => cause instanceof ImpostorError),
        late: causes.find((cause) => cause instanceof ProbeError)?.late ?? null,
        startupFailure: causes.some((cause) => ABSENT_CODES.includes(systemCodeOf(cause) ?? "")) ? "ABSENT" : "REFUSED",
      };
    }
  };

  /** With its server's words: only for holders of the token. */
  async function askBridge(bridge: Callee, signal: AbortSignal): Promise<z.output<typeof bridgeStatus>> {
    return connected(bridge, async (dispatcher) => {
      const { body } = await request(`${originOf(bridge)}/status`, {
        dispatcher,
        headers: { authorization: `Bearer ${bridge.token}` },
        signal: AbortSignal.any([signal, AbortSignal.timeout(GREET_TIMEOUT_MS)]),
      });
      return bridgeStatus.parse(parseJson(await readBounded(body)));
    });
  }

  async function readFromBridge(
    bridge: Callee,
    dispatcher: Dispatcher,
    signal: AbortSignal,
  ): Promise<InterfaceReading> {
    const { body } = await request(`${originOf(bridge)}${INTERFACE_PATH}`, {
      dispatcher,
      headers: { authorization: `Bearer ${bridge.token}` },
      headersTimeout: 0,
      signal,
    });
    return interfaceReading.parse(parseJson(await readBounded(body)));
  }

  return {
    check,
    async readInterface(target, signal) {
      const limit = limitOf(target.launch, undefined);
      const read = (dispatcher: Dispatcher): Promise<InterfaceReading> =>
        target.launch.kind === "stdio"
          ? readFromBridge(target, dispatcher, signal)
          : callServer(target, dispatcher, signal, limit, readings);
      try {
        return await (target.launch.kind === "remote" ? read(remote) : connected(target, read));
      } catch {
        return null; // whether it answers at all is for probes to say
      }
    },
    async checkStartup(target, signal, atMost) {
      if (target.launch.kind !== "stdio") return check(target, signal, atMost);
      const started = performance.now();
      const failed = ({ reason, words }: Reason, hopeless = false): ProbeResult => ({
        outcome: "FAILED",
        kind: "bridge health",
        latencyMs: performance.now() - started,
        detail: reason,
        words,
        hopeless,
        startupFailure: "ABSENT",
      });
      try {
        const status = await askBridge(target, signal);
        if (status.status === "ok") return await check(target, signal, atMost);
        if (status.status === "failing") {
          const { error = "the server ended", words = "" } = status;
          return failed({ reason: sentence(error), words: words === "" ? null : said(words) }, true);
        }
        return failed(whyNotYet(target.launch, status.printed));
      } catch (error) {
        return failed(describeFailure(error, askedOf(target)));
      }
    },
    countSessions: async (bridge) => (await askBridge(bridge, new AbortController().signal)).sessions,
    close: () => remote.destroy(),
  };
}

function kindOf({ launch }: ProbeTarget): string {
  const { livenessPath, readinessPath } = launch.options.health;
  const path = readinessPath ?? livenessPath;
  return path !== null && launch.kind !== "stdio" ? `GET ${withoutQuery(path)}` : "mcp tools/list";
}

async function readBounded(body: Dispatcher.ResponseData["body"]): Promise<string> {
  // undici's body yields Buffers unless an encoding was set on it.
  return (await collectBytes(body as AsyncIterable<Buffer>, MAX_ANSWER_BYTES, tooLarge)).toString("utf8");
}

/** Nothing accepted the connection. */
const ABSENT_CODES = ["ECONNREFUSED", "ENOENT", "EHOSTUNREACH", "ENETUNREACH"];

function tooLarge(): ProbeError {
  return new ProbeError({ reason: "Its answer is larger than 4 MiB, or a stream of too many events.", words: null });
}

function askedOf({ launch, headers }: ProbeTarget): Asked {
  return {
    kind: launch.kind,
    port: launch.kind === "image" ? launch.port : null,
    hasHeaders: Object.keys(headers).length > 0,
  };
}

/** Health paths may contain keys in their query. */
function withoutQuery(path: string): string {
  return path.replace(/\?.*/s, "");
}
