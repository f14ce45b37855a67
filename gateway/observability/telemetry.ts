import { createRequire } from "node:module";
import type { Logger } from "@toolyard/service-kit";
import type { TelemetryConfig } from "./telemetry-config.ts";
import type { Tracing } from "./tracing.ts";
import type { UsageReporting } from "./usage-reporting.ts";

/** What the gateway tells others of its operations; null: nothing, at no cost. */
export interface Telemetry {
  tracing: Tracing | null;
  usage: UsageReporting | null;
  /** Sends what is left, for some seconds at most. */
  close(): Promise<void>;
}

export const noTelemetry: Telemetry = { tracing: null, usage: null, close: async () => undefined };

/** Libraries are loaded for what is on only: they would take a good part of the start. */
export async function createTelemetry(options: {
  config: TelemetryConfig;
  log: Pick<Logger, "warn" | "info">;
}): Promise<Telemetry> {
  const { config, log } = options;
  if (!config.tracing && !config.usage) return noTelemetry;
  // Our own file, of npm's shape.
  const { version } = createRequire(import.meta.url)("../package.json") as { version: string };
  const common = { version, log };
  const tracing = config.tracing
    ? (await import("./tracing.ts")).createTracing({ ...common, config: config.tracing })
    : null;
  const usage = config.usage
    ? (await import("./usage-reporting.ts")).createUsageReporting({ ...common, config: config.usage })
    : null;
  return {
    tracing,
    usage,
    async close() {
      await Promise.all([tracing?.close(), usage?.close()]);
    },
  };
}
