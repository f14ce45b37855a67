import { setImmediate as turn } from "node:timers/promises";
import { newId, parseInput } from "@toolyard/service-kit";
import { CHUNK_ROWS, partsOf } from "@toolyard/storage";
import { z } from "zod";
import type { ReportedCall } from "./usage-record.ts";

const MAX_RECORDS = 5_000;
const MAX_TEXT = 255;
/** Of what callers write: cut, and such that it is the same text wherever it has been. SQLite ends text at U+0000. */
const short = z.string().transform((text) => text.slice(0, MAX_TEXT).replaceAll("\0", "\uFFFD").toWellFormed());
const nullableShort = short.nullish().transform((text) => text ?? null);

const usageBatch = z.object({
  id: z.string().min(1).max(64),
  records: z.array(z.unknown()).max(MAX_RECORDS, `must be at most ${MAX_RECORDS}`),
});
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
  userId: z
    .string()
    .max(64)
    .nullish()
    .transform((text) => text ?? null),
});

/** A batch as proxies send it, with an id for each call. @throws ToolyardError BAD_USER_INPUT that names the first wrong call's problems */
export async function parseBatch(given: unknown): Promise<{ id: string; calls: ReportedCall[] }> {
  const { id, records } = parseInput(usageBatch, given, "batch");
  const calls: ReportedCall[] = [];
  for (const part of partsOf(records, CHUNK_ROWS)) {
    for (const record of part) {
      const call = parseInput(usageCall, record, `batch.records.${calls.length}`);
      // Proxies of earlier versions do not say.
      const known = call.mcpToolKnown ?? (call.statusCode === 200 && call.mcpFailure === null);
      calls.push({ id: newId(), ...call, mcpToolKnown: known });
    }
    await turn();
  }
  return { id, calls };
}
