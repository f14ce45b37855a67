import type { SparseHistogram } from "./histogram.ts";

const MAX_TEXT = 255;
/** A text of a caller, cut, in a form that every store keeps unchanged. SQLite ends text at U+0000. */
export const keptText = (text: string): string => text.slice(0, MAX_TEXT).replaceAll("\0", "\uFFFD").toWellFormed();

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

/**
 * The evidence that the server has the MCP tool that a caller named: the server's list to Toolyard's probes, a list that a proxy saw go to a
 * caller, or a result of this call where no complete list is known.
 */
export type NameEvidence = "LISTED" | "LISTED_TO_CALLER" | "ANSWERED" | "NONE";

export interface ReportedCall extends UsageRecord {
  evidence: NameEvidence;
  /** The program that called, as it said itself. */
  client: { name: string; version: string } | null;
  apiKeyId: string | null;
}

/** Who calls are counted by, besides their MCP tools. */
export type Party =
  | { kind: "USER"; userId: string | null }
  /** The API key is named where a client does not name itself. */
  | { kind: "CLIENT"; client: { name: string; version: string } | null; apiKeyId: string | null }
  /** Those beyond what is told apart in a day. */
  | { kind: "OTHER_USERS" | "OTHER_CLIENTS" };

/** Calls of one deployment within `resolutionMs` from `at`. */
export interface UsageSumRow {
  resolutionMs: number;
  at: number;
  deploymentId: string;
  toolId: string;
  calls: number;
  errors: number;
  mcpFailures: number;
  histogram: SparseHistogram;
}

/** Those of one MCP tool; "": of none. */
export interface UsageBucketRow extends UsageSumRow {
  mcpTool: string;
}

/** Those of one user, or of one client: by the party's label. */
export interface UsagePartyRow extends UsageSumRow {
  party: string;
}
