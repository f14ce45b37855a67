import { readInterface, type InterfaceReading } from "@toolyard/bridge/interface.ts";
import { postMessage, readEventStream, StreamError, type StreamServer } from "@toolyard/proxy/legacy/event-stream.ts";
import { z } from "zod";
import { parseJson } from "@toolyard/service-kit/json.ts";
import type { ProbeAnswer } from "./probe-answer.ts";
import { ProbeError, said } from "./probe-failure.ts";

/** The number of events that a server of this transport may send besides its answers. */
const MAX_EVENTS = 10_000;

const answerOf = z.object({
  id: z.number(),
  result: z
    .looseObject({
      capabilities: z.record(z.string(), z.unknown()).optional(),
      tools: z
        .array(z.looseObject({ name: z.string() }))
        .optional()
        .catch(undefined),
      nextCursor: z.unknown().optional(),
    })
    .optional(),
  error: z.object({ code: z.number().catch(0), message: z.string() }).optional(),
});
type Answer = z.output<typeof answerOf>;

export interface StreamCallOptions {
  server: StreamServer;
  path: string;
  signal: AbortSignal;
  /** The limit for each answer; `tooSlow` makes the error of one that takes longer. */
  limitMs: number;
  tooSlow: (asked: string) => Error;
  maxBytes: number;
  tooLarge: () => Error;
}

type Ask = (method: string, params: Record<string, unknown>) => Promise<Answer>;
type Talk<Result> = (opened: NonNullable<Answer["result"]>, ask: Ask) => Promise<Result>;

/** Lists the server's tools where it has any. Answers the kind of call. */
export function probeStream(options: StreamCallOptions): Promise<ProbeAnswer | null> {
  return callStream(options, async ({ capabilities }, ask) => {
    if (capabilities?.["tools"] === undefined) return { kind: "mcp connect", tools: null };
    const list = resultOf("tools/list", await ask("tools/list", {}));
    const names = list?.tools?.map(({ name }) => name);
    return {
      kind: "mcp tools/list",
      tools: names === undefined ? null : { names, isWhole: list?.nextCursor === undefined },
    };
  });
}

/** What the server offers. */
export function readStream(options: StreamCallOptions): Promise<InterfaceReading | null> {
  return callStream(options, ({ capabilities = {}, instructions }, ask) =>
    readInterface({
      capabilities,
      instructions,
      async ask(method, params) {
        const { result, error } = await ask(method, params);
        return { result, error, bytes: JSON.stringify(result ?? null).length };
      },
    }),
  );
}

/**
 * Real MCP calls to a server of HTTP+SSE (2024-11-05) on a stream of its own: connects and talks. Null when there is no such stream. Throws
 * when a call on the stream fails.
 */
async function callStream<Result>(options: StreamCallOptions, talk: Talk<Result>): Promise<Result | null> {
  const { server, path, signal, limitMs, tooSlow, maxBytes, tooLarge } = options;
  const done = new AbortController();
  const ends = AbortSignal.any([signal, done.signal]);
  const endpoint = Promise.withResolvers<string>();
  const waiting = new Map<number, PromiseWithResolvers<Answer>>();
  let isOpen = false;
  let read = 0;
  let seen = 0;
  const stream = readEventStream(server, {
    path,
    headers: [],
    maxEventBytes: maxBytes,
    signal: ends,
    onEndpoint(found) {
      isOpen = true;
      endpoint.resolve(found);
    },
    onMessage(data) {
      const answer = answerOf.safeParse(parseJson(data));
      if (answer.success) waiting.get(answer.data.id)?.resolve(answer.data);
      return 1;
    },
    // Counts everything: comments and events that are not for clients are work, too.
    onRead({ bytes, events }) {
      read += bytes;
      seen += events;
      if (read > maxBytes || seen > MAX_EVENTS) throw tooLarge();
      return undefined;
    },
  });

  async function inTime<Result>(asked: string, work: Promise<Result>): Promise<Result> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(tooSlow(asked)), limitMs);
    try {
      return await Promise.race([work, stream, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async function say(text: string): Promise<void> {
    await postMessage(server, { path: await endpoint.promise, headers: [], text, signal: ends });
  }

  const ask: Ask = async (method, params) => {
    const id = waiting.size + 1;
    const answer = Promise.withResolvers<Answer>();
    waiting.set(id, answer);
    await inTime(method, say(JSON.stringify({ jsonrpc: "2.0", id, method, params })));
    return inTime(method, answer.promise);
  };

  try {
    await inTime("its event stream", endpoint.promise);
    const clientInfo = { name: "toolyard-probe", version: "1" };
    const params = { protocolVersion: "2024-11-05", capabilities: {}, clientInfo };
    const opened = resultOf("initialize", await ask("initialize", params));
    await inTime("notifications/initialized", say('{"jsonrpc":"2.0","method":"notifications/initialized"}'));
    return await talk(opened ?? {}, ask);
  } catch (error) {
    if (isOpen || signal.aborted || (error instanceof StreamError && error.isAnswered)) throw error;
    return null;
  } finally {
    done.abort();
    // Pending waits have reported its end.
    await stream.catch(() => undefined);
  }
}

function resultOf(method: string, { result, error }: Answer): Answer["result"] {
  if (error === undefined) return result;
  throw new ProbeError({ reason: `It answered ${method} with an error.`, words: said(error.message) });
}
