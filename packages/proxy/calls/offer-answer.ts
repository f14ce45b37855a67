import type { Logger } from "@toolyard/service-kit";
import type { Offers } from "../control-plane/offers.ts";
import { readOfferRequest, resultBy, type Offer, type OfferRequest } from "../mcp/offered-lists.ts";
import type { DeploymentRoute } from "../routing/routes.ts";
import { answerJsonRpc, type Refusal } from "./answer.ts";
import type { SharedBudget } from "./budget.ts";
import { isMcpEndpoint } from "./call-path.ts";
import type { Call } from "./call.ts";
import { tooMuchHeld } from "./refusals.ts";

/**
 * Answers a call by what the server of a deployment that wakes up offered last. False: that cannot say it, or was looked for already. Calls
 * `otherwise` where it turns out not to say it: there may be a replica by then.
 */
export type OfferAnswers = (call: Call, deployment: DeploymentRoute, otherwise: () => void) => boolean;

export function createOfferAnswers(options: {
  offers: Offers;
  held: SharedBudget;
  refuse: (call: Call, refusal: Refusal) => void;
  isDraining: () => boolean;
  logger: Logger;
}): OfferAnswers {
  const { offers, held, refuse, isDraining, logger } = options;
  /** By method: printed once for all who ask, however many read it slowly. */
  const printed = new WeakMap<Offer, Map<string, ReturnType<typeof resultBy>>>();

  function print(offer: Offer, method: string): ReturnType<typeof resultBy> {
    const results = printed.get(offer) ?? new Map<string, ReturnType<typeof resultBy>>();
    printed.set(offer, results);
    const known = results.get(method);
    if (known !== undefined) return known;
    const result = resultBy(offer, method);
    results.set(method, result);
    return result;
  }

  async function answer(
    call: Call,
    deployment: DeploymentRoute,
    asked: OfferRequest,
    otherwise: () => void,
  ): Promise<void> {
    const offer = await offers.of(deployment);
    if (call.gone || call.refused) return;
    const found = offer && print(offer, asked.method);
    if (!found) return otherwise();
    const own = held.of(call.caller?.subject ?? "");
    // Of an offer that is not kept any more, it is all that is left.
    if (!own.take(found.json.length)) return refuse(call, tooMuchHeld());
    call.response.once("close", () => own.give(found.json.length));
    call.refused = true;
    call.atMcp = true;
    call.outcome = found.outcome;
    call.status = answerJsonRpc(
      call,
      [`{"jsonrpc":"2.0","id":${asked.idText},"result":`, found.json, "}"],
      isDraining(),
    );
  }

  return (call, deployment, otherwise) => {
    const { request, path, body, soughtOffer } = call;
    call.soughtOffer = true;
    if (soughtOffer || deployment.offer === null || deployment.demand === null) return false;
    if (request.method !== "POST" || path.query !== "" || !isMcpEndpoint(path.path, deployment)) return false;
    const asked = Buffer.isBuffer(body.content) ? readOfferRequest(body.content, request.headers) : null;
    if (asked === null) return false;
    deployment.demand.wake();
    answer(call, deployment, asked, otherwise).catch((error: unknown) => {
      logger.error({ err: error, request_id: call.requestId }, "a call failed here");
      call.response.destroy();
    });
    return true;
  };
}
