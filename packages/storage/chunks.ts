import { setImmediate as turn } from "node:timers/promises";
import type { EntitySchema, FindOptionsWhere, ObjectLiteral } from "typeorm";
import type { Database, SqlTransaction, Transaction } from "./database.ts";
import { dialectOf } from "./dialects.ts";
import { CHUNK_ROWS } from "./parts.ts";

/** How long work in many transactions is guided by who asked for it. */
export interface LongWork {
  /** Ends it between two transactions. */
  readonly signal?: AbortSignal;
  /** Comes first in each transaction; throws where the work is no longer this process's. */
  readonly enter?: (tx: Transaction) => Promise<void>;
}

/**
 * Long work on many rows, in short transactions with turns of the event loop between them: libsql is synchronous, and code that awaits
 * nothing else blocks the event loop. `step` changes at most `limit` rows and answers how many; it is called until it answers fewer. Committed
 * chunks stay when its signal aborts or a step throws, so a step must find by itself where to go on.
 * @returns how many rows were changed
 */
export async function inChunks(
  database: Pick<Database, "transaction">,
  step: (tx: SqlTransaction, limit: number) => Promise<number>,
  { signal, enter }: LongWork = {},
): Promise<number> {
  let sum = 0;
  let changed = CHUNK_ROWS;
  while (changed >= CHUNK_ROWS && !signal?.aborted) {
    changed = await database.transaction(async (tx) => {
      await enter?.(tx);
      return step(tx, CHUNK_ROWS);
    });
    sum += changed;
    await turn();
  }
  return sum;
}

/**
 * Deletes all rows that match, in chunks. The condition should be a range of an index: each chunk looks for its rows anew.
 * @returns how many rows were deleted
 */
export function deleteInChunks<Row extends ObjectLiteral>(
  database: Pick<Database, "transaction">,
  entity: EntitySchema<Row>,
  where: FindOptionsWhere<Row>,
  work?: LongWork,
): Promise<number> {
  return inChunks(database, ({ manager }, limit) => dialectOf(manager).deleteSome(manager, entity, where, limit), work);
}
