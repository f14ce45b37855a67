import { createLoaderByArguments, type Caller } from "@toolyard/service-kit";
import type { UsageService } from "./usage-service.ts";
import type { UsageSubjects } from "./usage-store.ts";
import type { UsageSummary } from "./usage-summary.ts";
import type { UsageWindow } from "./usage-window.ts";

/** A summary of one tool or deployment: all that an operation asks for by the same window are read together. */
export type UsageLoader = (by: UsageSubjects["by"], id: string, window: UsageWindow) => Promise<UsageSummary>;

/** One for each operation. */
export function createUsageLoader(usage: UsageService, caller: Caller): UsageLoader {
  const loader = createLoaderByArguments((ids, { by, window }: { by: UsageSubjects["by"]; window: UsageWindow }) =>
    usage.summaries(caller, { by, ids }, window),
  );
  return (by, id, window) => loader.load(id, { by, window });
}
