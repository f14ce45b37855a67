import { createEventFeeds } from "../../events/event-feed.ts";
import { createEventSockets } from "../../events/event-sockets.ts";
import { HttpRefusal } from "../problem.ts";
import type { RouteModule } from "../route.ts";
import { createStreamEntrance } from "../stream-entrance.ts";

const IDLE_MS = 30_000;

/** The events of `GET /events` over WebSockets (docs/streams.md). */
const ws: RouteModule = (app, context) => {
  const { contextOf, onRevoked, logger, stalledMs = 60_000 } = context;
  const sockets = createEventSockets({
    ...createStreamEntrance(context),
    feeds: createEventFeeds(context),
    contextOf,
    stalledMs,
    idleMs: IDLE_MS,
    logger,
  });
  const stopListening = onRevoked((isConcerned) =>
    sockets.endWhere(isConcerned, "The credential was revoked: log in again"),
  );
  app.addHook("preClose", async () => {
    stopListening();
    await sockets.close(2_000);
  });

  app.direct({
    url: "/ws",
    methods: ["GET", "HEAD"],
    handle({ headers }) {
      headers["upgrade"] = "websocket";
      throw new HttpRefusal(426, "This is a WebSocket's address: connect with one, or read GET /events.");
    },
    upgrade: sockets.handleUpgrade,
  });
};
export default ws;
