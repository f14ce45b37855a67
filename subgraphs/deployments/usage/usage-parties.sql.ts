import { setImmediate as turn } from "node:timers/promises";
import { CHUNK_ROWS, dialectOf, partsOf } from "@toolyard/storage";
import type { EntityManager } from "typeorm";
import { PARTY_KINDS, partiesOf } from "./usage-parties.ts";
import type { ReportedCall } from "./usage-record.ts";
import { DAY_MS } from "./usage-window.ts";

/**
 * Decides by which labels each call is counted: its user's and its client's, or those of all others once a deployment has had so many in a day.
 * The buckets of a day remember which it has.
 */
export async function countedParties(
  manager: EntityManager,
  calls: readonly ReportedCall[],
): Promise<(call: ReportedCall) => [user: string, client: string]> {
  const counted = new Set<string>();
  const labels = new Map<string, { day: number; deploymentId: string; party: string }>();
  for (const call of calls)
    for (const party of partiesOf(call)) {
      const day = Math.floor(call.at / DAY_MS) * DAY_MS;
      labels.set(keyOf(day, call.deploymentId, party), { day, deploymentId: call.deploymentId, party });
    }
  const wanted = [...labels.values()];
  const dialect = dialectOf(manager);
  const exact = dialect.rows("?", "k", ["integer", "text", "text"]);
  for (const part of partsOf(wanted, CHUNK_ROWS)) {
    const rows = await manager.query<{ place: number }[]>(
      `SELECT ${exact.index} AS "place" FROM ${exact.from} CROSS JOIN usage_parties b ON b."resolutionMs" = ${DAY_MS}
         AND b.at = ${exact.at(0)} AND b."deploymentId" = ${exact.at(1)} AND b.party = ${exact.at(2)}`,
      [JSON.stringify(part.map(({ day, deploymentId, party }) => [day, deploymentId, party]))],
    );
    for (const { place } of rows) {
      const { day, deploymentId, party } = part[place] as (typeof part)[number]; // one of those asked for
      counted.add(keyOf(day, deploymentId, party));
    }
    await turn();
  }
  for (const { prefix, most } of PARTY_KINDS) {
    const fresh = wanted.filter(
      ({ day, deploymentId, party }) => party.startsWith(prefix) && !counted.has(keyOf(day, deploymentId, party)),
    );
    const days = [...Map.groupBy(fresh, ({ day, deploymentId }) => `${day}\n${deploymentId}`).values()];
    const range = dialect.rows("?", "k", ["integer", "text"]);
    for (const part of partsOf(days, CHUNK_ROWS)) {
      const rows = await manager.query<{ place: number; taken: number }[]>(
        `SELECT ${range.index} AS "place", (SELECT COUNT(*) FROM usage_parties b WHERE b."resolutionMs" = ${DAY_MS}
           AND b.at = ${range.at(0)} AND b."deploymentId" = ${range.at(1)}
           AND b.party >= '${prefix}' AND b.party < '${after(prefix)}') AS "taken" FROM ${range.from}`,
        [JSON.stringify(part.map(([first]) => [first?.day, first?.deploymentId]))],
      );
      for (const { place, taken } of rows)
        for (const { day, deploymentId, party } of part[place]?.slice(0, Math.max(0, most - taken)) ?? [])
          counted.add(keyOf(day, deploymentId, party));
      await turn();
    }
  }
  return (call) => {
    const day = Math.floor(call.at / DAY_MS) * DAY_MS;
    const [user, client] = partiesOf(call);
    const [users, clients] = PARTY_KINDS;
    return [
      counted.has(keyOf(day, call.deploymentId, user)) ? user : users.other,
      counted.has(keyOf(day, call.deploymentId, client)) ? client : clients.other,
    ];
  };
}

/** The first text after all that begin so: of a colon, a semicolon. */
function after(prefix: string): string {
  return `${prefix.slice(0, -1)};`;
}

function keyOf(day: number, deploymentId: string, party: string): string {
  return `${day}\n${deploymentId}\n${party}`;
}
