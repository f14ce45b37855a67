import { promisify } from "node:util";
import { setTimeout as delay } from "node:timers/promises";
import { gzip } from "node:zlib";
import { messageOf, type Logger } from "@toolyard/service-kit";
import type { UsageReportingConfig } from "./telemetry-config.ts";

/** Where reports are sent. */
export interface UsageIngress {
  /** Sends a report, with retries. Never rejects: a report that cannot be sent is lost, and the first such failure is logged. */
  send(report: Uint8Array): Promise<void>;
  /** Ends requests under way. */
  close(): void;
}

export interface UsageIngressOptions {
  config: Pick<UsageReportingConfig, "url" | "apiKey" | "graphRef">;
  log: Pick<Logger, "warn" | "info">;
}

const compress = promisify(gzip);
const MAX_REASON = 200;
const ATTEMPTS = 5;
/** Before the second attempt; twice that before the third, and so on. */
const FIRST_DELAY_MS = 100;
const TIMEOUT_MS = 30_000;

export function createUsageIngress(options: UsageIngressOptions): UsageIngress {
  const { config, log } = options;
  const { url, apiKey, graphRef } = config;
  const closing = new AbortController();
  let isFailing = false;

  /** @returns the reason for a refusal; null when it was accepted */
  async function post(body: Uint8Array): Promise<{ reason: string; status: number | null } | null> {
    try {
      const answer = await fetch(url, {
        method: "POST",
        headers: {
          "x-api-key": apiKey,
          "content-type": "application/protobuf",
          "content-encoding": "gzip",
          accept: "application/json",
          "user-agent": "toolyard-gateway",
        },
        body,
        redirect: "error",
        signal: AbortSignal.any([closing.signal, AbortSignal.timeout(TIMEOUT_MS)]),
      });
      const said = (await answer.text()).replaceAll(apiKey, "[redacted]").slice(0, MAX_REASON);
      return answer.ok ? null : { reason: `HTTP ${answer.status} ${said}`.trim(), status: answer.status };
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      return { reason: messageOf(cause), status: null };
    }
  }

  function tell(reason: string, status: number | null): void {
    if (isFailing) return;
    isFailing = true;
    const host = new URL(url).host;
    if (status === 401 || status === 403) {
      log.warn(
        { graph_ref: graphRef, ingress: host, reason },
        "Apollo does not accept APOLLO_KEY for this graph, so it gets no usage reports. Make a key for APOLLO_GRAPH_REF in Studio (Settings, API keys) and start again with it, or without APOLLO_KEY to report nothing",
      );
    } else {
      log.warn(
        { graph_ref: graphRef, ingress: host, reason },
        "usage reports cannot be sent to Apollo; they are dropped until they can",
      );
    }
  }

  return {
    async send(report) {
      const body = await compress(report);
      for (let attempt = 1; ; attempt++) {
        const failure = await post(body);
        if (!failure) {
          if (isFailing) log.info({ graph_ref: graphRef }, "usage reports are sent to Apollo again");
          isFailing = false;
          return;
        }
        const isFinal = failure.status !== null && failure.status < 500;
        if (isFinal || attempt >= ATTEMPTS || closing.signal.aborted) return tell(failure.reason, failure.status);
        await delay(FIRST_DELAY_MS * 2 ** (attempt - 1), undefined, { signal: closing.signal }).catch(() => undefined); // closed: the next attempt ends at once
      }
    },
    close: () => closing.abort(),
  };
}
