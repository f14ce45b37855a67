import type { ServerResponse } from "node:http";
import { ByteCollector } from "@toolyard/service-kit/http/byte-collector.ts";
import type { Dispatcher } from "undici";
import { endEvents, STALLED_CLIENT_MS, type Refusal } from "./answer.ts";
import { isEncoded, isEventStream, kindOf, outcomeOf, signerFor, type AnswerHeaders } from "./answer-filters.ts";
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
import { createEventFilter, createJsonFilter, signState, type AnswerFilter } from "../mcp/round-trips.ts";
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
import type { Routes } from "../routing/routes.ts";
import { ONE_WRITE_BYTES } from "../upstream/replica-client.ts";

/** Sends a call to one replica, once, and its answer back. */
export type Exchange = (call: Call, place: Place, target: UpstreamTarget, trail: Trail) => void;

/** The most redirects followed within a replica. */
const MAX_HOPS = 3;
/** Bytes read of an answer that may not be the caller's. */
const MAX_ASIDE_BYTES = 64 * 1024;

interface ExchangeOptions {
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
}

export function createExchange(options: ExchangeOptions): Exchange {
  return (call, place, target, trail) => new RunningExchange(options, call, place, target, trail).send();
}

/** A class, since each call has one: a dozen functions of its own would cost more than the work that they do. */
class RunningExchange implements Dispatcher.DispatchHandler {
  private readonly options: ExchangeOptions;
  private readonly call: Call;
  private readonly place: Place;
  private readonly target: UpstreamTarget;
  private readonly trail: Trail;
  /** Whether it counts as a call that the replica owes an answer. */
  private readonly owes: boolean;
  /** Whether an answer may show that the server speaks HTTP+SSE, and that answer, which is the caller's if it does not show it. */
  private isUnsure: boolean;
  private heldAnswer: HeldAnswer | null = null;
  /** The target of a redirect within the replica. */
  private movedTo: string | null = null;
  /** Bytes of an answer that may not be the caller's. */
  private passed = 0;
  private begun = false;
  private hasLeft = false;
  private left = Infinity;
  private isOfEvents = false;
  /** Signs what a JSON answer asks. One that comes in one piece of its announced length, -1 where it has none, needs no filter. */
  private sign: ((own: string) => string) | null = null;
  private wholeBytes = -1;
  private filter: AnswerFilter | null = null;
  private outcome: OutcomeWatch | null = null;
  /** The head of an answer whose length is known only at its end. */
  private waitingHead: string[] | null = null;
  private stalled: NodeJS.Timeout | undefined;
  /** Its last bytes go out at the end of this turn. */
  private isEnding = false;

  constructor(options: ExchangeOptions, call: Call, place: Place, target: UpstreamTarget, trail: Trail) {
    const { isForeign } = target;
    this.options = options;
    this.call = call;
    this.place = place;
    this.target = target;
    this.trail = trail;
    this.owes = isForeign && !call.isStream;
    this.isUnsure =
      isForeign &&
      call.message === null &&
      !trail.isLegacyKnown &&
      (call.atMcp || isOtherName(call.path.path, place.replica, place.deployment));
  }

  send(): void {
    const { call, target } = this;
    const { deployment, replica } = this.place;
    const { head, body } = call;
    const timeoutMs = deployment.options.timeoutSeconds * 1000;
    const headers = forwardedHeaders(call, replica, target.headers);
    if (head.contentLength !== undefined && body.content !== null && !Buffer.isBuffer(body.content)) {
      headers.push("content-length", String(head.contentLength));
    }
    replica.outstanding += 1;
    if (!call.isStream) replica.owed += 1;
    deployment.demand?.uses(replica);
    if (this.owes) this.options.busy.began(replica, timeoutMs);
    target.dispatcher.dispatch(
      {
        path: target.path,
        // Node's parser lets no other pass.
        method: (call.request.method ?? "GET") as Dispatcher.HttpMethod,
        headers,
        body: body.content,
        headersTimeout: timeoutMs,
        bodyTimeout: call.isStream ? 0 : timeoutMs,
      },
      this,
    );
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    const { call } = this;
    this.begun = true;
    call.controller = controller;
    if (call.gone || call.refused) controller.abort(new Error("Nobody waits for the answer."));
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, received: AnswerHeaders): void {
    const { call, trail } = this;
    const { busy, refuse, routes, held, isDraining } = this.options;
    const { replica } = this.place;
    const { isForeign, path: asked } = this.target;
    const { request, response, path, body, atMcp: isMcp } = call;
    if (this.owes) busy.heard(replica);
    if (status < 200 || response.headersSent) return;
    if (isMcp && isRedirect(status)) {
      const to = this.references().atReplica(String(received.location));
      if (to === null || trail.hops >= MAX_HOPS) {
        refuse(call, notFollowed(to === null ? "elsewhere" : "circle"));
        return controller.abort(new Error("The redirect is not followed."));
      }
      // Another place may be this caller's alone.
      if (path.query === "" && isOtherSlash(to, asked)) replica.movedTo = to;
      if (body.content === null || Buffer.isBuffer(body.content)) {
        this.movedTo = to;
        return;
      }
    }
    if (this.isUnsure && isUncertain(call, status)) {
      this.isUnsure = false;
      this.heldAnswer = { status, received, body: new ByteCollector() };
      return;
    }
    const isOfEvents = isEventStream(received);
    if (isForeign && request.method === "GET" && isOfEvents && isEncoded(received)) {
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
    if (isOfEvents && received["x-accel-buffering"] === undefined) answer.push("x-accel-buffering", "no");
    if (isForeign) passReferringHeaders(received, answer, () => this.references());
    this.isOfEvents = isOfEvents;
    const kind = kindOf(received);
    call.outcome = this.outcome = outcomeOf(call, kind);
    const ownId = received["mcp-session-id"];
    if (typeof ownId === "string") answer.push("mcp-session-id", this.sessionIdFor(ownId));
    if (call.corsHeaders.length > 0) answer.push(...call.corsHeaders);
    if (isDraining()) answer.push("connection", "close");
    const length = received["content-length"];
    const sign = kind === null ? null : signerFor(call, replica, status, routes.requestStates());
    if (isForeign && request.method === "GET" && status === 200 && isOfEvents) {
      response.once("close", () => replica.messagePaths.forget(response));
      this.filter = createEndpointFilter((endpoint) => this.endpointAtRoute(endpoint, this.references()));
    } else if (sign !== null && kind === "events") {
      this.filter = createEventFilter(sign, held.of(call.caller?.subject ?? ""));
    }
    if (sign !== null || this.filter !== null) dropHeader(answer, "content-length");
    if (sign !== null && kind === "json") {
      this.sign = sign;
      this.wholeBytes = typeof length === "string" ? Number(length) : -1;
      this.waitingHead = answer;
      return;
    }
    response.writeHead(status, answer);
    if (this.filter === null && typeof length === "string") this.left = Number(length);
    // Bytes of one packet go out in one; a stream's head does not wait for its first event.
    else process.nextTick(flushHead, response);
  }

  onResponseData(controller: Dispatcher.DispatchController, received: Buffer): void {
    const { call, heldAnswer } = this;
    const { response } = call;
    if (this.owes) this.options.busy.heard(this.place.replica);
    if (this.movedTo !== null) {
      // Of a redirect only the head counts.
      this.passed += received.length;
      if (this.passed > MAX_ASIDE_BYTES) controller.abort(new Error("The redirect's body is not read on."));
      return;
    }
    if (heldAnswer !== null) {
      this.passed += received.length;
      heldAnswer.body.add(received);
      if (this.passed > MAX_ASIDE_BYTES) this.giveHeld(heldAnswer, controller);
      return;
    }
    this.outcome?.see(received);
    const chunk = this.filtered(received);
    if (chunk === null) return;
    if (chunk === "no room") {
      if (response.headersSent) this.breakOff(answerNotHeld());
      else this.options.refuse(call, answerNotHeld());
      call.refused = true;
      return controller.abort(new Error("There is no room for the answer."));
    }
    if (this.waitingHead !== null) {
      response.writeHead(call.status, this.waitingHead);
      this.waitingHead = null;
    }
    this.left -= chunk.length;
    if (this.left === 0) {
      this.isEnding = true;
      return endTogether(response, chunk);
    }
    if (response.write(chunk)) return;
    controller.pause();
    this.stalled = setTimeout(() => response.destroy(), STALLED_CLIENT_MS).unref();
    response.once("drain", () => {
      clearTimeout(this.stalled);
      controller.resume();
    });
  }

  onResponseEnd(): void {
    const { replica } = this.place;
    this.leave();
    if (this.owes) this.options.busy.ended(replica, true);
    replica.health.succeeded(this.options.now());
    if (this.movedTo !== null) return this.sendOn(this.movedTo);
    if (this.heldAnswer !== null) return this.decide(this.heldAnswer);
    this.finish();
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const { call, place, outcome } = this;
    const { busy, refuse, neverSent, now, warn } = this.options;
    const { deployment, replica } = place;
    const { response } = call;
    // The end of an answer has failed here.
    if (this.hasLeft) return void response.destroy();
    this.leave();
    if (this.owes) busy.ended(replica, !this.begun || !(call.gone || isTimeout(error)));
    this.filter?.drop();
    if (call.gone || call.refused || this.isEnding || response.writableEnded) return;
    if (this.movedTo !== null) return this.sendOn(this.movedTo);
    if (isOfRequest(error)) return refuse(call, malformed());
    if (!this.begun) return neverSent(call, place, error);
    const timedOut = isTimeout(error);
    // Slow is not broken: only connections that end in the middle speak against a replica.
    if (!timedOut) replica.health.failed(now());
    call.status = timedOut ? 504 : 502;
    warn(call, replica, call.status, error);
    const refusal = timedOut ? tooSlow(deployment.options.timeoutSeconds) : broken();
    if (!response.headersSent) return refuse(call, refusal);
    // A bridge's sessions end with it; the rest of another's answer may be asked for.
    const isOver = outcome?.isResumable !== true || !(timedOut || this.target.isForeign);
    const isOwed = outcome !== null && !outcome.answered && outcome.failure === null;
    if (isOver && isOwed) this.breakOff(refusal);
    else response.destroy();
  }

  /** It is not under way any more. */
  private leave(): void {
    const { call } = this;
    this.hasLeft = true;
    const { replica } = this.place;
    replica.outstanding -= 1;
    if (!call.isStream) replica.owed -= 1;
    call.controller = null;
    clearTimeout(this.stalled);
  }

  /** The bytes that can go on: see AnswerFilter. */
  private filtered(received: Buffer): Buffer | null | "no room" {
    const { sign, waitingHead } = this;
    if (sign !== null && this.filter === null) {
      if (received.length === this.wholeBytes && waitingHead !== null) {
        const signed = signState(received, sign);
        waitingHead.push("content-length", String(signed.length));
        this.left = signed.length;
        return signed;
      }
      this.filter = createJsonFilter(sign, this.options.held.of(this.call.caller?.subject ?? ""));
    }
    return this.filter === null ? received : this.filter.push(received);
  }

  private sendOn(to: string): void {
    const { call, place, trail } = this;
    if (!call.gone) this.options.sendAgain(call, place, { ...trail, movedTo: to, hops: trail.hops + 1 });
  }

  private finish(): void {
    const { response, status } = this.call;
    if (this.isEnding || response.writableEnded) {
      this.filter?.drop();
      return;
    }
    const rest = this.filter?.end() ?? null;
    if (this.waitingHead !== null && !response.headersSent)
      response.writeHead(status, [...this.waitingHead, "content-length", String(rest?.length ?? 0)]);
    if (rest === null) response.end();
    else endWith(response, rest);
  }

  /** Ends an answer that has begun: a stream of events with the reason, anything else can only be cut off. */
  private breakOff(refusal: Refusal): void {
    const { call } = this;
    if (this.isOfEvents && this.outcome !== null && this.left === Infinity)
      endEvents(call, refusal, mcpIdOf(call) ?? "null");
    else call.response.destroy();
  }

  private giveHeld({ status, received, body }: HeldAnswer, controller: Dispatcher.DispatchController): void {
    this.heldAnswer = null;
    this.onResponseStart(controller, status, received);
    if (body.length > 0) this.onResponseData(controller, body.take());
  }

  /** Whether the server must be addressed in another way, according to its answer. */
  private decide(answer: HeldAnswer): void {
    const { call, place } = this;
    const { goOn, sendAgain } = this.options;
    const { deployment, replica } = place;
    const isKnown = knowsTransport(answer.body.peek().toString("latin1"));
    const detected = isKnown ? undefined : replica.legacy?.detect(streamPathsOf(replica, deployment, answer.status));
    goOn(call, detected, (isLegacy) => {
      if (isLegacy !== true) {
        this.giveHeld(answer, ENDED);
        return this.finish();
      }
      sendAgain(call, place, { ...NO_TRAIL, isLegacyKnown: true });
    });
  }

  private references(): References {
    const { path, head, entrance } = this.call;
    const { deployment, replica } = this.place;
    return referencesOf({ path, host: head.host, deployment, replica, asked: this.target.path, site: entrance.site });
  }

  /** The URL to which the caller of a stream posts its messages. */
  private endpointAtRoute(endpoint: string, references: References): string {
    const { call } = this;
    const { deployment, replica } = this.place;
    const ownId = references.atReplica(endpoint);
    // No credentials are sent elsewhere: posted messages come back here, and are refused.
    if (ownId === null) return references.atAnyPath(call.path.path);
    replica.messagePaths.name(call.response, pathOf(ownId));
    if (call.atMcp && call.path.query === "") replica.legacy?.learn(targetOf(replica, deployment, call.path));
    const sessionIds = this.options.routes.sessionIds();
    const signed = sessionIds?.sign({ replicaId: replica.id, ownId }, call.caller?.subject ?? "") ?? "";
    return withStreamId(references.atAnyPath(ownId), signed);
  }

  private sessionIdFor(ownId: string): string {
    const { session, head, body, caller } = this.call;
    if (session?.ownId === ownId && head.sessionId !== undefined) return head.sessionId;
    const client = readClient(body, true);
    const place = { replicaId: this.place.replica.id, ownId, ...(client && { client }) };
    return this.options.routes.sessionIds()?.sign(place, caller?.subject ?? "") ?? "";
  }
}

interface HeldAnswer {
  status: number;
  received: AnswerHeaders;
  body: ByteCollector;
}

/** The controller of an answer that has come whole. */
const ENDED = { pause: () => undefined, resume: () => undefined } as unknown as Dispatcher.DispatchController;

interface Ending {
  response: ServerResponse;
  chunk: Buffer;
}

let endings: Ending[] = [];

/** One write after the other, once all that has come is read: clients that are still awake from the last one are cheaper to reach. */
function endTogether(response: ServerResponse, chunk: Buffer): void {
  if (endings.push({ response, chunk }) === 1) setImmediate(endAll);
}

function endAll(): void {
  const all = endings;
  endings = [];
  for (const { response, chunk } of all) if (!response.destroyed && !response.writableEnded) endWith(response, chunk);
}

function endWith(response: ServerResponse, chunk: Buffer): void {
  // As text of one byte a character it goes out together with the head, in one write.
  if (chunk.length <= ONE_WRITE_BYTES) response.end(chunk.toString("latin1"), "latin1");
  else response.end(chunk);
}

function dropHeader(pairs: string[], name: string): void {
  for (let i = pairs.length - 2; i >= 0; i -= 2) if (pairs[i] === name) pairs.splice(i, 2);
}

function flushHead(response: ServerResponse): void {
  if (!response.writableEnded && !response.destroyed) response.flushHeaders();
}
