import { ToolyardError, isPublic, problemDetails, type Caller } from "@toolyard/service-kit";
import { quotaHeaders } from "../../admission/quotas.ts";
import { createEventFeeds, type EventEnvelope, type EventFeed } from "../../events/event-feed.ts";
import { readSearch } from "../../events/event-request.ts";
import { EVENT_STREAM_BEAT, printEvent } from "../../formats/event-stream.ts";
import { EVENT_STREAM } from "../../formats/media-types.ts";
import { createOpenStreams, type StreamEnd } from "../../subscriptions/open-streams.ts";
import { openResponseStream, type ResponseStream } from "../../subscriptions/response-stream.ts";
import type { RouteExchange } from "../direct-routes.ts";
import type { RouteModule } from "../route.ts";
import { createStreamEntrance } from "../stream-entrance.ts";

const HEARTBEAT_MS = 12_000;
/** After how long clients connect again: all of them at once would keep the next process busy. */
const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 3_000;

/** What happens to deployments, tasks and tools, as server-sent events (docs/streams.md). */
const events: RouteModule = (app, context) => {
  const { contextOf, onRevoked, logger, stalledMs = 60_000 } = context;
  const feeds = createEventFeeds(context);
  const { authenticate, enter } = createStreamEntrance(context);
  const streams = createOpenStreams({ heartbeatMs: HEARTBEAT_MS });
  const stopListening = onRevoked((isConcerned) =>
    streams.endWhere(isConcerned, "The credential was revoked: log in again"),
  );
  app.addHook("preClose", async () => {
    stopListening();
    await streams.close(2_000);
  });

  async function handle(exchange: RouteExchange): Promise<void> {
    const { request, requestId, path, gone } = exchange;
    const caller = await authenticate(request);
    exchange.caller = caller;
    const lastEventId = request.headers["last-event-id"];
    const asked = readSearch(
      new URLSearchParams((request.url ?? "").slice(path.length)),
      typeof lastEventId === "string" ? lastEventId : undefined,
    );
    exchange.describe = () => ({ topics: asked.topics.join() });
    const operation = contextOf(caller, request, requestId);
    gone.signal.addEventListener("abort", enter(operation), { once: true });
    await send(exchange, caller, () =>
      feeds
        .open(asked, operation, gone.signal)
        .finally(() => void Object.assign(exchange.headers, quotaHeaders(operation))),
    );
  }

  async function send(exchange: RouteExchange, caller: Caller, open: () => Promise<EventFeed>): Promise<void> {
    const { requestId } = exchange;
    const state = {
      feed: null as EventFeed | null,
      stream: null as ResponseStream | null,
      why: null as StreamEnd | null,
    };
    // Before the first wait: a credential that is revoked meanwhile ends the stream, too.
    const release = streams.open(caller, {
      end(reason) {
        state.why = reason;
        state.feed?.stop();
      },
      beat: () => state.stream?.beat(EVENT_STREAM_BEAT),
      breakOff: () => exchange.response.destroy(),
    });
    try {
      const feed = (state.feed = await open());
      const stream = (state.stream = openResponseStream(exchange, {
        headers: { "content-type": `${EVENT_STREAM}; charset=utf-8` },
        stalledMs,
      }));
      stream.closed.addEventListener("abort", feed.stop, { once: true });
      if (state.why || stream.closed.aborted) feed.stop();
      if (exchange.request.method === "HEAD") {
        feed.stop();
        stream.end();
        return;
      }
      await run(feed, stream, requestId, () => state.why);
    } finally {
      release();
    }
  }

  async function run(
    feed: EventFeed,
    stream: ResponseStream,
    requestId: string,
    whyEnded: () => StreamEnd | null,
  ): Promise<void> {
    const envelope = (type: "subscribed" | "error", data: object): string =>
      printed({ id: feed.id, type, at: new Date().toISOString(), data });
    try {
      await stream.write(reconnection() + envelope("subscribed", { topics: feed.topics }));
      await feed.run(async (event) => void (await stream.write(printed(event))));
      const why = whyEnded();
      if (why?.code === "UNAUTHENTICATED") throw new ToolyardError(why.code, `${why.message}.`);
      stream.end(reconnection());
    } catch (error) {
      if (!isPublic(error)) logger.error({ err: error, request_id: requestId }, "a stream of events failed");
      const problem = problemDetails(error, requestId);
      stream.end(reconnection(problem.retry_after_seconds) + envelope("error", problem));
    }
  }

  app.direct({ url: "/events", methods: ["GET", "HEAD"], handle });
};
export default events;
export { describeEvents as openApi } from "../../events/event-openapi.ts";

/** Without an event's name, so that EventSource's `onmessage` gets all. */
function printed(envelope: EventEnvelope): string {
  return printEvent({ event: "message", data: JSON.stringify(envelope), id: envelope.id ?? undefined });
}

/** Tells the client after how long to connect again, unless it is told otherwise. */
function reconnection(seconds?: number): string {
  const retryMs =
    seconds === undefined ? MIN_RETRY_MS + Math.random() * (MAX_RETRY_MS - MIN_RETRY_MS) : seconds * 1_000;
  return `retry: ${Math.round(retryMs)}\n\n`;
}
