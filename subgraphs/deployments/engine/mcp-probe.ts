import { readInterface, type InterfaceReading } from "@toolyard/bridge/interface.ts";
import type { Client, RequestOptions } from "@modelcontextprotocol/client";
import type { Dispatcher } from "undici";
import { isRedirect } from "@toolyard/proxy/legacy/transport.ts";
import { isTooNested } from "@toolyard/service-kit/json.ts";
import { collectBytes } from "@toolyard/service-kit/http/byte-collector.ts";
import { ownUrl, urlAt } from "@toolyard/service-kit/http/origin-path.ts";
import { z } from "zod";
import type { ProbeAnswer } from "./probe-answer.ts";
import type { Answer } from "./probe-failure.ts";

/** Each event of a stream costs the client far more than its bytes say. */
const MAX_STREAM_LINES = 10_000;
const NEWLINE = 0x0a;
const MAX_REDIRECTS = 3;
/** Characters of an answer that suffice to see what it is. */
const KEPT_CHARACTERS = 4_096;

export interface McpCallOptions {
  url: URL;
  /** Whether it is on another host. */
  remote: boolean;
  headers: Record<string, string>;
  dispatcher: Dispatcher;
  signal: AbortSignal;
  /** The limit for each answer; `tooSlow` makes the error of one that takes longer. */
  limitMs: number;
  tooSlow: (asked: string) => Error;
  maxBytes: number;
  tooLarge: () => Error;
  /** Why an answer is not an MCP server's; null: it looks like one. */
  explain: (answer: Answer) => Error | null;
}

type Talk<Result> = (client: Client, options: RequestOptions) => Promise<Result>;

/** Lists the server's tools where it has any. Answers the kind of call, and the tools it heard of. */
export function probeMcp(options: McpCallOptions): Promise<ProbeAnswer> {
  return callMcp(options, async (client, requestOptions) => {
    if (!client.getServerCapabilities()?.tools) return { kind: "mcp connect", tools: null };
    // All pages of it.
    const { tools } = await client.listTools(undefined, { ...requestOptions, cacheMode: "bypass" });
    return { kind: "mcp tools/list", tools: { names: tools.map(({ name }) => name), isWhole: true } };
  });
}

const anyResult = z.looseObject({});

/** What the server offers. */
export function readMcp(options: McpCallOptions): Promise<InterfaceReading> {
  return callMcp(options, (client, requestOptions) =>
    readInterface({
      capabilities: client.getServerCapabilities() ?? {},
      instructions: client.getInstructions(),
      async ask(method, params) {
        try {
          const result = await client.request({ method, params }, anyResult, requestOptions);
          const text = JSON.stringify(result);
          if (isTooNested(text)) throw new Error(`The result of ${method} has too many levels.`);
          return { result, bytes: text.length };
        } catch (error) {
          // The client throws the server's errors with their codes.
          const code = error instanceof Error && "code" in error && typeof error.code === "number" ? error.code : null;
          if (code === null) throw error;
          return { error: { code }, bytes: 0 };
        }
      },
    }),
  );
}

/**
 * Real MCP calls to a server on Streamable HTTP, in whichever protocol era it speaks: connects, talks, and ends the session. Throws when any
 * of it fails. Redirects are followed within the server, as the proxy follows them. Of all answers together, at most `maxBytes` are read,
 * decompressed: beyond that, the error of `tooLarge` is thrown.
 */
async function callMcp<Result>(options: McpCallOptions, talk: Talk<Result>): Promise<Result> {
  const { url, remote, headers, dispatcher, signal, limitMs, tooSlow, maxBytes, tooLarge, explain } = options;
  // Loaded when the first server of this sort is probed: most installations have none, and it takes long to load.
  const [{ Client, StreamableHTTPClientTransport }, undici] = await Promise.all([
    import("@modelcontextprotocol/client"),
    import("undici"),
  ]);
  // The client reads answers whole, however long.
  let bytes = 0;
  let lines = 0;
  const gaveUp = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  /** The answer to the newest request: the client words unreadable answers in its own way. */
  let last: Answer | null = null;

  const giveUp = (error: Error): Error => {
    if (!gaveUp.signal.aborted) gaveUp.abort(error);
    return gaveUp.signal.reason as Error;
  };
  const giveUpFor = (answer: Answer): void => {
    const why = explain(answer);
    if (why !== null) giveUp(why);
  };
  const counter = (isStream: boolean, answer: Answer | null) => {
    const decoder = new TextDecoder();
    return new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        bytes += chunk.byteLength;
        if (isStream) for (const byte of chunk) if (byte === NEWLINE) lines++;
        if (bytes > maxBytes || lines > MAX_STREAM_LINES) return controller.error(giveUp(tooLarge()));
        if (answer !== null && answer.text.length < KEPT_CHARACTERS)
          answer.text += decoder.decode(chunk.subarray(0, KEPT_CHARACTERS), { stream: true });
        controller.enqueue(chunk);
      },
      // The client would wait for an answer that will not come.
      flush: () => {
        if (isStream && answer !== null && !DATA.test(answer.text)) giveUpFor(answer);
      },
    });
  };
  const deadline = AbortSignal.any([signal, gaveUp.signal]);
  const transport = new StreamableHTTPClientTransport(url, {
    requestInit: { headers, redirect: "manual" },
    fetch: async (input, init) => {
      const asked = init?.method === "POST" ? methodOf(init.body) : null;
      if (asked !== null) {
        last = null;
        clearTimeout(timer);
        timer = setTimeout(() => giveUp(tooSlow(asked)), limitMs);
      }
      // undici's own fetch takes the dispatcher; its types and the global ones name the same things twice.
      const send = (to: string) =>
        undici.fetch(to, {
          ...init,
          dispatcher,
          redirect: "manual",
          signal: init?.signal ? AbortSignal.any([deadline, init.signal]) : deadline,
        } as unknown as Parameters<typeof undici.fetch>[1]);
      let response = await send(String(input));
      let isCircle = false;
      for (let hops = 0; isRedirect(response.status); hops += 1) {
        const to = ownUrl(response.headers.get("location") ?? "//", pathOf(response.url), { url: url.href, remote });
        if (to === null) break;
        isCircle = hops === MAX_REDIRECTS;
        if (isCircle) break;
        await response.body?.cancel();
        response = await send(urlAt(url.origin, to.pathname + to.search).href);
      }
      const { status, statusText, headers: answered } = response;
      const contentType = answered.get("content-type");
      const answer =
        asked === null ? null : { asked, status, contentType, location: answered.get("location"), isCircle, text: "" };
      if (answer !== null) last = answer;
      const isStream = contentType?.startsWith("text/event-stream") ?? false;
      const counted = response.body?.pipeThrough(counter(isStream, answer));
      // An answer that is not a stream is read to its end, to find out what it is.
      const body = counted === undefined || isStream ? counted : await collectBytes(counted, maxBytes, tooLarge);
      const isEmpty = body === undefined || (Buffer.isBuffer(body) && body.length === 0);
      if (isEmpty && answer !== null && response.ok) giveUpFor(answer);
      return new undici.Response(isEmpty ? null : body, {
        status,
        statusText,
        headers: answered,
      }) as unknown as Response;
    },
    reconnectionOptions: {
      maxRetries: 0,
      initialReconnectionDelay: 1,
      maxReconnectionDelay: 1,
      reconnectionDelayGrowFactor: 1,
    },
  });
  const client = new Client(
    { name: "toolyard-probe", version: "1" },
    { versionNegotiation: { mode: "auto", probe: { timeoutMs: limitMs + OVER_LIMIT_MS } } },
  );
  const requestOptions = { signal: deadline, timeout: limitMs + OVER_LIMIT_MS };
  const connectAndTalk = async (): Promise<Result> => {
    await client.connect(transport, requestOptions);
    return talk(client, requestOptions);
  };
  // The client does not always obey the signal, such as when it waits for an answer on a stream that ended.
  const ended = new Promise<never>((_, reject) => {
    deadline.addEventListener("abort", () => reject(deadline.reason as Error), { once: true });
  });
  try {
    return await Promise.race([connectAndTalk(), ended]);
  } catch (error) {
    const explained = last === null ? null : explain(last);
    if (gaveUp.signal.aborted) throw gaveUp.signal.reason;
    throw explained ?? error;
  } finally {
    clearTimeout(timer);
    // A server of the older era keeps a session for us until it is told to end it; a failure of that does not matter to the probe.
    await transport.terminateSession().catch(() => undefined);
    await client.close();
  }
}

/** Matches an event with content. */
const DATA = /^data:/m;
/** The client's own limits come after ours, which name the slow part. */
const OVER_LIMIT_MS = 5_000;

function pathOf(href: string): string {
  const { pathname, search } = new URL(href);
  return pathname + search;
}

/** The method of a request; null for other messages. The client sends one message at a time. */
function methodOf(body: unknown): string | null {
  if (typeof body !== "string") return null;
  const message: unknown = JSON.parse(body);
  if (typeof message !== "object" || message === null || !("id" in message) || !("method" in message)) return null;
  return String(message.method);
}
