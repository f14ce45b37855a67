import DataLoader from "dataloader";
import type { Caller } from "@toolyard/service-kit";
import type { UsageService } from "./usage-service.ts";
import type { UsageSubjects } from "./usage-store.ts";
import type { UsageSummary } from "./usage-summary.ts";
import type { UsageWindow } from "./usage-window.ts";

/** A summary of one tool or deployment: all that an operation asks for by the same window are read together. */
export type UsageLoader = (by: UsageSubjects["by"], id: string, window: UsageWindow) => Promise<UsageSummary>;

/** One for each operation. */
export function createUsageLoader(usage: UsageService, caller: Caller): UsageLoader {
  const loaders = new Map<string, DataLoader<string, UsageSummary>>();
  return (by, id, window) => {
    const key = `${by} ${window}`;
    let loader = loaders.get(key);
    if (!loader) loaders.set(key, (loader = new DataLoader((ids) => usage.summaries(caller, { by, ids }, window))));
    return loader.load(id);
  };
}
