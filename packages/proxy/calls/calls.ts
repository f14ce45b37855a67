import { wholeSeconds, type TokenBuckets } from "@toolyard/rate-limits";
import type { IncomingMessage, ServerResponse } from "node:http";
import { ToolyardError, type Caller, type Logger } from "@toolyard/service-kit";
import { noRequestLog, type RequestLog } from "@toolyard/service-kit/http/request-log.ts";
import { answerJsonRpc, refuse, type Refusal } from "./answer.ts";
import { createAttempts } from "./attempt.ts";
import type { Entrance } from "../entrance.ts";
import type { Offers } from "../control-plane/offers.ts";
import type { BusyReplicas } from "../routing/busy-replicas.ts";
import type { Call } from "./call.ts";
import { createBodyReader } from "./body-reader.ts";
import { createCallList } from "./call-list.ts";
import { logCall } from "./call-log.ts";
import { isMcpEndpoint, type CallPath } from "./call-path.ts";
import { createListedTools } from "../mcp/listed-tools.ts";
import { readMcpCall } from "../mcp/mcp-call.ts";
import { mcpIdOf } from "../mcp/mcp-refusal.ts";
import type { ProxyMetrics } from "../metrics.ts";
import { SMALL_BODY_BYTES, noBody, readWholeBody, wholeBody, type RequestBody } from "./request-body.ts";
import type { NewerRoutes } from "./newer-routes.ts";
import type { RequestHead } from "./request-head.ts";
import { STREAM_PARAMETER, streamIdOf } from "../mcp/endpoint-event.ts";
import {
  allBusy,
  expired,
  INVALID_STATE_CODE,
  invalidState,
  maybeOlder,
  noStream,
  notShared,
  sessionLost,
  tooManyCalls,
  unknownRoute,
  type StateProblem,
} from "./refusals.ts";
import { createSharedBudget } from "./budget.ts";
import { openState, statefulCallOf } from "../mcp/round-trips.ts";
import { findReplica, type RouteGroup, type Routes } from "../routing/routes.ts";
import type { CallTracing } from "../tracing/call-tracing.ts";
import { callerOf } from "../usage/usage-caller.ts";
import type { SessionPlace } from "../mcp/session-id.ts";
import type { UsageJournal } from "../usage/usage-journal.ts";

export interface CallsOptions {
  busy: BusyReplicas;
  offers: Offers;
  routes: Routes;
  newerRoutes: NewerRoutes;
  /** The caller by the Authorization header: at once when the credential is known. */
  authenticate: (authorization: string | undefined) => Caller | Promise<Caller>;
  /** Whether the caller may call this tool: see `SharedAccess`. */
  mayInvoke: (caller: Caller, toolId: string) => boolean | Promise<boolean>;
  /** Null: no bound. */
  callerLimit: TokenBuckets | null;
  toolLimit: TokenBuckets | null;
  usage: Pick<UsageJournal, "record">;
  metrics: () => ProxyMetrics;
  /** Null: calls are not recorded as spans. */
  tracing?: CallTracing | null;
  /** WWW-Authenticate of a 401. */
  challenge: (head: RequestHead, error: ToolyardError) => string;
  logger: Logger;
  requestLog?: RequestLog;
  now?: () => number;
}

/** Every call of a tool, from its arrival to its usage record. */
export interface Calls {
  handle(
    request: IncomingMessage,
    response: ServerResponse,
    head: RequestHead,
    path: CallPath,
    answer: { entrance: Entrance; requestId: string; traceparent: string; corsHeaders: readonly string[] },
  ): void;
  active(): number;
  streams(): number;
  /** From now on, answers close their connections. */
  drain(): void;
  /** Ends long-lived streams of these callers. */
  endStreams(isConcerned: (caller: Caller) => boolean): void;
  /** Ends the calls of those who may not call their tool any more, also those that may yet become streams. */
  endLost(hasLost: (caller: Caller, toolId: string) => boolean): void;
  /** Ends everything. */
  abortAll(): void;
  /** Resolves when only long-lived streams are under way; false after `ms`. */
  settled(ms: number): Promise<boolean>;
}

/** Bytes of bodies and answers that must be whole before they go on. */
const MAX_HELD_BYTES = 128 * 1024 * 1024;
/** How long a refusal waits for a small body that has not come yet. */
const ID_WAIT_MS = 1_000;
/** nginx's word for a client that went away before its answer. */
const CLIENT_CLOSED_REQUEST = 499;
/** The longest delay of a timer. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function createCalls(options: CallsOptions): Calls {
  const {
    routes,
    newerRoutes,
    authenticate,
    mayInvoke,
    callerLimit,
    toolLimit,
    usage,
    metrics,
    tracing = null,
    challenge,
    offers,
    busy,
    logger,
    requestLog = noRequestLog,
    now = Date.now,
  } = options;
  const running = createCallList<Call>();
  let streamCount = 0;
  let draining = false;
  let whenSettled: (() => void) | null = null;
  const held = createSharedBudget(MAX_HELD_BYTES);
  const readBody = createBodyReader({ held, refuse: refuseCall });
  const listed = createListedTools();
  const attempts = createAttempts({
    routes,
    refuse: refuseCall,
    refuseState,
    newerRoutes,
    offers,
    held,
    isDraining: () => draining,
    busy,
    logger,
    now,
  });

  function refuseCall(call: Call, refusal: Refusal): void {
    if (call.refused || call.response.headersSent || call.response.destroyed) return;
    call.refused = true;
    call.body.stop();
    const { head, request } = call;
    const answer = (): void => {
      if (call.response.headersSent || call.response.destroyed) return;
      call.status = refuse(request, call.response, refusal, {
        requestId: call.requestId,
        headers: draining ? [...call.corsHeaders, "connection", "close"] : call.corsHeaders,
        unreadBody: !request.complete && (head.chunked || (head.contentLength ?? 0) > SMALL_BODY_BYTES),
        mcpId: mcpIdOf(call),
      });
    };
    // A small body that was not read yet has the id that an MCP client waits for an answer to.
    const length = head.contentLength ?? 0;
    const isUnread = call.body.content === null && !request.readableEnded && !head.chunked;
    if (request.method !== "POST" || !isUnread || length === 0 || length > SMALL_BODY_BYTES) return answer();
    const proceed = (body: RequestBody): void => {
      clearTimeout(timer);
      stop();
      call.body = body;
      answer();
    };
    const stop = readWholeBody(request, proceed, { maxBytes: SMALL_BODY_BYTES, onTooLarge: () => proceed(noBody()) });
    const timer = setTimeout(proceed, ID_WAIT_MS, noBody());
    call.response.once("close", () => clearTimeout(timer));
  }

  function refuseCaller(call: Call, error: unknown): void {
    if (!(error instanceof ToolyardError)) {
      logger.error({ err: error, request_id: call.requestId }, "a credential could not be checked");
      return refuseCall(call, { error: new ToolyardError("INTERNAL_SERVER_ERROR", "", { cause: error }) });
    }
    const isUnknown = error.code === "UNAUTHENTICATED";
    refuseCall(call, { error, headers: isUnknown ? ["www-authenticate", challenge(call.head, error)] : [] });
  }

  /** The caller is known: checks whether the call may go on. */
  function admit(call: Call, caller: Caller): void {
    if (call.gone) return;
    call.caller = caller;
    try {
      caller.require("tool:invoke");
    } catch (error) {
      return refuseCaller(call, error);
    }
    const { slug, ref } = call.path;
    const group = routes.find(slug, ref);
    if (!group || !caller.reaches(group.toolId)) return refuseUnknown(call, caller);
    call.group = group;
    const may = mayInvoke(caller, group.toolId);
    if (typeof may === "boolean") return enter(call, caller, group, may);
    may.then(
      // The routes may have changed meanwhile.
      (answer) => enter(call, caller, routes.find(slug, ref), answer),
      (error: unknown) => refuseCaller(call, error),
    );
  }

  /** The call's tool is known, and whether the caller may call it. */
  function enter(call: Call, caller: Caller, group: RouteGroup | undefined, may: boolean): void {
    if (call.gone) return;
    if (!group) return refuseUnknown(call, caller);
    const { slug } = call.path;
    if (!may) return refuseCaller(call, notShared(slug));
    call.group = group;
    call.deployment = group.deployments[0];
    const at = now();
    const wait = callerLimit?.take(`${caller.subject} ${group.toolId}`, at) || toolLimit?.take(group.toolId, at);
    if (wait) return refuseCall(call, tooManyCalls(slug, wholeSeconds(wait)));
    restore(call);
  }

  /** Finds what the call belongs to, if it says so, and reads its body. */
  function restore(call: Call): void {
    if (call.head.sessionId !== undefined && !restoreSession(call, call.head.sessionId)) return;
    if (call.path.query.includes(STREAM_PARAMETER) && !restoreStream(call)) return;
    readBody(call, takeBody);
  }

  function refuseUnknown(call: Call, caller: Caller): void {
    newerRoutes.awaitFor(
      call,
      () => admit(call, caller),
      (isNew) => refuseCall(call, unknownRoute(call.path, { isNew, isLimited: caller.toolIds !== null })),
    );
  }

  /** Its replica is not in the table; without a place, nobody gave such an id. */
  function refuseLost(call: Call, place: SessionPlace | null, refusal: Refusal): void {
    if (place === null) return refuseCall(call, refusal);
    newerRoutes.awaitFor(
      call,
      () => restore(call),
      (isNew) => refuseCall(call, isNew ? refusal : maybeOlder("the replica that it is for")),
    );
  }

  function restoreSession(call: Call, sessionId: string): boolean {
    const place = routes.sessionIds()?.open(sessionId, call.caller?.subject ?? "") ?? null;
    const found = place === null ? null : findReplica(call.group, place.replicaId);
    if (!place || !found) {
      refuseLost(call, place, sessionLost());
      return false;
    }
    call.session = place;
    call.deployment = found.deployment;
    return true;
  }

  /** The URL is one that an `endpoint` event named to this caller: it leads to the replica whose stream that is. */
  function restoreStream(call: Call): boolean {
    const place = routes.sessionIds()?.open(streamIdOf(call.path.query), call.caller?.subject ?? "") ?? null;
    const found = place === null ? null : findReplica(call.group, place.replicaId);
    // A session's id is signed by the same key, and is no path.
    if (!place?.ownId.startsWith("/") || !found) {
      refuseLost(call, place, noStream());
      return false;
    }
    call.message = place;
    call.deployment = found.deployment;
    return true;
  }

  function takeBody(call: Call): void {
    if (call.session === null && !restoreState(call)) return;
    forward(call);
  }

  /** The call may go on with one that a replica has begun. */
  function restoreState(call: Call): boolean {
    const { content } = call.body;
    const states = routes.requestStates();
    if (!Buffer.isBuffer(content) || states === null || call.request.method !== "POST") return true;
    const opened = openState(content, states, statefulCallOf(call));
    if (opened === null) return true;
    const found = opened === "invalid" ? null : findReplica(call.group, opened.replicaId);
    if (opened === "invalid" || !found) {
      if (opened === "invalid") refuseState(call, "invalid");
      else refuseGone(call);
      return false;
    }
    call.body = wholeBody(opened.body);
    call.askedBy = opened.replicaId;
    call.deployment = found.deployment;
    return true;
  }

  /** In the protocol's form, as a server of its revision refuses: the client must read it, not only its HTTP library. */
  function refuseState(call: Call, why: StateProblem): void {
    if (call.response.headersSent || call.response.destroyed) return;
    call.refused = true;
    call.outcome = { failure: "RPC_ERROR", errorCode: INVALID_STATE_CODE, answered: false, tools: [] };
    call.mcp = readMcpCall(call.request.method ?? "", call.head, call.body);
    const text = invalidState(Buffer.isBuffer(call.body.content) ? call.body.content : null, why);
    call.status = answerJsonRpc(call, [text], draining);
  }

  function refuseGone(call: Call): void {
    newerRoutes.awaitFor(
      call,
      () => takeBody(call),
      (isNew) => (isNew ? refuseState(call, "gone") : refuseCall(call, maybeOlder("the replica that it is for"))),
    );
  }

  function forward(call: Call): void {
    if (call.gone) return;
    const { head, request, deployment } = call;
    const mcp = readMcpCall(request.method ?? "", head, call.body);
    // Of a body that is still coming, more is known at its end.
    if (mcp.method !== null) call.mcp = mcp;
    tracing?.begin(call, mcp);
    call.isStream =
      request.method === "GET"
        ? (head.accept?.includes("text/event-stream") ?? false)
        : mcp.method === "subscriptions/listen";
    if (call.isStream) {
      streamCount += 1;
      endWithCredential(call);
    } else if (deployment) {
      const limit = deployment.options.maxConcurrentCalls;
      if (limit !== null && deployment.load.running >= limit) {
        return refuseCall(call, allBusy(call.path.slug, limit));
      }
      deployment.load.running += 1;
      call.load = deployment.load;
      if (deployment.demand !== null) {
        call.demand = deployment.demand;
        call.demand.began();
      }
    }
    attempts.begin(call);
  }

  /** A long-lived stream ends with the credential that admitted its caller. */
  function endWithCredential(call: Call): void {
    const expiresAt = call.caller?.expiresAt ?? null;
    if (expiresAt === null) return;
    const left = expiresAt - now();
    if (left <= 0) {
      if (!call.response.headersSent) refuseCaller(call, expired());
      return end(call);
    }
    call.expiry = setTimeout(endWithCredential, Math.min(left, LONGEST_TIMER_MS), call).unref();
  }

  /** The one end of every call. */
  function finish(call: Call): void {
    running.delete(call);
    if (call.expiry !== null) clearTimeout(call.expiry);
    const { response, deployment, group, caller, request } = call;
    if (!response.writableFinished) {
      call.gone = true;
      call.body.stop();
      call.controller?.abort(new Error("The client went away."));
      // Clients end a long-lived stream by going away, which is no failure unless nothing of it had come yet.
      if (call.status === 0 || (!call.isStream && call.status < 400)) call.status = CLIENT_CLOSED_REQUEST;
    }
    if (call.load) call.load.running -= 1;
    if (call.demand) call.demand.ended();
    if (call.isStream) streamCount -= 1;
    const tookMs = performance.now() - call.startedMs;
    const method = request.method ?? "";
    metrics().call(method, call.status, call.isStream ? null : tookMs / 1000);
    const isRecorded = group && deployment && caller;
    if (!isRecorded && !requestLog.isOn && tracing === null) return settledCall();
    const mcp = call.mcp ?? readMcpCall(method, call.head, call.body);
    tracing?.end(call, mcp);
    if (requestLog.isOn) logCall(requestLog, call, mcp, tookMs);
    if (isRecorded) {
      const { failure = null, answered = false, tools = [] } = call.outcome ?? {};
      const { deploymentId } = deployment;
      metrics().toolCall(call.path.slug, deploymentId, call.status >= 400 || failure !== null);
      listed.add(deploymentId, tools);
      const mcpTool = mcp.method === "tools/call" ? mcp.name : null;
      usage.record({
        at: new Date(call.startedAt).toISOString(),
        toolId: group.toolId,
        deploymentId,
        endpoint:
          call.atMcp || isMcpEndpoint(call.path.path, deployment) ? deployment.mcpEndpoint : deployment.otherEndpoint,
        method,
        mcpMethod: mcp.method,
        mcpTool,
        mcpToolKnown:
          mcpTool === null ? null : isKnown(listed.has(deploymentId, mcpTool), call, answered && failure === null),
        statusCode: call.status,
        mcpFailure: failure,
        responseTimeMs: Math.round(tookMs * 1000) / 1000,
        ...callerOf(call, mcp),
      });
    }
    settledCall();
  }

  function settledCall(): void {
    if (whenSettled && running.size() - streamCount <= 0) whenSettled();
  }

  return {
    handle(request, response, head, path, { entrance, requestId, traceparent, corsHeaders }) {
      const call: Call = {
        request,
        response,
        head,
        path,
        entrance,
        requestId,
        traceparent,
        span: null,
        bridge: null,
        corsHeaders,
        startedAt: now(),
        startedMs: performance.now(),
        caller: null,
        group: null,
        deployment: null,
        replicaId: null,
        session: null,
        askedBy: null,
        message: null,
        atMcp: false,
        body: noBody(),
        isStream: false,
        expiry: null,
        load: null,
        demand: null,
        mcp: null,
        status: 0,
        outcome: null,
        soughtOffer: false,
        isCaughtUp: false,
        waitsUntil: null,
        controller: null,
        gone: false,
        refused: false,
        place: -1,
      };
      running.add(call);
      response.once("close", () => finish(call));
      let caller: Caller | Promise<Caller>;
      try {
        caller = authenticate(head.authorization);
      } catch (error) {
        return refuseCaller(call, error);
      }
      if (!(caller instanceof Promise)) return admit(call, caller);
      caller
        .then(
          (found) => admit(call, found),
          (error: unknown) => refuseCaller(call, error),
        )
        .catch((error: unknown) => {
          logger.error({ err: error, request_id: requestId }, "a call failed here");
          response.destroy();
        });
    },
    active: running.size,
    streams: () => streamCount,
    drain() {
      draining = true;
    },
    endStreams(isConcerned) {
      for (const call of running.all()) if (call.isStream && call.caller && isConcerned(call.caller)) end(call);
    },
    endLost(hasLost) {
      for (const call of running.all())
        if (call.caller && call.group && hasLost(call.caller, call.group.toolId)) end(call);
    },
    abortAll() {
      for (const call of running.all()) end(call);
    },
    async settled(ms) {
      if (running.size() - streamCount <= 0) return true;
      const settled = Promise.withResolvers<boolean>();
      whenSettled = () => settled.resolve(true);
      const timer = setTimeout(() => settled.resolve(false), ms);
      const result = await settled.promise;
      clearTimeout(timer);
      whenSettled = null;
      return result;
    },
  };

  function end(call: Call): void {
    call.gone = true;
    call.controller?.abort(new Error("The stream is ended."));
    if (call.refused) return;
    if (call.isStream && call.response.headersSent) call.response.end();
    else call.response.destroy();
  }
}

/** Null: a result is all that says so. */
function isKnown(isListed: boolean, { status }: Call, hasResult: boolean): boolean | null {
  if (isListed) return true;
  return status === 200 && hasResult ? null : false;
}
