import type { Logger } from "@toolyard/service-kit/process/log.ts";
import { reportOf } from "./replica-side.ts";

/** What forward proxies report of refused requests, counted and logged. */
export interface RefusalCounts {
  /** By deployment, since this process began; of those that were refused nothing for longest, together, as deployment "". */
  byDeployment: ReadonlyMap<string, number>;
  /** @param line Of what a replica's forward proxy prints */
  note(replica: { name: string; deploymentId: string }, line: string): void;
}

/** The counts of others are put together: nobody tells when a deployment is gone for good. */
export const MAX_COUNTED = 1_000;
const OTHERS = "";

export function createRefusalCounts(logger: Logger): RefusalCounts {
  /** The last one to be refused something comes last. */
  const counts = new Map<string, number>();
  const add = (deploymentId: string, count: number): void => {
    const sum = (counts.get(deploymentId) ?? 0) + count;
    counts.delete(deploymentId);
    counts.set(deploymentId, sum);
  };
  return {
    byDeployment: counts,
    note({ name, deploymentId }, line) {
      const report = reportOf(line);
      if (report === null) return;
      add(deploymentId, report.count);
      logger.warn(
        { deployment_id: deploymentId, replica: name, host: report.refused, count: report.count },
        "a replica was refused a host that its egress list does not have",
      );
      while (counts.size > MAX_COUNTED) {
        const [[oldest, sum] = [OTHERS, 0]] = counts;
        counts.delete(oldest);
        add(OTHERS, sum);
      }
    },
  };
}
