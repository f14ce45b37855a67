import type { Gauge } from "@toolyard/service-kit";
import { z } from "zod";

const TIMEOUT_MS = 2_000;
const MAX_SERIES = 10_000;

const answer = z
  .array(
    z.object({
      name: z.string().regex(/^[a-z]\w*$/),
      help: z.string(),
      labels: z.record(z.string().regex(/^[a-z]\w*$/), z.string()),
      value: z.number(),
    }),
  )
  .max(MAX_SERIES);

/**
 * The metrics of a Toolyard subgraph that runs alone.
 * @param options.headers Identify the gateway as the caller.
 * @throws Error when it does not answer in time, or in another form
 */
export async function readGauges(options: { graphqlUrl: string; headers: Record<string, string> }): Promise<Gauge[]> {
  const { graphqlUrl, headers } = options;
  const response = await fetch(new URL("/metrics", graphqlUrl), { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`It answered ${response.status} at /metrics.`);
  return answer.parse(await response.json());
}
