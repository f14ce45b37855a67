import type { ReplicaLogLine } from "../runtime.ts";
import type { RefusalReport } from "./refusal-reports.ts";

/** `main.ts` in the runner image, where the Dockerfile puts it. */
export const EGRESS_PROGRAM = "/opt/toolyard/packages/runtimes/egress/main.ts";

/** A line that the forward proxy has printed; null: it is none of a refusal. */
export function reportOf(text: string): RefusalReport | null {
  // The program prints nothing but such, and its own failures; the engine may have dropped a part of a line.
  return /^\{"refused":"[^"\\]*","count":\d+\}$/.test(text) ? (JSON.parse(text) as RefusalReport) : null;
}

/** A line of the forward proxy's, as one of the replica's: none where nothing was refused. */
export function toRefusedLine({ at, text }: ReplicaLogLine): ReplicaLogLine[] {
  const report = reportOf(text);
  if (report === null) return [];
  const times = report.count === 1 ? "" : `, ${report.count} times more`;
  const why = "it is not in the launch's egress list, or leads to a private address that is not";
  return [{ at, stream: "SYSTEM", text: `${report.refused} was refused${times}: ${why}` }];
}

/** By them programs find a forward proxy. */
export function proxyVariables(url: string): Record<string, string> {
  const direct = "localhost,127.0.0.1,::1";
  return {
    HTTP_PROXY: url,
    http_proxy: url,
    HTTPS_PROXY: url,
    https_proxy: url,
    ALL_PROXY: url,
    all_proxy: url,
    NO_PROXY: direct,
    no_proxy: direct,
    // Node's own fetch and agents, from 24 on.
    NODE_USE_ENV_PROXY: "1",
  };
}
