import { Agent, request as send } from "undici";
import { isPublic } from "@toolyard/service-kit";
import { parseJson } from "@toolyard/service-kit/json.ts";
import { EVENT_STREAM } from "../../formats/media-types.ts";
import { createEventParser } from "../../formats/event-stream.ts";
import { parseExactly } from "../../formats/exact-json.ts";
import { brokenStream, streamHeaders, type HttpSubscriber, type HttpSubscriberOptions } from "./http-subscription.ts";
import { variablesTextOf, type SubgraphRequest, type SubgraphResponse } from "./subgraph-client.ts";
import { parseSubgraphResponse } from "./subgraph-response.ts";

const MAX_REFUSAL_CHARACTERS = 1_048_576;

/**
 * Subscribes to a subgraph by server-sent events (graphql-sse's distinct connections mode, which Yoga and others speak as well): one
 * request for each stream, read no faster than its events are taken.
 */
export function createSseSubscriber(
  options: Pick<HttpSubscriberOptions, "name" | "url" | "headersFor" | "connectTimeoutMs"> & {
    /** How long the subgraph may take to begin its answer. */
    beginTimeoutMs?: number;
  },
): HttpSubscriber {
  const { name, url, headersFor, connectTimeoutMs, beginTimeoutMs = 30_000 } = options;
  const agent = new Agent({
    connect: { timeout: connectTimeoutMs },
    headersTimeout: beginTimeoutMs,
    // A silent stream is not a broken one.
    bodyTimeout: 0,
    // No limit: each stream keeps one.
    connections: null,
    pipelining: 1,
  });

  async function* read(request: SubgraphRequest): AsyncGenerator<SubgraphResponse> {
    const { query, context, signal } = request;
    const own = await headersFor(context);
    const { statusCode, headers, body } = await send(url, {
      method: "POST",
      dispatcher: agent,
      signal,
      headers: {
        "content-type": "application/json",
        accept: EVENT_STREAM,
        ...streamHeaders(context, own),
      },
      body: `{"query":${JSON.stringify(query)},"variables":${variablesTextOf(request)}}`,
    });
    if (statusCode !== 200 || !String(headers["content-type"]).toLowerCase().startsWith(EVENT_STREAM)) {
      const refusal = await beginningOf(body);
      yield refusalOf(name, statusCode, refusal);
      return;
    }
    request.onOpen?.();
    const parser = createEventParser();
    const decoder = new TextDecoder();
    for await (const chunk of body) {
      // Without an encoding, chunks are buffers.
      for (const { event, data } of parser.feed(decoder.decode(chunk as Buffer, { stream: true }))) {
        if (event === "complete") return;
        if (event !== "next") continue;
        const response = parseSubgraphResponse(parseJson(data, parseExactly));
        if (!response) throw brokenStream(name, "it sent something that is not a GraphQL response");
        yield response;
      }
    }
    throw brokenStream(name, "its connection closed");
  }

  return {
    async *subscribe(request) {
      try {
        yield* read(request);
      } catch (error) {
        if (request.signal.aborted) return;
        throw isPublic(error) ? error : brokenStream(name, "its connection broke", error);
      }
    },
    close: () => agent.destroy(),
  };
}

/** The beginning of a refusal's body: all of it, or too little to be JSON. */
async function beginningOf(body: AsyncIterable<unknown>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body) {
    // Without an encoding, chunks are buffers. Left early, the body is destroyed.
    text += decoder.decode(chunk as Buffer, { stream: true });
    if (text.length > MAX_REFUSAL_CHARACTERS) break;
  }
  return text;
}

/** The statuses with which a subgraph, or a proxy in front of it, says that it is unavailable just now. */
const PASSING_STATUSES: readonly number[] = [502, 503, 504];

/** A refusal is one response, with the subgraph's errors where it gives any. */
function refusalOf(name: string, status: number, body: string): SubgraphResponse {
  if (PASSING_STATUSES.includes(status)) throw brokenStream(name, `it answered HTTP ${status}`);
  const response = parseSubgraphResponse(parseJson(body, parseExactly));
  if (response?.errors) return response;
  throw brokenStream(name, `it answered HTTP ${status} without a stream`);
}
