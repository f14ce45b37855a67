import type { SparseHistogram } from "./histogram.ts";

/** One call through a proxy. */
export interface UsageRecord {
  /** UUIDv7 made when it was recorded. */
  id: string;
  at: number;
  toolId: string;
  deploymentId: string;
  /** The endpoint's template, never a raw path. */
  endpoint: string;
  method: string;
  mcpMethod: string | null;
  mcpTool: string | null;
  statusCode: number;
  /** How it failed in MCP's terms, whatever the status. */
  mcpFailure: "RPC_ERROR" | "TOOL_ERROR" | null;
  responseTimeMs: number;
  userId: string | null;
}

export interface ReportedCall extends UsageRecord {
  /** Whether the server has that MCP tool, as far as is known: the name is whatever the caller wrote. */
  mcpToolKnown: boolean;
}

/** Calls of one deployment and MCP tool within `resolutionMs` from `at`. `mcpTool` is "" for calls of no MCP tool. */
export interface UsageBucketRow {
  resolutionMs: number;
  at: number;
  deploymentId: string;
  mcpTool: string;
  toolId: string;
  calls: number;
  errors: number;
  mcpFailures: number;
  histogram: SparseHistogram;
}
