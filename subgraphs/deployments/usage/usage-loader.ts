import { createLoaderByArguments, type Caller } from "@toolyard/service-kit";
import type { PartyUsage, UsageService } from "./usage-service.ts";
import type { UsageSubjects } from "./usage-store.ts";
import type { UsageSummary } from "./usage-summary.ts";
import type { UsageWindow } from "./usage-window.ts";

/** A summary, and what is read beside it only where it is asked for. */
export interface UsageShape extends UsageSummary {
  parties(): Promise<PartyUsage[]>;
}

/**
 * A summary of one tool or deployment: all that an operation asks for by the same window are read together.
 * @param mayInspect Whether the caller may inspect it: who may, sees who has called.
 */
export type UsageLoader = (
  by: UsageSubjects["by"],
  id: string,
  window: UsageWindow,
  mayInspect: () => Promise<boolean>,
) => Promise<UsageShape>;

interface Asked {
  by: UsageSubjects["by"];
  window: UsageWindow;
}

/** One for each operation. */
export function createUsageLoader(usage: UsageService, caller: Caller): UsageLoader {
  const summaries = createLoaderByArguments((ids, { by, window }: Asked) =>
    usage.summaries(caller, { by, ids }, window),
  );
  const parties = createLoaderByArguments((ids, { by, ...asked }: Asked & { mayInspect: boolean }) =>
    usage.parties(caller, { by, ids }, asked),
  );
  return async (by, id, window, mayInspect) => ({
    ...(await summaries.load(id, { by, window })),
    parties: async () => parties.load(id, { by, window, mayInspect: await mayInspect() }),
  });
}
