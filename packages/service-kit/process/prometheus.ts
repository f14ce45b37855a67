/** prom-client's parts that are in use. The whole package also loads its push gateway, its clusters and its quantiles. */
import { createRequire } from "node:module";
import type * as Prometheus from "prom-client";

const require = createRequire(import.meta.url);

export const Counter = require("prom-client/lib/counter.js") as typeof Prometheus.Counter;
export const Gauge = require("prom-client/lib/gauge.js") as typeof Prometheus.Gauge;
export const Registry = require("prom-client/lib/registry.js") as typeof Prometheus.Registry;
export type Registry = Prometheus.Registry;
export const collectDefaultMetrics =
  require("prom-client/lib/defaultMetrics.js") as typeof Prometheus.collectDefaultMetrics;
