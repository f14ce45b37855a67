import { systemCodeOf } from "@toolyard/service-kit";
import type { RunMigration } from "../migration.ts";

const TABLE = "toolyard_migration_steps";
const HAPPENED = /^ER_(TABLE_EXISTS_ERROR|DUP_FIELDNAME|DUP_KEYNAME|CANT_DROP_FIELD_OR_KEY|BAD_TABLE_ERROR)$/;

/**
 * Runs a migration on a server, where each statement that changes a table commits by itself: how far it is stands in a table, and one that was killed
 * goes on there. Of the statement that was then under way nobody knows whether it happened; where it cannot happen again, it has.
 * @param store Whose migrations these are
 */
export function migrateInSteps(store: string): RunMigration {
  return async (runner, { name, direction, statements }) => {
    const id = `${store} ${name}`;
    await runner.query(
      `CREATE TABLE IF NOT EXISTS ${TABLE} (id VARCHAR(128), direction VARCHAR(4), done INT NOT NULL, PRIMARY KEY (id, direction))`,
    );
    const where = "WHERE id = ? AND direction = ?";
    await runner.query(`DELETE FROM ${TABLE} ${where}`, [id, direction === "up" ? "down" : "up"]);
    const found = `SELECT done FROM ${TABLE} ${where}`;
    const [begun] = (await runner.query(found, [id, direction])) as { done: number }[]; // as it was selected
    if (!begun) await runner.query(`INSERT INTO ${TABLE} (id, direction, done) VALUES (?, ?, 0)`, [id, direction]);
    const first = begun?.done ?? 0;
    for (const [index, statement] of statements.entries()) {
      if (index < first) continue;
      try {
        await runner.query(statement);
      } catch (error) {
        const mayHaveHappened = begun !== undefined && index === first;
        if (!mayHaveHappened || !HAPPENED.test(systemCodeOf(error) ?? "")) throw error;
      }
      await runner.query(`UPDATE ${TABLE} SET done = ? ${where}`, [index + 1, id, direction]);
    }
  };
}
