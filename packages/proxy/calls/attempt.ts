import { messageOf, systemCodeOf, type Logger } from "@toolyard/service-kit";
import type { Refusal } from "./answer.ts";
import { pickReplica } from "../routing/balance.ts";
import type { BusyReplicas } from "../routing/busy-replicas.ts";
import type { Call } from "./call.ts";
import { isMcpEndpoint, isOpen, USUAL_MCP_PATH } from "./call-path.ts";
import { closedPath, noStream, notReady, sessionLost, unreachable, type StateProblem } from "./refusals.ts";
import { createReplicaWait } from "./replica-wait.ts";
import type { NewerRoutes } from "./newer-routes.ts";
import type { Replica } from "../routing/replica.ts";
import type { SharedBudget } from "./budget.ts";
import { looksLegacy } from "../legacy/transport.ts";
import { isGone } from "./replica-errors.ts";
import {
  isBridged,
  isOtherName,
  NO_TRAIL,
  streamPathsOf,
  targetOf,
  type Place,
  type Trail,
  type UpstreamTarget,
} from "./upstream-target.ts";
import { findReplica, type DeploymentRoute, type Routes } from "../routing/routes.ts";
import { createExchange } from "./exchange.ts";
import { createOfferAnswers } from "./offer-answer.ts";
import type { Offers } from "../control-plane/offers.ts";

/** Sends calls to replicas and their answers back. */
export interface Attempts {
  begin(call: Call): void;
}

const MAX_ATTEMPTS = 3;
const WARNINGS_A_SECOND = 5;

export function createAttempts(options: {
  routes: Routes;
  refuse: (call: Call, refusal: Refusal) => void;
  refuseState: (call: Call, why: StateProblem) => void;
  newerRoutes: NewerRoutes;
  offers: Offers;
  held: SharedBudget;
  isDraining: () => boolean;
  busy: BusyReplicas;
  logger: Logger;
  now: () => number;
  random?: () => number;
}): Attempts {
  const {
    routes,
    refuse,
    refuseState,
    newerRoutes,
    offers,
    held,
    isDraining,
    busy,
    logger,
    now,
    random = Math.random,
  } = options;
  const wait = createReplicaWait({ routes, refuse, isDraining });
  const answerByOffer = createOfferAnswers({ offers, held, refuse, isDraining, logger });
  const exchange = createExchange({
    routes,
    refuse,
    held,
    isDraining,
    busy,
    now,
    warn,
    goOn,
    sendAgain: dispatch,
    neverSent,
  });
  let warnings = { second: 0, count: 0 };
  let turns = 0;

  /** Failures are logged at warn, but a flood of them does not get a line each. */
  function warn(call: Call, replica: Replica, status: number, error: Error): void {
    const second = Math.floor(now() / 1000);
    if (warnings.second !== second) warnings = { second, count: 0 };
    warnings.count += 1;
    if (warnings.count > WARNINGS_A_SECOND) return;
    logger.warn(
      {
        request_id: call.requestId,
        slug: call.path.slug,
        replica_id: replica.id,
        status,
        reason: `${systemCodeOf(error) ?? error.name}: ${messageOf(error)}`,
      },
      "a call failed at its replica",
    );
  }

  function begin(call: Call, tried?: ReadonlySet<string>): void {
    const { slug, ref } = call.path;
    // The table may have changed while the body was read.
    const group = routes.find(slug, ref) ?? call.group;
    const home = call.session?.replicaId ?? call.message?.replicaId ?? call.askedBy;
    const picked =
      home !== null
        ? findReplica(group, home)
        : pickReplica<Replica, DeploymentRoute>(group?.deployments ?? [], {
            now: now(),
            caller: callerIn(call),
            random,
            ...(tried && { tried }),
          });
    if (!picked) {
      if (call.session) return refuse(call, sessionLost());
      if (call.message) return refuse(call, noStream());
      if (call.askedBy !== null) return refuseState(call, "gone");
      const awaited = group?.deployments.find((each) => each.awaited);
      const again = (): void => begin(call, tried);
      if (awaited && !answerByOffer(call, awaited, again)) return wait(call, awaited, again);
      if (awaited) return;
      return newerRoutes.awaitFor(
        call,
        () => begin(call),
        () => refuse(call, notReady(call)),
      );
    }
    picked.replica.health.chosen(now());
    if (home === null) picked.replica.turn = turns += 1;
    dispatch(call, { ...picked, tried });
  }

  function dispatch(call: Call, place: Place, trail: Trail = NO_TRAIL): void {
    const { request, path } = call;
    const { deployment, replica } = place;
    call.deployment = deployment;
    call.replicaId = replica.id;
    const { paths } = deployment;
    const { legacy } = replica;
    const isMcp = call.message === null && isMcpEndpoint(path.path, deployment);
    if (paths !== null && !isMcp && call.message === null && !isOpen(path.path, paths))
      return refuse(call, closedPath(path));
    const target: UpstreamTarget = {
      dispatcher: replica.dispatcher(),
      path: trail.movedTo || (call.message?.ownId ?? targetOf(replica, deployment, path)),
      headers: replica.headers,
      isForeign: legacy !== null,
    };
    if (legacy !== null && call.message === null) {
      const mayBe = isMcp || isOtherName(path.path, replica, deployment);
      call.atMcp = isMcp;
      if (mayBe && !trail.isLegacyKnown && legacy.path === null && looksLegacy(deployment.mcpPathname))
        return askWhether(call, place);
      if (mayBe && legacy.path !== null) {
        call.atMcp = true;
        if (isBridged(call)) return bridge(call, place);
        target.path = trail.movedTo || legacy.path;
      } else if (request.method !== "GET" && replica.messagePaths.has(replica.pathPrefix + path.path))
        return refuse(call, noStream());
    } else call.atMcp = isMcp;
    exchange(call, place, target, trail);
  }

  /** Finds out whether the server speaks HTTP+SSE, then goes on. */
  function askWhether(call: Call, place: Place): void {
    const { deployment, replica } = place;
    goOn(call, replica.legacy?.detect(streamPathsOf(replica, deployment)), () =>
      dispatch(call, place, { ...NO_TRAIL, isLegacyKnown: true }),
    );
  }

  function bridge(call: Call, place: Place): void {
    goOn(call, place.replica.legacy?.connect(place.deployment.options.timeoutSeconds), (found) => {
      if (found === undefined) return refuse(call, unreachable());
      const { dispatcher, token } = found;
      const own = ["authorization", `Bearer ${token}`];
      const asked = USUAL_MCP_PATH + call.path.query;
      exchange(call, place, { dispatcher, path: asked, headers: own, isForeign: false }, NO_TRAIL);
    });
  }

  function goOn<Result>(
    call: Call,
    found: Promise<Result> | undefined,
    next: (found: Result | undefined) => void,
  ): void {
    Promise.resolve(found)
      .catch((error: unknown) => {
        logger.warn({ err: error, slug: call.path.slug }, "a bridge to an HTTP+SSE server did not start");
        return undefined;
      })
      .then((result) => {
        if (!call.gone && !call.refused) next(result);
      })
      .catch((error: unknown) => {
        logger.error({ err: error, request_id: call.requestId }, "a call failed here");
        call.response.destroy();
      });
  }

  /** Nothing of the call has reached this replica, so another may be tried. */
  function neverSent(call: Call, { deployment, replica, tried }: Place, error: Error): void {
    replica.health.failed(now());
    warn(call, replica, 502, error);
    if (call.session) {
      // Nothing listens where the session lived: it ended with its process.
      return refuse(call, isGone(error) ? sessionLost() : unreachable());
    }
    if (call.message) return refuse(call, isGone(error) ? noStream() : unreachable());
    if (call.askedBy !== null) return isGone(error) ? refuseState(call, "gone") : refuse(call, unreachable());
    const next = new Set(tried).add(replica.id);
    if (next.size < MAX_ATTEMPTS && hasAnother(call, next)) begin(call, next);
    else refuseUnreachable(call, deployment);
  }

  /** It may be that it is elsewhere by now. */
  function refuseUnreachable(call: Call, deployment: DeploymentRoute): void {
    const refuseIt = (): void => refuse(call, unreachable());
    const isOld = (): boolean => call.group?.deployments.includes(deployment) === false;
    newerRoutes.awaitFor(call, () => (isOld() ? begin(call) : refuseIt()), refuseIt);
  }

  function hasAnother(call: Call, tried: ReadonlySet<string>): boolean {
    const group = routes.find(call.path.slug, call.path.ref) ?? call.group;
    return pickReplica(group?.deployments ?? [], { now: now(), caller: callerIn(call), random, tried }) !== null;
  }

  return { begin: (call) => begin(call) };
}

/** The user whose calls a sticky route keeps together, by whichever credential. */
function callerIn({ caller }: Call): string {
  return caller?.subject ?? "";
}
