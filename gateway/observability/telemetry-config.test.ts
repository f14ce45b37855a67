import { ConfigError } from "@toolyard/service-kit/process/config.ts";
import { describe, expect, test } from "vitest";
import { parseTelemetryConfig } from "./telemetry-config.ts";

const endpoint = "http://collector:4318";
const on = { OTEL_EXPORTER_OTLP_ENDPOINT: endpoint };

test("nothing is on unless asked for", () => {
  expect(parseTelemetryConfig({})).toEqual({ tracing: null, usage: null });
  expect(parseTelemetryConfig({ OTEL_TRACES_SAMPLER: "jaeger_remote", OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" })).toEqual({
    tracing: null,
    usage: null,
  });
});

describe("traces", () => {
  test.each([
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint }, `${endpoint}/v1/traces`],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: `${endpoint}/otlp/` }, `${endpoint}/otlp/v1/traces`],
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://t:1/x" }, "http://t:1/x"],
    [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://t/v1/traces" }, "https://t/v1/traces"],
  ])("with %j go to %s", (env, url) => {
    expect(parseTelemetryConfig(env).tracing?.url).toBe(url);
  });

  test("have headers and resource attributes percent-decoded, the more specific ones first", () => {
    const { tracing } = parseTelemetryConfig({
      ...on,
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Basic%20YWI=, x-a = 1",
      OTEL_EXPORTER_OTLP_TRACES_HEADERS: "x-a=2",
      OTEL_RESOURCE_ATTRIBUTES: "service.name=theirs,team=a%2Cb",
    });
    expect(tracing?.headers).toEqual({ authorization: "Basic YWI=", "x-a": "2" });
    expect(tracing).toMatchObject({ serviceName: "theirs", resourceAttributes: { team: "a,b" } });
    expect(
      parseTelemetryConfig({ ...on, OTEL_SERVICE_NAME: "ours", OTEL_RESOURCE_ATTRIBUTES: "service.name=theirs" })
        .tracing,
    ).toMatchObject({ serviceName: "ours" });
  });

  test.each([
    [{}, { isParentBased: true, ratio: 1 }],
    [
      { OTEL_TRACES_SAMPLER: "always_on", OTEL_TRACES_SAMPLER_ARG: "0.5" },
      { isParentBased: false, ratio: 1 },
    ],
    [{ OTEL_TRACES_SAMPLER: "parentbased_always_off" }, { isParentBased: true, ratio: 0 }],
    [
      { OTEL_TRACES_SAMPLER: "parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.25" },
      { isParentBased: true, ratio: 0.25 },
    ],
    [
      { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: ".5" },
      { isParentBased: false, ratio: 0.5 },
    ],
  ])("with %j are sampled as %j", (env, sampler) => {
    expect(parseTelemetryConfig({ ...on, ...env }).tracing?.sampler).toEqual(sampler);
  });

  test.each([
    { OTEL_EXPORTER_OTLP_ENDPOINT: "collector:4317" },
    { ...on, OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" },
    { ...on, OTEL_TRACES_SAMPLER: "jaeger_remote" },
    { ...on, OTEL_TRACES_SAMPLER_ARG: "2" },
    { ...on, OTEL_RESOURCE_ATTRIBUTES: "team" },
    { ...on, OTEL_BSP_MAX_QUEUE_SIZE: "many" },
    { ...on, OTEL_EXPORTER_OTLP_CERTIFICATE: "/nowhere/ca.pem" },
  ])("with %j are refused by the variable's name", (env) => {
    const name = Object.keys(env).at(-1) ?? "";
    expect(() => parseTelemetryConfig(env)).toThrow(ConfigError);
    expect(() => parseTelemetryConfig(env)).toThrow(name);
  });

  test.each(["hush-hush", "=hush", "a b=hush", "key=%E0%A4hush", "key=hush%0Ax: y"])(
    "with the headers %s are refused without saying them",
    (headers) => {
      const parse = () => parseTelemetryConfig({ ...on, OTEL_EXPORTER_OTLP_HEADERS: headers });
      expect(parse).toThrow(/^OTEL_EXPORTER_OTLP_HEADERS: must be name=value pairs/);
      expect(parse).not.toThrow("hush");
    },
  );
});

describe("usage reports", () => {
  const key = { APOLLO_KEY: "service:shop:hush" };

  test("are for the graph and variant, however those are given, and go to Apollo unless told otherwise", () => {
    expect(parseTelemetryConfig({ ...key, APOLLO_GRAPH_REF: "shop@prod" }).usage).toEqual({
      apiKey: "service:shop:hush",
      graphRef: "shop@prod",
      url: "https://usage-reporting.api.apollographql.com/api/ingress/traces",
      intervalMs: 10_000,
    });
    const refOf = (env: Record<string, string>) => parseTelemetryConfig({ ...key, ...env }).usage?.graphRef;
    expect(refOf({ APOLLO_GRAPH_REF: "shop" })).toBe("shop@current");
    expect(refOf({ APOLLO_GRAPH_ID: "shop", APOLLO_GRAPH_VARIANT: "dev" })).toBe("shop@dev");
  });

  test.each([
    [key, "APOLLO_GRAPH_REF"],
    [{ ...key, APOLLO_GRAPH_REF: "a b" }, "APOLLO_GRAPH_REF"],
    [{ APOLLO_KEY: "hush\nhush", APOLLO_GRAPH_REF: "shop@prod" }, "APOLLO_KEY"],
    [
      { ...key, APOLLO_GRAPH_REF: "shop", APOLLO_USAGE_REPORTING_INGRESS_URL: "nowhere" },
      "APOLLO_USAGE_REPORTING_INGRESS_URL",
    ],
  ])("with %j are refused by the name of %s, without saying the key", (env, name) => {
    expect(() => parseTelemetryConfig(env)).toThrow(ConfigError);
    expect(() => parseTelemetryConfig(env)).toThrow(name);
    expect(() => parseTelemetryConfig(env)).not.toThrow("hush");
  });
});
