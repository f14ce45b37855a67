import type { Logger } from "@toolyard/service-kit";
import { messageOf } from "@toolyard/service-kit";
import { createMemoryCache, type CacheCount } from "@toolyard/cache";
import { z } from "zod";
import type { Offer } from "../mcp/offered-lists.ts";
import type { DeploymentRoute } from "../routing/routes.ts";

/** The last offers of the servers of deployments without a replica. */
export interface Offers {
  /** By the control plane, once for as long as it stays the same; null where it does not tell. */
  of(deployment: Pick<DeploymentRoute, "deploymentId" | "offer">): Promise<Offer | null>;
}

const MAX_BYTES = 32 * 1024 * 1024;
const MAX_OFFERS = 1_000;

const items = z.array(z.record(z.string(), z.unknown())).nullable();
const offerSchema = z.object({
  discovered: z.record(z.string(), z.unknown()),
  tools: items,
  prompts: items,
  resources: items,
  resourceTemplates: items,
});

export function createOffers(options: {
  /** @throws ToolyardError when the control plane does not answer */
  fetch: (deploymentId: string, hash: string) => Promise<unknown>;
  count: CacheCount;
  logger: Logger;
}): Offers {
  const { fetch, count, logger } = options;
  const cache = createMemoryCache<{ offer: Offer; bytes: number }>({
    maxEntries: MAX_OFFERS,
    maxSize: MAX_BYTES,
    sizeOf: ({ bytes }) => bytes,
    count,
  });
  return {
    async of({ deploymentId, offer: hash }) {
      if (hash === null) return null;
      try {
        const { offer } = await cache.wrap(`${deploymentId} ${hash}`, async () => {
          const found = offerSchema.parse(await fetch(deploymentId, hash));
          return { offer: found, bytes: JSON.stringify(found).length };
        });
        return offer;
      } catch (error) {
        logger.debug({ deployment_id: deploymentId, reason: messageOf(error) }, "what a server offers is not known");
        return null;
      }
    },
  };
}
