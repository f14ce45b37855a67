import { readFileSync } from "node:fs";
import { messageOf } from "../errors/errors.ts";
import { ConfigError, httpUrl, integer, parseEnvironment, ratio, type Environment } from "../process/config.ts";
import { z } from "zod";

/** OpenTelemetry traces, by the variables of its specification. */
export interface TracingConfig {
  /** The URL to which spans are posted, with its path. */
  url: string;
  /** Sent with them. Secret. */
  headers: Record<string, string>;
  compression: "gzip" | "none";
  /** For one batch, with all attempts to send it. */
  timeoutMs: number;
  batch: { delayMs: number; maxQueued: number; maxSize: number; timeoutMs: number };
  sampler: TraceSampler;
  serviceName: string;
  resourceAttributes: Record<string, string>;
  /** PEM; Node's trusted certificates unless given. */
  tls: { ca?: Buffer; cert?: Buffer; key?: Buffer };
}

interface TraceSampler {
  /** Whether a trace that came with `traceparent` keeps its sampling decision. */
  isParentBased: boolean;
  /** The share of the others that are recorded. */
  ratio: number;
}

const OTLP_PATH = "v1/traces";

const tracingSwitches = {
  OTEL_SDK_DISABLED: z.string().optional(),
  OTEL_TRACES_EXPORTER: z.enum(["otlp", "none"], "must be otlp or none").default("otlp").meta({ example: "otlp" }),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrl("http://127.0.0.1:4318").optional(),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: httpUrl("http://127.0.0.1:4318/v1/traces").optional(),
};

const protocol = z
  .literal("http/protobuf", "must be http/protobuf: Toolyard sends no other")
  .optional()
  .meta({ example: "http/protobuf" });
const compression = z.enum(["gzip", "none"], "must be gzip or none").optional().meta({ example: "gzip" });
const milliseconds = (fallback: number) => integer({ fallback, min: 1, max: 3_600_000 });
const count = (fallback: number) => integer({ fallback, min: 1, max: 1_000_000 });
const text = z.string().optional();

const SAMPLERS = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;

const tracingShape = {
  OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
  OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: protocol,
  OTEL_EXPORTER_OTLP_COMPRESSION: compression,
  OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: compression,
  OTEL_EXPORTER_OTLP_TIMEOUT: milliseconds(10_000),
  OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: integer({ fallback: 0, min: 0, max: 3_600_000 }),
  // Secrets; errors about them must not show them: parsed by hand below.
  OTEL_EXPORTER_OTLP_HEADERS: text,
  OTEL_EXPORTER_OTLP_TRACES_HEADERS: text,
  OTEL_EXPORTER_OTLP_CERTIFICATE: text,
  OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: text,
  OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: text,
  OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE: text,
  OTEL_EXPORTER_OTLP_CLIENT_KEY: text,
  OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY: text,
  OTEL_SERVICE_NAME: text,
  OTEL_RESOURCE_ATTRIBUTES: text,
  OTEL_TRACES_SAMPLER: z
    .enum(SAMPLERS, `must be one of ${SAMPLERS.join(", ")}`)
    .default("parentbased_always_on")
    .meta({ example: "parentbased_traceidratio" }),
  OTEL_TRACES_SAMPLER_ARG: ratio(1).meta({ example: 0.1 }),
  OTEL_BSP_SCHEDULE_DELAY: milliseconds(5_000),
  OTEL_BSP_MAX_QUEUE_SIZE: count(2_048),
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: count(512),
  OTEL_BSP_EXPORT_TIMEOUT: milliseconds(30_000),
};

/** All variables of tracing. */
export const tracingVariables = { ...tracingSwitches, ...tracingShape };

/**
 * Reads OTEL_…, which is checked only where there is an endpoint: it may be meant for other programs.
 * @param serviceName Where the variables give no other
 * @throws ConfigError naming the fault, without the values of secrets.
 */
export function parseTracing(env: Environment, serviceName: string): TracingConfig | null {
  const switches = parseEnvironment(tracingSwitches, env);
  // Only this word, by the specification.
  if (switches.OTEL_SDK_DISABLED?.toLowerCase() === "true" || switches.OTEL_TRACES_EXPORTER === "none") return null;
  const url = switches.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? withPath(switches.OTEL_EXPORTER_OTLP_ENDPOINT);
  if (url === null) return null;
  const values = parseEnvironment(tracingShape, env);
  const { "service.name": named, ...resourceAttributes } = pairsOf("OTEL_RESOURCE_ATTRIBUTES", values);
  return {
    url,
    headers: {
      ...pairsOf("OTEL_EXPORTER_OTLP_HEADERS", values),
      ...pairsOf("OTEL_EXPORTER_OTLP_TRACES_HEADERS", values),
    },
    compression: values.OTEL_EXPORTER_OTLP_TRACES_COMPRESSION ?? values.OTEL_EXPORTER_OTLP_COMPRESSION ?? "none",
    timeoutMs: values.OTEL_EXPORTER_OTLP_TRACES_TIMEOUT || values.OTEL_EXPORTER_OTLP_TIMEOUT,
    batch: {
      delayMs: values.OTEL_BSP_SCHEDULE_DELAY,
      maxQueued: values.OTEL_BSP_MAX_QUEUE_SIZE,
      maxSize: Math.min(values.OTEL_BSP_MAX_EXPORT_BATCH_SIZE, values.OTEL_BSP_MAX_QUEUE_SIZE),
      timeoutMs: values.OTEL_BSP_EXPORT_TIMEOUT,
    },
    sampler: samplerOf(values.OTEL_TRACES_SAMPLER, values.OTEL_TRACES_SAMPLER_ARG),
    serviceName: values.OTEL_SERVICE_NAME ?? named ?? serviceName,
    resourceAttributes,
    tls: {
      ...fileOf("ca", "CERTIFICATE", values),
      ...fileOf("cert", "CLIENT_CERTIFICATE", values),
      ...fileOf("key", "CLIENT_KEY", values),
    },
  };
}

/** The specification's way from the endpoint of all signals to that of traces. */
function withPath(endpoint: string | undefined): string | null {
  if (endpoint === undefined) return null;
  return endpoint.endsWith("/") ? endpoint + OTLP_PATH : `${endpoint}/${OTLP_PATH}`;
}

function samplerOf(name: (typeof SAMPLERS)[number], share: number): TraceSampler {
  const isParentBased = name.startsWith("parentbased_");
  if (name.endsWith("always_on")) return { isParentBased, ratio: 1 };
  return { isParentBased, ratio: name.endsWith("always_off") ? 0 : share };
}

type TracingValues = z.infer<z.ZodObject<typeof tracingShape>>;

/** `name=value,name=value`, values percent-encoded. */
function pairsOf(
  variable: "OTEL_EXPORTER_OTLP_HEADERS" | "OTEL_EXPORTER_OTLP_TRACES_HEADERS" | "OTEL_RESOURCE_ATTRIBUTES",
  values: TracingValues,
): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const entry of (values[variable] ?? "").split(",")) {
    if (entry.trim() === "") continue;
    const at = entry.indexOf("=");
    const name = entry.slice(0, at).trim();
    const isHeader = variable !== "OTEL_RESOURCE_ATTRIBUTES";
    if (at < 1 || name === "" || (isHeader && !/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name))) throw notPairs(variable);
    try {
      pairs[name] = decodeURIComponent(entry.slice(at + 1).trim());
    } catch {
      throw notPairs(variable);
    }
    // Node would refuse it at every batch.
    if (isHeader && /[^\t\x20-\x7e\x80-\xff]/.test(pairs[name])) throw notPairs(variable);
  }
  return pairs;
}

function notPairs(variable: string): ConfigError {
  const example =
    variable === "OTEL_RESOURCE_ATTRIBUTES" ? "deployment.environment.name=production" : "api-key=the%20key";
  return new ConfigError(
    `${variable}: must be name=value pairs separated by commas, values percent-encoded. Example: ${variable}=${example}`,
  );
}

function fileOf(
  part: "ca" | "cert" | "key",
  suffix: "CERTIFICATE" | "CLIENT_CERTIFICATE" | "CLIENT_KEY",
  values: TracingValues,
): Partial<TracingConfig["tls"]> {
  const name =
    values[`OTEL_EXPORTER_OTLP_TRACES_${suffix}`] === undefined
      ? (`OTEL_EXPORTER_OTLP_${suffix}` as const)
      : (`OTEL_EXPORTER_OTLP_TRACES_${suffix}` as const);
  const file = values[name];
  if (file === undefined) return {};
  try {
    return { [part]: readFileSync(file) };
  } catch (error) {
    throw new ConfigError(`${name}: ${file} cannot be read: ${messageOf(error)}`);
  }
}
