import type { ServerResponse } from "node:http";
import type { Dispatcher } from "undici";
import { endEvents, STALLED_CLIENT_MS, type Refusal } from "./answer.ts";
import { filterFor, isEncoded, isEventStream, outcomeOf, type AnswerHeaders } from "./answer-filters.ts";
import type { OutcomeWatch } from "../mcp/answer-outcome.ts";
import { readClient } from "../mcp/client-info.ts";
import { mcpIdOf } from "../mcp/mcp-refusal.ts";
import type { BusyReplicas } from "../routing/busy-replicas.ts";
import type { Call } from "./call.ts";
import { pathOf } from "./call-path.ts";
import { createEndpointFilter, withStreamId } from "../mcp/endpoint-event.ts";
import { forwardedHeaders } from "./forwarded-headers.ts";
import { answerNotHeld, broken, compressedStream, malformed, notFollowed, notLetIn, tooSlow } from "./refusals.ts";
import type { Replica } from "../routing/replica.ts";
import { referencesOf, type References } from "../mcp/references.ts";
import { passReferringHeaders, passResponseHeaders } from "./request-head.ts";
import type { AnswerFilter } from "../mcp/round-trips.ts";
import type { SharedBudget } from "./budget.ts";
import { isRedirect, knowsTransport } from "../legacy/transport.ts";
import { isOfRequest, isTimeout } from "./replica-errors.ts";
import {
  isOtherName,
  isOtherSlash,
  isUncertain,
  NO_TRAIL,
  streamPathsOf,
  targetOf,
  type Place,
  type Trail,
  type UpstreamTarget,
} from "./upstream-target.ts";
import type { DeploymentRoute, Routes } from "../routing/routes.ts";

/** Sends a call to one replica, once, and its answer back. */
export type Exchange = (call: Call, place: Place, target: UpstreamTarget, trail: Trail) => void;

const SMALL_ANSWER_BYTES = 16 * 1024;
/** The most redirects followed within a replica. */
const MAX_HOPS = 3;
/** Bytes read of an answer that may not be the caller's. */
const MAX_ASIDE_BYTES = 64 * 1024;

export function createExchange(options: {
  routes: Pick<Routes, "sessionIds" | "requestStates">;
  refuse: (call: Call, refusal: Refusal) => void;
  held: SharedBudget;
  isDraining: () => boolean;
  busy: BusyReplicas;
  now: () => number;
  /** Tells of a failed call. */
  warn: (call: Call, replica: Replica, status: number, error: Error) => void;
  /** Goes on with what is found out, unless the call has ended. */
  goOn: <Result>(call: Call, found: Promise<Result> | undefined, next: (found: Result | undefined) => void) => void;
  /** Sends it to the same replica in another way. */
  sendAgain: (call: Call, place: Place, trail: Trail) => void;
  /** Nothing of the call has reached the replica. */
  neverSent: (call: Call, place: Place, error: Error) => void;
}): Exchange {
  const { routes, refuse, held, isDraining, busy, now, warn, goOn, sendAgain, neverSent } = options;

  function send(
    call: Call,
    place: Place,
    { dispatcher, path: asked, headers: own, isForeign }: UpstreamTarget,
    trail: Trail,
  ): void {
    const { deployment, replica } = place;
    const { request, response, path, head, body, atMcp: isMcp } = call;
    /** The target of a redirect within the replica. */
    let movedTo: string | null = null;
    /** Whether an answer may show that the server speaks HTTP+SSE, and that answer, which is the caller's if it does not show it. */
    let isUnsure =
      isForeign &&
      call.message === null &&
      !trail.isLegacyKnown &&
      (isMcp || isOtherName(path.path, replica, deployment));
    let heldAnswer: HeldAnswer | null = null;
    let passed = 0;
    const timeoutMs = deployment.options.timeoutSeconds * 1000;
    const headers = forwardedHeaders(call, replica, own);
    if (head.contentLength !== undefined && body.content !== null && !Buffer.isBuffer(body.content)) {
      headers.push("content-length", String(head.contentLength));
    }
    let begun = false;
    let left = Infinity;
    let isOfEvents = false;
    let filter: AnswerFilter | null = null;
    let outcome: OutcomeWatch | null = null;
    /** The head of an answer whose length is known only at its end. */
    let waitingHead: string[] | null = null;
    let stalled: NodeJS.Timeout | undefined;
    replica.outstanding += 1;
    if (!call.isStream) replica.owed += 1;
    deployment.demand?.uses(replica);
    const owes = isForeign && !call.isStream;
    if (owes) busy.began(replica, timeoutMs);

    function sendOn(to: string): void {
      if (!call.gone) sendAgain(call, place, { ...trail, movedTo: to, hops: trail.hops + 1 });
    }

    function finish(): void {
      if (response.writableEnded) {
        filter?.drop();
        return;
      }
      const rest = filter?.end() ?? null;
      if (waitingHead !== null && !response.headersSent)
        response.writeHead(call.status, [...waitingHead, "content-length", String(rest?.length ?? 0)]);
      if (rest === null) response.end();
      else endWith(response, rest);
    }

    /** Ends an answer that has begun: a stream of events with the reason, anything else can only be cut off. */
    function breakOff(refusal: Refusal): void {
      if (isOfEvents && outcome !== null && left === Infinity) endEvents(call, refusal, mcpIdOf(call) ?? "null");
      else response.destroy();
    }

    function giveHeld({ status, received, chunks }: HeldAnswer, controller: Dispatcher.DispatchController): void {
      heldAnswer = null;
      handler.onResponseStart(controller, status, received);
      for (const chunk of chunks) handler.onResponseData(controller, chunk);
    }

    /** Whether the server must be addressed in another way, according to its answer. */
    function decide(answer: HeldAnswer): void {
      const isKnown = knowsTransport(Buffer.concat(answer.chunks).toString("latin1"));
      const detected = isKnown ? undefined : replica.legacy?.detect(streamPathsOf(replica, deployment, answer.status));
      goOn(call, detected, (isLegacy) => {
        if (isLegacy !== true) {
          giveHeld(answer, ENDED);
          return finish();
        }
        sendAgain(call, place, { ...NO_TRAIL, isLegacyKnown: true });
      });
    }

    const handler: Dispatcher.DispatchHandler &
      Required<Pick<Dispatcher.DispatchHandler, "onResponseStart" | "onResponseData">> = {
      onRequestStart(controller) {
        begun = true;
        call.controller = controller;
        if (call.gone || call.refused) controller.abort(new Error("Nobody waits for the answer."));
      },
      onResponseStart(controller, status, received) {
        if (owes) busy.heard(replica);
        if (status < 200 || response.headersSent) return;
        const references = () =>
          referencesOf({
            path: call.path,
            host: call.head.host,
            deployment,
            replica,
            asked,
            site: call.entrance.site,
          });
        if (isMcp && isRedirect(status)) {
          const to = references().atReplica(String(received.location));
          if (to === null || trail.hops >= MAX_HOPS) {
            refuse(call, notFollowed(to === null ? "elsewhere" : "circle"));
            return controller.abort(new Error("The redirect is not followed."));
          }
          // Another place may be this caller's alone.
          if (path.query === "" && isOtherSlash(to, asked)) replica.movedTo = to;
          if (body.content === null || Buffer.isBuffer(body.content)) {
            movedTo = to;
            return;
          }
        }
        if (isUnsure && isUncertain(call, status)) {
          isUnsure = false;
          heldAnswer = { status, received, chunks: [] };
          return;
        }
        if (isForeign && request.method === "GET" && isEventStream(received) && isEncoded(received)) {
          refuse(call, compressedStream());
          return controller.abort(new Error("The stream cannot be read."));
        }
        if (isForeign && isMcp && status === 401) {
          refuse(call, notLetIn());
          return controller.abort(new Error("The server does not let the launch in."));
        }
        if (isMcp && status === 404) replica.movedTo = null;
        call.status = status;
        const answer = ["x-request-id", call.requestId];
        passResponseHeaders(received, answer);
        // nginx and similar proxies buffer streamed answers unless told not to.
        if (isEventStream(received) && received["x-accel-buffering"] === undefined)
          answer.push("x-accel-buffering", "no");
        if (isForeign) passReferringHeaders(received, answer, references);
        filter = filterFor(call, replica, { status, headers: received }, { states: routes.requestStates(), held });
        if (isForeign && request.method === "GET" && status === 200 && isEventStream(received)) {
          response.once("close", () => replica.messagePaths.forget(response));
          filter = createEndpointFilter((endpoint) =>
            endpointAtRoute(call, deployment, replica, endpoint, references()),
          );
        }
        call.outcome = outcome = outcomeOf(call, received);
        isOfEvents = isEventStream(received);
        const ownId = received["mcp-session-id"];
        if (typeof ownId === "string") answer.push("mcp-session-id", sessionIdFor(call, replica, ownId));
        if (call.corsHeaders.length > 0) answer.push(...call.corsHeaders);
        if (isDraining()) answer.push("connection", "close");
        const length = received["content-length"];
        if (filter !== null) {
          dropHeader(answer, "content-length");
          if (!isEventStream(received)) {
            waitingHead = answer;
            return;
          }
        }
        response.writeHead(status, answer);
        if (filter === null && typeof length === "string") left = Number(length);
        // Bytes of one packet go out in one; a stream's head does not wait for its first event.
        else process.nextTick(flushHead, response);
      },
      onResponseData(controller, received) {
        if (owes) busy.heard(replica);
        if (movedTo !== null) {
          // Of a redirect only the head counts.
          passed += received.length;
          if (passed > MAX_ASIDE_BYTES) controller.abort(new Error("The redirect's body is not read on."));
          return;
        }
        if (heldAnswer !== null) {
          passed += received.length;
          heldAnswer.chunks.push(received);
          if (passed > MAX_ASIDE_BYTES) giveHeld(heldAnswer, controller);
          return;
        }
        outcome?.see(received);
        const chunk = filter === null ? received : filter.push(received);
        if (chunk === null) return;
        if (chunk === "no room") {
          if (response.headersSent) breakOff(answerNotHeld());
          else refuse(call, answerNotHeld());
          call.refused = true;
          return controller.abort(new Error("There is no room for the answer."));
        }
        if (waitingHead !== null) {
          response.writeHead(call.status, waitingHead);
          waitingHead = null;
        }
        left -= chunk.length;
        if (left === 0) return endWith(response, chunk);
        if (response.write(chunk)) return;
        controller.pause();
        stalled = setTimeout(() => response.destroy(), STALLED_CLIENT_MS).unref();
        response.once("drain", () => {
          clearTimeout(stalled);
          controller.resume();
        });
      },
      onResponseEnd() {
        replica.outstanding -= 1;
        if (!call.isStream) replica.owed -= 1;
        if (owes) busy.ended(replica, true);
        call.controller = null;
        clearTimeout(stalled);
        replica.health.succeeded(now());
        if (movedTo !== null) return sendOn(movedTo);
        if (heldAnswer !== null) return decide(heldAnswer);
        finish();
      },
      onResponseError(_controller, error) {
        replica.outstanding -= 1;
        if (!call.isStream) replica.owed -= 1;
        if (owes) busy.ended(replica, !begun || !(call.gone || isTimeout(error)));
        call.controller = null;
        clearTimeout(stalled);
        filter?.drop();
        if (call.gone || call.refused || response.writableEnded) return;
        if (movedTo !== null) return sendOn(movedTo);
        if (isOfRequest(error)) return refuse(call, malformed());
        if (!begun) return neverSent(call, place, error);
        const timedOut = isTimeout(error);
        // Slow is not broken: only connections that end in the middle speak against a replica.
        if (!timedOut) replica.health.failed(now());
        call.status = timedOut ? 504 : 502;
        warn(call, replica, call.status, error);
        const refusal = timedOut ? tooSlow(deployment.options.timeoutSeconds) : broken();
        if (!response.headersSent) return refuse(call, refusal);
        // A bridge's sessions end with it; the rest of another's answer may be asked for.
        const isOver = outcome?.isResumable !== true || !(timedOut || isForeign);
        const isOwed = outcome !== null && !outcome.answered && outcome.failure === null;
        if (isOver && isOwed) breakOff(refusal);
        else response.destroy();
      },
    };
    dispatcher.dispatch(
      {
        path: asked,
        // Node's parser lets no other pass.
        method: (request.method ?? "GET") as Dispatcher.HttpMethod,
        headers,
        body: body.content,
        headersTimeout: timeoutMs,
        bodyTimeout: call.isStream ? 0 : timeoutMs,
      },
      handler,
    );
  }

  /** The URL to which the caller of a stream posts its messages. */
  function endpointAtRoute(
    call: Call,
    deployment: DeploymentRoute,
    replica: Replica,
    endpoint: string,
    references: References,
  ): string {
    const ownId = references.atReplica(endpoint);
    // No credentials are sent elsewhere: posted messages come back here, and are refused.
    if (ownId === null) return references.atAnyPath(call.path.path);
    replica.messagePaths.name(call.response, pathOf(ownId));
    if (call.atMcp && call.path.query === "") replica.legacy?.learn(targetOf(replica, deployment, call.path));
    const signed = routes.sessionIds()?.sign({ replicaId: replica.id, ownId }, call.caller?.subject ?? "") ?? "";
    return withStreamId(references.atAnyPath(ownId), signed);
  }

  function sessionIdFor(call: Call, replica: Replica, ownId: string): string {
    const { session, head } = call;
    if (session?.ownId === ownId && head.sessionId !== undefined) return head.sessionId;
    const client = readClient(call.body, true);
    const place = { replicaId: replica.id, ownId, ...(client && { client }) };
    return routes.sessionIds()?.sign(place, call.caller?.subject ?? "") ?? "";
  }

  return send;
}

interface HeldAnswer {
  status: number;
  received: AnswerHeaders;
  chunks: Buffer[];
}

/** The controller of an answer that has come whole. */
const ENDED = { pause: () => undefined, resume: () => undefined } as unknown as Dispatcher.DispatchController;

function endWith(response: ServerResponse, chunk: Buffer): void {
  // As text of one byte a character it goes out together with the head, in one write.
  if (chunk.length <= SMALL_ANSWER_BYTES) response.end(chunk.toString("latin1"), "latin1");
  else response.end(chunk);
}

function dropHeader(pairs: string[], name: string): void {
  for (let i = pairs.length - 2; i >= 0; i -= 2) if (pairs[i] === name) pairs.splice(i, 2);
}

function flushHead(response: ServerResponse): void {
  if (!response.writableEnded && !response.destroyed) response.flushHeaders();
}
