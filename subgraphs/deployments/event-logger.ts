import type { Logger } from "@toolyard/service-kit";
import { printable } from "@toolyard/service-kit/http/request-log.ts";
import type { Deployment } from "./deployment.ts";
import type { DeploymentEventDraft } from "./store/deployment-store.ts";

const MAX_SENTENCE = 1_000;

/** The events of deployments, in the log and in numbers. */
export interface EventLogger {
  note(deployment: Deployment, event: DeploymentEventDraft): void;
  /** Failures of replicas after which they are started again, since the start. */
  restarts(): number;
}

/** Toolyard's own sentences only: a server's words are for those who may inspect its deployment, and the log is others'. */
export function createEventLogger(options: { logger: Pick<Logger, "info"> }): EventLogger {
  const { logger } = options;
  let restarts = 0;
  return {
    note({ id, name, toolId, status, health }, { kind, message, data, by }) {
      if (kind === "REPLICA_BACKOFF") restarts += 1;
      logger.info(
        {
          event: kind,
          deployment: name,
          deployment_id: id,
          tool_id: toolId,
          status,
          health,
          ...(by !== undefined && { by }),
          ...(data?.["ordinal"] !== undefined && { replica: data["ordinal"], restarts: data["restarts"] }),
        },
        printable(message, MAX_SENTENCE),
      );
    },
    restarts: () => restarts,
  };
}
