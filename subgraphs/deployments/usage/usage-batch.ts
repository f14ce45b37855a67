import { setImmediate as turn } from "node:timers/promises";
import { newId, parseInput } from "@toolyard/service-kit";
import { CHUNK_ROWS, partsOf } from "@toolyard/storage";
import { z } from "zod";
import type { ListedNames } from "./listed-names.ts";
import { keptText, type NameEvidence, type ReportedCall } from "./usage-record.ts";

const MAX_RECORDS = 5_000;
const short = z.string().transform(keptText);
const nullableShort = short.nullish().transform((text) => text ?? null);

const usageBatch = z.object({
  id: z.string().min(1).max(64),
  records: z.array(z.unknown()).max(MAX_RECORDS, `must be at most ${MAX_RECORDS}`),
});
const shortId = z
  .string()
  .max(64)
  .nullish()
  .transform((text) => text ?? null);
const usageCall = z.object({
  at: z.number(),
  toolId: z.string().min(1).max(64),
  deploymentId: z.string().min(1).max(64),
  endpoint: short,
  method: short,
  mcpMethod: nullableShort,
  mcpTool: nullableShort,
  mcpToolKnown: z.boolean().nullish(),
  statusCode: z.number().int().min(100).max(999),
  mcpFailure: z
    .enum(["RPC_ERROR", "TOOL_ERROR"])
    .nullish()
    .transform((value) => value ?? null),
  responseTimeMs: z.number().min(0),
  userId: shortId,
  apiKeyId: shortId,
  client: z
    .object({ name: short, version: short })
    .nullish()
    .transform((client) => client ?? null),
});

/** A batch as proxies send it, with an id for each call. @throws ToolyardError BAD_USER_INPUT that names the first wrong call's problems */
export async function parseBatch(given: unknown, listed: ListedNames): Promise<{ id: string; calls: ReportedCall[] }> {
  const { id, records } = parseInput(usageBatch, given, "batch");
  const calls: ReportedCall[] = [];
  // GraphQL's own checks of so many records came before, without a turn of the event loop.
  await turn();
  for (const part of partsOf(records, CHUNK_ROWS)) {
    for (const record of part) {
      const call = parseInput(usageCall, record, `batch.records.${calls.length}`);
      calls.push({ id: newId(), ...call, evidence: evidenceOf(call, listed) });
    }
    await turn();
  }
  return { id, calls };
}

/** A list of the server's tools is better evidence than a result: some servers have a result for any name. */
function evidenceOf(call: z.output<typeof usageCall>, listed: ListedNames): NameEvidence {
  const { deploymentId, mcpTool, mcpToolKnown, statusCode, mcpFailure } = call;
  if (mcpTool === null) return "NONE";
  const isListed = listed.has(deploymentId, mcpTool);
  if (isListed === true) return "LISTED";
  if (mcpToolKnown === true) return "LISTED_TO_CALLER";
  const isAnswered = mcpToolKnown === null || mcpToolKnown === undefined;
  return isListed === null && isAnswered && statusCode === 200 && mcpFailure === null ? "ANSWERED" : "NONE";
}
