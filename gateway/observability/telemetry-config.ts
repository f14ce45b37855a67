import type { Environment } from "@toolyard/service-kit";
import { ConfigError, httpUrl, integer, parseEnvironment } from "@toolyard/service-kit/process/config.ts";
import { parseTracing, type TracingConfig } from "@toolyard/service-kit/tracing/tracing-config.ts";
import { z } from "zod";

/** The destinations of telemetry; null: none. */
export interface TelemetryConfig {
  tracing: TracingConfig | null;
  usage: UsageReportingConfig | null;
}

/** Apollo's usage reporting. */
export interface UsageReportingConfig {
  /** Secret. */
  apiKey: string;
  /** `graph@variant` */
  graphRef: string;
  url: string;
  intervalMs: number;
}

const SERVICE_NAME = "toolyard-gateway";
const APOLLO_INGRESS = "https://usage-reporting.api.apollographql.com/api/ingress/traces";

const text = z.string().optional();

const usageShape = {
  APOLLO_KEY: text.meta({ secret: true }),
  APOLLO_GRAPH_REF: z
    .string()
    .regex(/^[^@\s]+(@[^@\s]+)?$/, "must be a graph's name and variant")
    .optional()
    .meta({ example: "my-graph@current" }),
  APOLLO_GRAPH_ID: text,
  APOLLO_GRAPH_VARIANT: text,
  APOLLO_USAGE_REPORTING_INGRESS_URL: httpUrl(APOLLO_INGRESS).default(APOLLO_INGRESS),
  APOLLO_USAGE_REPORTING_INTERVAL_MS: integer({ fallback: 10_000, min: 1, max: 3_600_000 }),
};

/**
 * Reads OTEL_… and APOLLO_…. Tracing's variables are checked only where there is an endpoint: they may be meant for other programs.
 * @throws ConfigError naming the fault, without the values of secrets.
 */
export function parseTelemetryConfig(env: Environment): TelemetryConfig {
  return { tracing: parseTracing(env, SERVICE_NAME), usage: parseUsage(env) };
}

function parseUsage(env: Environment): UsageReportingConfig | null {
  if (!env["APOLLO_KEY"]) return null;
  const values = parseEnvironment(usageShape, env);
  const { APOLLO_KEY: apiKey = "", APOLLO_GRAPH_REF: ref, APOLLO_GRAPH_ID: id } = values;
  const variant = values.APOLLO_GRAPH_VARIANT ?? "current";
  const given = ref ?? id;
  if (given === undefined) {
    throw new ConfigError(
      "APOLLO_GRAPH_REF: APOLLO_KEY turns usage reporting on, but no graph is named for it. Example: APOLLO_GRAPH_REF=my-graph@current. Remove APOLLO_KEY to report nothing.",
    );
  }
  if (!/^[!-~]+$/.test(apiKey)) throw new ConfigError("APOLLO_KEY: must be a key as Apollo Studio shows it.");
  return {
    apiKey,
    graphRef: given.includes("@") ? given : `${given}@${variant}`,
    url: values.APOLLO_USAGE_REPORTING_INGRESS_URL,
    intervalMs: values.APOLLO_USAGE_REPORTING_INTERVAL_MS,
  };
}
