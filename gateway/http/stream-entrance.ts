import type { IncomingMessage } from "node:http";
import { TICKET_PREFIX } from "@toolyard/identity-client/authenticator.ts";
import { ToolyardError, type Caller } from "@toolyard/service-kit";
import { createCallerLimits, noCallerLimits } from "../admission/caller-limits.ts";
import type { GatewayContext } from "../admission/operation-gate.ts";
import { pathOf } from "./direct-routes.ts";
import type { RouteContext } from "./route.ts";

/** Who may open streams of events, and how many. */
export interface StreamEntrance {
  /**
   * The caller of a stream: by its header or, since browsers' EventSource and WebSocket send none, by `?ticket=`.
   * @throws ToolyardError UNAUTHENTICATED
   */
  authenticate(request: IncomingMessage): Promise<Caller>;
  /**
   * Counts a stream.
   * @returns the end of it
   * @throws ToolyardError RATE_LIMITED, CAPACITY_EXHAUSTED
   */
  enter(context: GatewayContext): () => void;
}

/** Streams of one route, of all callers together. */
const MAX_STREAMS = 10_000;
const FULL_RETRY_SECONDS = 10;

export function createStreamEntrance({
  authenticate,
  config,
}: Pick<RouteContext, "authenticate" | "config">): StreamEntrance {
  const { caller: limit } = config.protection;
  const limits = limit ? createCallerLimits(limit) : noCallerLimits;
  let open = 0;

  return {
    async authenticate(request) {
      const { url = "", headers } = request;
      const ticket =
        headers.authorization === undefined ? new URLSearchParams(url.slice(pathOf(url).length)).get("ticket") : null;
      // Addresses end up in logs and histories: only what is good once for a minute may be in one.
      if (ticket !== null && !ticket.startsWith(TICKET_PREFIX))
        throw new ToolyardError(
          "UNAUTHENTICATED",
          "?ticket= takes what POST /api/v1/auth/ticket gives. Send other credentials in a header: addresses are logged.",
        );
      const caller = await authenticate(request, ticket === null ? {} : { authorization: `Bearer ${ticket}` });
      if (caller.kind !== "anonymous") return caller;
      const message = "Send an access token or an API key as Authorization: Bearer …, or ?ticket= from a browser.";
      throw new ToolyardError("UNAUTHENTICATED", message);
    },
    enter(context) {
      if (open >= MAX_STREAMS)
        throw new ToolyardError("CAPACITY_EXHAUSTED", "Too many streams are open. Try again later.", {
          retryAfterSeconds: FULL_RETRY_SECONDS,
        });
      const leave = limits.enter("subscription", context);
      open++;
      return () => {
        open--;
        leave();
      };
    },
  };
}
