import type { Attributes } from "@opentelemetry/api";
import type { OpenSpan } from "@toolyard/service-kit/tracing/span.ts";

/** The span of a call in progress. */
export interface CallSpan {
  span: OpenSpan;
  name: string;
  /** Those that hold for the bridge's call of the server, too. */
  attributes: Attributes;
}
