import { setImmediate as turn } from "node:timers/promises";
import { CHUNK_ROWS, dialectOf, partsOf } from "@toolyard/storage";
import type { EntityManager } from "typeorm";
import type { NameEvidence, ReportedCall, UsageRecord } from "./usage-record.ts";
import { DAY_MS } from "./usage-window.ts";

/** The name under which calls of all other MCP tools are counted. */
export const OTHER_TOOLS = "other";
/**
 * How many names of MCP tools are counted by themselves for a deployment in a day (UTC), by the evidence that the tool exists: a flood of
 * names with weak evidence leaves room for others.
 */
export const MAX_NAMES: Record<NameEvidence, number> = {
  LISTED: 4_000,
  LISTED_TO_CALLER: 2_000,
  ANSWERED: 1_000,
  NONE: 0,
};
/** Deployments and days whose names are counted in one statement: each has thousands at most. */
const COUNTED_DAYS = 25;

/** A name that calls of one deployment and day have. */
interface DayName {
  day: number;
  deploymentId: string;
  name: string;
  /** Up to how many names of the day it is counted by itself; 0: never. */
  most: number;
  counted: boolean;
}

/**
 * Decides by which name each call is counted. A name from a caller is counted by itself only when the server is known to have such a tool,
 * up to a limit for each deployment and day. The buckets of today and yesterday remember the known names.
 */
export async function countedNames(
  manager: EntityManager,
  calls: readonly ReportedCall[],
): Promise<(call: UsageRecord) => string> {
  const names = new Map<string, DayName>();
  for (const call of calls) {
    const { at, deploymentId, mcpTool, evidence } = call;
    const most = MAX_NAMES[evidence];
    if (mcpTool === null || mcpTool === "") continue;
    const key = keyOf(call);
    const name = names.get(key);
    if (name) name.most = Math.max(name.most, most);
    else names.set(key, { day: dayOf(at), deploymentId, name: mcpTool, most, counted: false });
  }
  const wanted = [...names.values()].filter(({ name }) => name !== OTHER_TOOLS);
  await forFound(manager, wanted, 0, (name) => (name.counted = true));
  const unknown = wanted.filter(({ counted, most }) => !counted && most === 0);
  await forFound(manager, unknown, DAY_MS, (name) => (name.most = MAX_NAMES.ANSWERED));
  await countNew(
    manager,
    wanted.filter(({ counted, most }) => !counted && most > 0),
  );
  return (call) => {
    if (call.mcpTool === null || call.mcpTool === "") return "";
    return names.get(keyOf(call))?.counted ? call.mcpTool : OTHER_TOOLS;
  };
}

/** Those that were counted by themselves on their day, or `earlierMs` before. */
async function forFound(
  manager: EntityManager,
  names: readonly DayName[],
  earlierMs: number,
  found: (name: DayName) => void,
): Promise<void> {
  const key = dialectOf(manager).rows("?", "k", ["integer", "text", "text"]);
  for (const part of partsOf(names, CHUNK_ROWS)) {
    const keys = part.map(({ day, deploymentId, name }) => [day - earlierMs, deploymentId, name]);
    const rows = await manager.query<{ place: number }[]>(
      `SELECT ${key.index} AS "place" FROM ${key.from} CROSS JOIN usage_buckets b ON b."resolutionMs" = ${DAY_MS}
         AND b.at = ${key.at(0)} AND b."deploymentId" = ${key.at(1)} AND b."mcpTool" = ${key.at(2)}`,
      [JSON.stringify(keys)],
    );
    for (const { place } of rows) found(part[place] as DayName); // one of those asked for
    await turn();
  }
}

/** As many as there is room for, those that are known best first. */
async function countNew(manager: EntityManager, names: readonly DayName[]): Promise<void> {
  const key = dialectOf(manager).rows("?", "k", ["integer", "text"]);
  const days = [...Map.groupBy(names, ({ day, deploymentId }) => `${day}\n${deploymentId}`).values()];
  for (const part of partsOf(days, COUNTED_DAYS)) {
    const keys = part.map(([first]) => [first?.day, first?.deploymentId]);
    const rows = await manager.query<{ place: number; taken: number }[]>(
      `SELECT ${key.index} AS "place", (SELECT COUNT(*) FROM usage_buckets b WHERE b."resolutionMs" = ${DAY_MS}
         AND b.at = ${key.at(0)} AND b."deploymentId" = ${key.at(1)}) AS "taken" FROM ${key.from}`,
      [JSON.stringify(keys)],
    );
    for (const row of rows) {
      let { taken } = row;
      for (const name of part[row.place]?.toSorted((one, other) => other.most - one.most) ?? []) {
        if (taken >= name.most) break;
        name.counted = true;
        taken += 1;
      }
    }
    await turn();
  }
}

function dayOf(at: number): number {
  return Math.floor(at / DAY_MS) * DAY_MS;
}

function keyOf({ at, deploymentId, mcpTool }: UsageRecord): string {
  return `${dayOf(at)}\n${deploymentId}\n${mcpTool}`;
}
