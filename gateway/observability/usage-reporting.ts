import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { arch, hostname, platform, release, type } from "node:os";
import { setImmediate as yieldToEventLoop, setTimeout as delay } from "node:timers/promises";
import { calculateReferencedFieldsByType, usageReportingSignature } from "@apollo/utils.usagereporting";
import type { Logger } from "@toolyard/service-kit";
import { Kind, printSchema, type DocumentNode, type GraphQLSchema } from "graphql";
import type { AdmittedOperation } from "../admission/admission.ts";
import type { UsageReportingConfig } from "./telemetry-config.ts";
import { createUsageIngress } from "./usage-ingress.ts";
import {
  createUsageReport,
  type ReportedError,
  type ReportedOperation,
  type UsageOfRequest,
  type UsageReport,
} from "./usage-report.ts";

/** Reports to Apollo the use of operations and fields, by client, with durations and errors; no values, no headers, no traces. */
export interface UsageReporting {
  contextOf(request: Pick<IncomingMessage, "headers">): UsageOfRequest;
  /** Counts an operation that ran. Costs a few additions; longer work is done after the answer. */
  executed(
    operation: AdmittedOperation,
    request: UsageOfRequest,
    durationMs: number,
    errors: readonly ReportedError[] | undefined,
  ): void;
  /** Counts a text that could not be run on a schema. */
  refused(errors: readonly ReportedError[], request: UsageOfRequest, schema: GraphQLSchema): void;
  /** Sends the remaining reports, for a few seconds at most. */
  close(): Promise<void>;
}

export interface UsageReportingOptions {
  config: UsageReportingConfig;
  /** Of this software. */
  version: string;
  log: Pick<Logger, "warn" | "info">;
}

const MAX_CLIENT_NAME = 256;
const FLUSH_MS = 5_000;
const MAX_REPORT_BYTES = 4 * 1_048_576;

/** By the code of the error that refused it. Operations too large for a limit here would be invalid by a rule in Apollo Server. */
const REFUSALS: Readonly<Record<string, ReportedOperation>> = {
  GRAPHQL_PARSE_FAILED: { key: "## GraphQLParseFailure\n", referencedFieldsByType: {} },
  GRAPHQL_VALIDATION_FAILED: { key: "## GraphQLValidationFailure\n", referencedFieldsByType: {} },
  OPERATION_LIMIT_EXCEEDED: { key: "## GraphQLValidationFailure\n", referencedFieldsByType: {} },
  INTROSPECTION_DISABLED: { key: "## GraphQLValidationFailure\n", referencedFieldsByType: {} },
  OPERATION_RESOLUTION_FAILURE: { key: "## GraphQLUnknownOperationName\n", referencedFieldsByType: {} },
};

/** An operation as it is reported, and for which schema; null when it is not reported. */
type Derived = (ReportedOperation & { schemaId: string }) | null;

export function createUsageReporting(options: UsageReportingOptions): UsageReporting {
  const { config, version, log } = options;
  const ingress = createUsageIngress({ config, log });
  const header = {
    graphRef: config.graphRef,
    hostname: hostname(),
    agentVersion: `@toolyard/gateway@${version}`,
    runtimeVersion: `node ${process.version}`,
    uname: `${platform()}, ${type()}, ${release()}, ${arch()}`,
  };
  /** For as long as the operation stays admitted without another check. */
  const derived = new WeakMap<AdmittedOperation, Derived>();
  const schemaIds = new WeakMap<GraphQLSchema, string>();
  /** By the schema's id. */
  const reports = new Map<string, UsageReport>();
  let sending: Promise<void> | null = null;
  let isClosed = false;

  function schemaIdOf(schema: GraphQLSchema): string {
    let id = schemaIds.get(schema);
    if (id === undefined) {
      id = createHash("sha256").update(printSchema(schema)).digest("hex");
      schemaIds.set(schema, id);
    }
    return id;
  }

  function derive({ document, name, schema }: AdmittedOperation): Derived {
    if (isIntrospection(document)) return null;
    return {
      key: `# ${name ?? "-"}\n${usageReportingSignature(document, name ?? "")}`,
      referencedFieldsByType: calculateReferencedFieldsByType({ document, schema, resolvedOperationName: name }),
      schemaId: schemaIdOf(schema),
    };
  }

  function count(operation: ReportedOperation, schemaId: string, request: Parameters<UsageReport["add"]>[1]): void {
    if (isClosed) return;
    let report = reports.get(schemaId);
    if (!report) {
      report = createUsageReport({ header: { ...header, executableSchemaId: schemaId }, maxBytes: MAX_REPORT_BYTES });
      reports.set(schemaId, report);
    }
    report.add(operation, request);
    if (report.bytes >= MAX_REPORT_BYTES) void send();
  }

  /** A signature, and a schema's text, take longer than anything else here; and their failures affect nothing else. */
  function afterAnswer(work: () => void): void {
    setImmediate(() => {
      try {
        work();
      } catch (error) {
        log.warn({ err: error }, "an operation could not be counted in the usage report");
      }
    });
  }

  async function sendAll(): Promise<void> {
    const ready = [...reports.values()].filter(({ isEmpty }) => !isEmpty);
    reports.clear();
    try {
      for (const report of ready) await ingress.send(report.encode(Date.now()));
    } catch (error) {
      log.warn({ err: error }, "a usage report could not be made");
    }
  }

  /** One at a time: while one cannot be sent, the next one fills, and is bounded itself. */
  function send(): Promise<void> {
    sending ??= sendAll().finally(() => {
      sending = null;
    });
    return sending;
  }

  const timer = setInterval(() => void send(), config.intervalMs).unref();
  log.info({ graph_ref: config.graphRef }, "usage is reported to Apollo");

  return {
    contextOf({ headers }) {
      return {
        clientName: textOf(headers["apollographql-client-name"]),
        clientVersion: textOf(headers["apollographql-client-version"]),
        persisted: null,
      };
    },
    executed(operation, request, durationMs, errors = []) {
      const counted = { request, durationMs, errors, isOperation: true };
      const known = derived.get(operation);
      if (known) return count(known, known.schemaId, counted);
      if (known === null) return;
      afterAnswer(() => {
        let fresh = derived.get(operation);
        if (fresh === undefined) {
          // A failed derivation is not tried again.
          derived.set(operation, null);
          fresh = derive(operation);
          derived.set(operation, fresh);
        }
        if (fresh) count(fresh, fresh.schemaId, counted);
      });
    },
    refused(errors, request, schema) {
      const refusal = REFUSALS[String(errors[0]?.extensions?.["code"])];
      if (!refusal) return;
      const counted = { request, durationMs: 0, errors, isOperation: false };
      afterAnswer(() => count(refusal, schemaIdOf(schema), counted));
    },
    async close() {
      clearInterval(timer);
      const limit = new AbortController();
      const all = (async () => {
        await yieldToEventLoop(); // for what waits in afterAnswer
        await sending;
        await send();
      })();
      const tooLate = delay(FLUSH_MS, undefined, { signal: limit.signal }).catch(() => undefined); // cancelled below
      await Promise.race([all, tooLate]);
      isClosed = true;
      limit.abort();
      ingress.close();
      await all;
    },
  };
}

/** Whether the operation asks for the schema only. Apollo's Router leaves such operations out. */
function isIntrospection(document: DocumentNode): boolean {
  const operation = document.definitions.find((node) => node.kind === Kind.OPERATION_DEFINITION);
  const selections = operation?.selectionSet.selections ?? [];
  return (
    selections.some((node) => node.kind === Kind.FIELD && node.name.value !== "__typename") &&
    selections.every((node) => node.kind === Kind.FIELD && node.name.value.startsWith("__"))
  );
}

function textOf(header: string | string[] | undefined): string {
  return typeof header === "string" ? header.slice(0, MAX_CLIENT_NAME) : "";
}
