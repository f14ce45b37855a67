import { createRequire } from "node:module";
import type { Logger } from "@toolyard/service-kit";
import type { TelemetryConfig } from "./telemetry-config.ts";
import type { Tracing } from "./tracing.ts";
import type { UsageReporting } from "./usage-reporting.ts";

/** Sends traces and usage reports; null: none, at no cost. */
export interface Telemetry {
  tracing: Tracing | null;
  usage: UsageReporting | null;
  /** Sends the remaining data, for some seconds at most. */
  close(): Promise<void>;
}

export const noTelemetry: Telemetry = { tracing: null, usage: null, close: async () => undefined };

/** Only libraries in use are loaded: they would take a good part of the start. */
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
