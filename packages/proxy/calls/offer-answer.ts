import type { Logger } from "@toolyard/service-kit";
import type { Offers } from "../control-plane/offers.ts";
import { answerBy, readOfferRequest, type OfferRequest } from "../mcp/offered-lists.ts";
import type { DeploymentRoute } from "../routing/routes.ts";
import { answerJsonRpc } from "./answer.ts";
import { isMcpEndpoint } from "./call-path.ts";
import type { Call } from "./call.ts";

/**
 * Answers a call by what the server of a deployment that wakes up offered last. False: that cannot say it, or was looked for already. Calls
 * `otherwise` where it turns out not to say it: there may be a replica by then.
 */
export type OfferAnswers = (call: Call, deployment: DeploymentRoute, otherwise: () => void) => boolean;

export function createOfferAnswers(options: {
  offers: Offers;
  isDraining: () => boolean;
  logger: Logger;
}): OfferAnswers {
  const { offers, isDraining, logger } = options;

  async function answer(
    call: Call,
    deployment: DeploymentRoute,
    asked: OfferRequest,
    otherwise: () => void,
  ): Promise<void> {
    const offer = await offers.of(deployment);
    if (call.gone || call.refused) return;
    const found = offer && answerBy(offer, asked);
    if (!found) return otherwise();
    call.refused = true;
    call.atMcp = true;
    call.outcome = found.outcome;
    call.status = answerJsonRpc(call, found.text, isDraining());
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
