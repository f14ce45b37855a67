import { probeHeader } from "@toolyard/bridge/probe-header.ts";
import { connectorTo, ImpostorError, originOf, type Callee } from "@toolyard/runtimes/endpoint/connector.ts";
import type { ReplicaHandle } from "@toolyard/runtimes/runtime.ts";
import { messageOf, systemCodeOf } from "@toolyard/service-kit";
import { Agent, Pool, request, type Dispatcher } from "undici";
import { z } from "zod";
import type { Reason } from "../reason.ts";
import { mcpPathOf, type LaunchSpec } from "../launch-spec.ts";
import { probeMcp } from "./mcp-probe.ts";
import { urlAt } from "@toolyard/service-kit/origin-path.ts";
import { PrivateAddressError, publicConnector } from "@toolyard/service-kit/remote-addresses.ts";

/** A replica as a caller reaches it. Holds secrets; never logged. */
export interface ProbeTarget extends Callee {
  launch: LaunchSpec;
  /** Of a remote launch, opened: its MCP endpoint, and what is sent. */
  mcpUrl: URL | null;
  headers: Record<string, string>;
  handle: ReplicaHandle | null;
}

export interface ProbeResult {
  ok: boolean;
  /** What was asked, as in `mcp tools/list` or `GET /ready`. */
  kind: string;
  latencyMs: number;
  /** Why it failed, in a sentence; null when it did not. */
  detail: string | null;
  /** What the server said of it: `words` of a Reason, secrets not hidden yet. */
  words: string | null;
  /** It failed in a way that waiting does not mend: the server ended, or a stranger has its port. */
  hopeless?: boolean;
}

export interface Prober {
  /** A real call, as users make it, bounded by the launch's `timeoutSeconds`. Never throws. */
  check(target: ProbeTarget, signal: AbortSignal): Promise<ProbeResult>;
  /** Whether a replica that was just started answers yet: cheap to ask often until something listens, then `check`. */
  greet(target: ProbeTarget, signal: AbortSignal): Promise<ProbeResult>;
  /** MCP sessions that are open in a bridge. Throws when it does not say so in time. */
  countSessions(bridge: Callee): Promise<number>;
  close(): Promise<void>;
}

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const GREET_TIMEOUT_MS = 1_000;
/** Before secrets are hidden in them, which a cut would leave half of. */
const LONGEST_WORDS = 64 * 1024;

const bridgeStatus = z.object({
  status: z.string(),
  error: z.string().optional(),
  words: z.string().optional(),
  sessions: z.number().int().default(0),
});
const rpcAnswer = z.object({
  result: z.unknown().optional(),
  error: z.object({ code: z.number(), message: z.string() }).optional(),
});
/** JSON-RPC: the server lives and says that it does not have this method. */
const METHOD_NOT_FOUND = -32601;

export function createProber(options: { allowPrivateRemotes: boolean }): Prober {
  const remote = new Agent({
    keepAliveTimeout: 1_000,
    connections: 4,
    ...(!options.allowPrivateRemotes && { connect: publicConnector() }),
  });

  /** Each time by a connection that is the replica's: nothing is sent to whatever took its place. */
  async function connected<Result>(callee: Callee, work: (dispatcher: Dispatcher) => Promise<Result>): Promise<Result> {
    if (callee.url === "") throw new Error("It is not known where it answers; it is started again.");
    const pool = new Pool(originOf(callee), { connect: connectorTo(callee) });
    try {
      return await work(pool);
    } finally {
      await pool.destroy();
    }
  }

  async function callBridge(target: ProbeTarget, dispatcher: Dispatcher, signal: AbortSignal): Promise<void> {
    const { statusCode, body } = await request(`${originOf(target)}/mcp`, {
      dispatcher,
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json",
        authorization: `Bearer ${target.token}`,
        [probeHeader]: "1",
      },
      // The bridge passes it to a process that runs and has nothing to do; where all are busy, or one is starting, it says that.
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
      signal,
    });
    const text = await readBounded(body);
    const answer = rpcAnswer.safeParse(parseJson(text));
    const error = answer.data?.error;
    if (statusCode === 200 && answer.success && (!error || error.code === METHOD_NOT_FOUND)) return;
    if (!error) throw new ProbeError({ reason: `The bridge answered HTTP ${statusCode}.`, words: null });
    // The bridge itself refuses by a status; the server's own errors come as answers.
    if (statusCode !== 200) throw new ProbeError({ reason: sentence(error.message), words: null });
    throw new ProbeError({ reason: "It answered tools/list with an error.", words: said(error.message) });
  }

  async function get(target: ProbeTarget, dispatcher: Dispatcher, path: string, signal: AbortSignal): Promise<void> {
    const { statusCode, body } = await request(urlAt(originOf(target), path), {
      dispatcher,
      headers: target.headers,
      signal,
    });
    await readBounded(body);
    if (statusCode < 200 || statusCode >= 400)
      throw new ProbeError({ reason: `GET ${withoutQuery(path)} answered HTTP ${statusCode}.`, words: null });
  }

  async function call(target: ProbeTarget, dispatcher: Dispatcher, signal: AbortSignal): Promise<string> {
    const { launch } = target;
    const { livenessPath, readinessPath } = launch.options.health;
    const paths = [...new Set([livenessPath, readinessPath])].filter((path) => path !== null);
    if (paths.length > 0 && launch.kind !== "stdio") {
      for (const path of paths) await get(target, dispatcher, path, signal);
      return paths.map((path) => `GET ${withoutQuery(path)}`).join(", ");
    }
    if (launch.kind === "stdio") {
      await callBridge(target, dispatcher, signal);
      return "mcp tools/list";
    }
    const url = target.mcpUrl ?? urlAt(originOf(target), mcpPathOf(launch));
    return probeMcp({ url, headers: target.headers, dispatcher, signal, maxBytes: MAX_ANSWER_BYTES, tooLarge });
  }

  const check: Prober["check"] = async (target, signal) => {
    const { timeoutSeconds } = target.launch.options.health;
    const timeout = AbortSignal.timeout(timeoutSeconds * 1_000);
    const started = performance.now();
    const elapsed = () => Math.round((performance.now() - started) * 100) / 100;
    try {
      const deadline = AbortSignal.any([signal, timeout]);
      const kind =
        target.launch.kind === "remote"
          ? await call(target, remote, deadline)
          : await connected(target, (dispatcher) => call(target, dispatcher, deadline));
      return { ok: true, kind, latencyMs: elapsed(), detail: null, words: null };
    } catch (error) {
      const { reason, words } = timeout.aborted
        ? { reason: `It did not answer within ${timeoutSeconds} s.`, words: null }
        : describe(error);
      const hopeless = causesOf(error).some((cause) => cause instanceof ImpostorError);
      return { ok: false, kind: kindOf(target), latencyMs: elapsed(), detail: reason, words, hopeless };
    }
  };

  /** With what its server said: only for who has the token. */
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

  return {
    check,
    async greet(target, signal) {
      if (target.launch.kind !== "stdio") return check(target, signal);
      const started = performance.now();
      const failed = ({ reason, words }: Reason, hopeless = false): ProbeResult => ({
        ok: false,
        kind: "bridge health",
        latencyMs: performance.now() - started,
        detail: reason,
        words,
        hopeless,
      });
      try {
        const status = await askBridge(target, signal);
        if (status.status === "ok") return await check(target, signal);
        if (status.status === "failing") {
          const { error = "the server ended", words = "" } = status;
          return failed({ reason: sentence(error), words: words === "" ? null : said(words) }, true);
        }
        return failed({ reason: "It was started and has not answered yet.", words: null });
      } catch (error) {
        return failed(describe(error));
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
  const chunks: Buffer[] = [];
  let size = 0;
  // undici's body yields Buffers unless an encoding was set on it.
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: what it lacks is told by whoever validates the answer.
    return undefined;
  }
}

/** A call that failed, told by Toolyard's own sentence. */
class ProbeError extends Error implements Reason {
  override readonly name = "ProbeError";
  readonly reason: string;
  readonly words: string | null;
  constructor({ reason, words }: Reason) {
    super(reason);
    this.reason = reason;
    this.words = words;
  }
}

function tooLarge(): ProbeError {
  return new ProbeError({ reason: "Its answer is larger than 4 MiB, or a stream of too many events.", words: null });
}

const NETWORK_ERRORS: Record<string, string> = {
  ECONNREFUSED: "Nothing listens where it should answer.",
  ENOENT: "Nothing listens where it should answer.",
  ECONNRESET: "It closed the connection.",
  UND_ERR_SOCKET: "It closed the connection.",
  ENOTFOUND: "Its host name is not known.",
  EAI_AGAIN: "Its host name could not be looked up.",
  EHOSTUNREACH: "Its host cannot be reached.",
  ENETUNREACH: "Its host cannot be reached.",
  UND_ERR_CONNECT_TIMEOUT: "No connection to it came about in time.",
};

function describe(error: unknown): Reason {
  const causes = causesOf(error);
  const own = causes.find((cause) => cause instanceof ProbeError);
  if (own) return own;
  const refused = causes.find((cause) => cause instanceof PrivateAddressError || cause instanceof ImpostorError);
  if (refused instanceof Error) return { reason: refused.message, words: null };
  const codes = causes.map(systemCodeOf).filter((code) => code !== null);
  const network = codes.map((code) => NETWORK_ERRORS[code]).find((text) => text !== undefined);
  if (network !== undefined) return { reason: network, words: null };
  const tls = codes.find((code) => /CERT|TLS|SSL|SIGNED|UNABLE_TO_/.test(code));
  if (tls !== undefined) return { reason: `Its certificate or TLS is not accepted (${tls}).`, words: null };
  // What a client library makes of an answer holds some of that answer.
  const status = causes
    .map((cause) => (cause instanceof Error && "status" in cause ? cause.status : null))
    .find((code) => typeof code === "number");
  const reason = status === undefined ? "It did not answer as MCP servers do." : `It answered HTTP ${String(status)}.`;
  return { reason, words: said(messageOf(error)) };
}

function said(text: string): string {
  return `It said: ${text.trim().slice(0, LONGEST_WORDS)}`;
}

/** Health paths may have keys in their query. */
function withoutQuery(path: string): string {
  return path.replace(/\?.*/s, "");
}

/** The error and what led to it, bounded. */
function causesOf(error: unknown): unknown[] {
  const causes: unknown[] = [];
  for (let cause = error; cause instanceof Error && causes.length < 8; cause = cause.cause) causes.push(cause);
  return causes;
}

/** With a capital letter and a full stop. */
function sentence(text: string): string {
  const trimmed = text.trim();
  const capital = trimmed.slice(0, 1).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}
