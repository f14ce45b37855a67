import type { ReplicaHandle } from "@toolyard/runtimes/runtime.ts";
import { messageOf, systemCodeOf } from "@toolyard/service-kit";
import { Agent, request, type Dispatcher } from "undici";
import { z } from "zod";
import { mcpPathOf, type LaunchSpec } from "../launch-spec.ts";
import { probeMcp } from "./mcp-probe.ts";
import { urlAt } from "@toolyard/service-kit/origin-path.ts";
import { PrivateAddressError, publicConnector } from "@toolyard/service-kit/remote-addresses.ts";

/** A replica as a caller reaches it. Holds secrets; never logged. */
export interface ProbeTarget {
  launch: LaunchSpec;
  /** Scheme, host and port. */
  origin: string;
  /** The bridge's bearer token; "" for what has none. */
  token: string;
  /** Of a remote launch, opened. */
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
  /** It failed in a way that waiting does not mend: the server ended. */
  hopeless?: boolean;
}

export interface Prober {
  /** A real call, as users make it, bounded by the launch's `timeoutSeconds`. Never throws. */
  check(target: ProbeTarget, signal: AbortSignal): Promise<ProbeResult>;
  /** Whether a replica that was just started answers yet: cheap to ask often until something listens, then `check`. */
  greet(target: ProbeTarget, signal: AbortSignal): Promise<ProbeResult>;
  close(): Promise<void>;
}

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const GREET_TIMEOUT_MS = 1_000;

const bridgeHealth = z.object({ status: z.string(), error: z.string().optional(), words: z.string().optional() });
const rpcAnswer = z.object({
  result: z.unknown().optional(),
  error: z.object({ code: z.number(), message: z.string() }).optional(),
});
/** JSON-RPC: the server lives and says that it does not have this method. */
const METHOD_NOT_FOUND = -32601;

export function createProber(options: { allowPrivateRemotes: boolean }): Prober {
  const local = new Agent({ keepAliveTimeout: 1_000, connections: 4 });
  const remote = new Agent({
    keepAliveTimeout: 1_000,
    connections: 4,
    ...(!options.allowPrivateRemotes && { connect: publicConnector() }),
  });

  const dispatcherOf = (target: ProbeTarget): Dispatcher => (target.launch.kind === "remote" ? remote : local);

  async function callBridge(target: ProbeTarget, signal: AbortSignal): Promise<void> {
    const { statusCode, body } = await request(`${target.origin}/mcp`, {
      dispatcher: local,
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json",
        authorization: `Bearer ${target.token}`,
      },
      // Without a session: the bridge passes it to a child that all such calls share.
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
      signal,
    });
    const text = await readBounded(body);
    const answer = rpcAnswer.safeParse(parseJson(text));
    const error = answer.data?.error;
    if (statusCode === 200 && answer.success && (!error || error.code === METHOD_NOT_FOUND)) return;
    throw new Error(error ? sentence(error.message) : `The bridge answered HTTP ${statusCode}.`);
  }

  /** With what the server said: only for who has the token. */
  async function bridgeStatus(
    target: ProbeTarget,
    signal: AbortSignal,
  ): Promise<Partial<z.output<typeof bridgeHealth>>> {
    const { body } = await request(`${target.origin}/status`, {
      dispatcher: local,
      headers: { authorization: `Bearer ${target.token}` },
      signal: AbortSignal.any([signal, AbortSignal.timeout(GREET_TIMEOUT_MS)]),
    });
    return bridgeHealth.safeParse(parseJson(await readBounded(body))).data ?? {};
  }

  async function get(target: ProbeTarget, path: string, signal: AbortSignal): Promise<void> {
    const { statusCode, body } = await request(urlAt(target.origin, path), {
      dispatcher: dispatcherOf(target),
      headers: target.headers,
      signal,
    });
    await readBounded(body);
    if (statusCode < 200 || statusCode >= 400) throw new Error(`GET ${path} answered HTTP ${statusCode}.`);
  }

  async function call(target: ProbeTarget, signal: AbortSignal): Promise<string> {
    const { launch } = target;
    const { livenessPath, readinessPath } = launch.options.health;
    const paths = [...new Set([livenessPath, readinessPath])].filter((path) => path !== null);
    if (paths.length > 0 && launch.kind !== "stdio") {
      for (const path of paths) await get(target, path, signal);
      return paths.map((path) => `GET ${path}`).join(", ");
    }
    if (launch.kind === "stdio") {
      await callBridge(target, signal);
      return "mcp tools/list";
    }
    const url = urlAt(target.origin, mcpPathOf(launch));
    return probeMcp({ url, headers: target.headers, dispatcher: dispatcherOf(target), signal });
  }

  const check: Prober["check"] = async (target, signal) => {
    const { timeoutSeconds } = target.launch.options.health;
    const timeout = AbortSignal.timeout(timeoutSeconds * 1_000);
    const started = performance.now();
    const elapsed = () => Math.round((performance.now() - started) * 100) / 100;
    try {
      const kind = await call(target, AbortSignal.any([signal, timeout]));
      return { ok: true, kind, latencyMs: elapsed(), detail: null };
    } catch (error) {
      const detail = timeout.aborted ? `It did not answer within ${timeoutSeconds} s.` : describe(error);
      return { ok: false, kind: kindOf(target), latencyMs: elapsed(), detail };
    }
  };

  return {
    check,
    async greet(target, signal) {
      if (target.launch.kind !== "stdio") return check(target, signal);
      const started = performance.now();
      const failed = (detail: string, hopeless = false): ProbeResult => ({
        ok: false,
        kind: "bridge health",
        latencyMs: performance.now() - started,
        detail,
        hopeless,
      });
      try {
        const { statusCode, body } = await request(`${target.origin}/healthz`, {
          dispatcher: local,
          signal: AbortSignal.any([signal, AbortSignal.timeout(GREET_TIMEOUT_MS)]),
        });
        const answer = bridgeHealth.safeParse(parseJson(await readBounded(body)));
        if (statusCode === 200) return await check(target, signal);
        if (answer.data?.status === "failing") {
          const { error = "the server ended", words = "" } = await bridgeStatus(target, signal);
          return failed(sentence(words === "" ? error : `${error}: ${words}`), true);
        }
        return failed("It was started and has not answered yet.");
      } catch (error) {
        return failed(describe(error));
      }
    },
    async close() {
      await Promise.all([local.destroy(), remote.destroy()]);
    },
  };
}

function kindOf({ launch }: ProbeTarget): string {
  const { livenessPath, readinessPath } = launch.options.health;
  const path = readinessPath ?? livenessPath;
  return path !== null && launch.kind !== "stdio" ? `GET ${path}` : "mcp tools/list";
}

async function readBounded(body: Dispatcher.ResponseData["body"]): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  // undici's body yields Buffers unless an encoding was set on it.
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw new Error("Its answer is larger than 4 MiB.");
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

function describe(error: unknown): string {
  const refused = causesOf(error).find((cause) => cause instanceof PrivateAddressError);
  if (refused) return refused.message;
  const code = systemCodeOf(error);
  if (code === "ECONNREFUSED") return "Nothing listens on its port.";
  if (code === "ECONNRESET" || code === "UND_ERR_SOCKET") return "It closed the connection.";
  return sentence(messageOf(error));
}

/** The error and what led to it, bounded. */
function causesOf(error: unknown): unknown[] {
  const causes: unknown[] = [];
  for (let cause = error; cause instanceof Error && causes.length < 8; cause = cause.cause) causes.push(cause);
  return causes;
}

/** With a capital letter and a full stop. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const capital = trimmed.slice(0, 1).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}
