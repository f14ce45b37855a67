import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import { preconditionFailed } from "@toolyard/service-kit";
import type { Row, RowKey } from "../tables.ts";

/** A part of an installation's data, such as a table, in one of the places that can keep it: there are the same rows in each. */
export interface Part {
  /** As it is told to operators: `tools.tool_versions`. */
  readonly name: string;
  count(): Promise<number>;
  /** All rows, or those after one of them, in an order of its own; each has the same columns, in the same order, in every place. */
  read(after: RowKey | null): AsyncGenerator<Row[]>;
  keyOf(row: Row): RowKey;
}

/** A place that takes a part. */
export interface PartTarget extends Part {
  /** The key up to which an earlier copy came; null: it begins. */
  reached(): Promise<RowKey | null>;
  /** Adds rows, all or none, and keeps in the same transaction that the copy came up to the last of them. */
  add(rows: readonly Row[]): Promise<void>;
}

/** How a copy is guided by who asked for it. */
export interface CopyWork {
  signal: AbortSignal;
  /** So many more rows are done. */
  done(part: string, rows: number): void;
}

/** Copies what is not there yet. Killed at any moment, it goes on where it was when it is run again. */
export async function copyPart(from: Part, to: PartTarget, { signal, done }: CopyWork): Promise<void> {
  const reached = await to.reached();
  if (reached !== null) done(from.name, await to.count());
  for await (const rows of from.read(reached)) {
    signal.throwIfAborted();
    await to.add(rows);
    done(from.name, rows.length);
    await turn();
  }
}

/** @throws ToolyardError PRECONDITION_FAILED where the two do not have the same rows */
export async function comparePart(from: Part, to: Part, work: CopyWork): Promise<void> {
  const quiet = { ...work, done: () => undefined };
  const [one, other] = [await digestOf(from, work), await digestOf(to, quiet)];
  if (one.rows !== other.rows)
    throw preconditionFailed("copy", `${from.name} has ${one.rows} rows, and its copy ${other.rows}.`);
  if (one.digest !== other.digest)
    throw preconditionFailed("copy", `${from.name} has ${one.rows} rows, as its copy, but not all are the same.`);
}

/** Of all rows, in whatever order they come: the sum of their SHA-256, which other rows do not have. */
async function digestOf(part: Part, { signal, done }: CopyWork): Promise<{ rows: number; digest: bigint }> {
  const sum = { rows: 0, digest: 0n };
  for await (const rows of part.read(null)) {
    signal.throwIfAborted();
    for (const row of rows) {
      const hash = createHash("sha256")
        .update(JSON.stringify(Object.values(row)))
        .digest("hex");
      sum.digest = BigInt.asUintN(256, sum.digest + BigInt(`0x${hash}`));
    }
    sum.rows += rows.length;
    done(part.name, rows.length);
    await turn();
  }
  return sum;
}
