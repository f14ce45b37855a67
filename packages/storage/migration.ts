import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { MigrationInterface, QueryRunner } from "typeorm";

/** SQL statements that take the schema from one state to the next, and back. Never changed once released. */
export interface Migration {
  /** `0001-initial`: number and name, as the file's. */
  name: string;
  statements: string[];
  /** Those that lead back to the state before; null: there is no way back. */
  undo?: string[] | null;
}

/** Databases whose migrations differ. */
export type DialectName = "sqlite" | "mysql";

/**
 * The migrations of a folder, MySQL's in `mysql/` below it: files `NNNN-name.sql` and, for the way back, `NNNN-name.down.sql`; statements separated by a line `--`. Made by
 * `npm run migrate -- create`, which compares the entities with the schema that the migrations so far make.
 */
export function readMigrations(parent: string, dialect: DialectName = "sqlite"): Migration[] {
  const folder = dialect === "sqlite" ? parent : join(parent, dialect);
  return readdirSync(folder)
    .filter((file) => /^\d{4}-[a-z0-9-]+\.sql$/.test(file))
    .toSorted()
    .map((file) => {
      const name = file.slice(0, -".sql".length);
      const down = join(folder, `${name}.down.sql`);
      return {
        name,
        statements: readStatements(join(folder, file)),
        undo: existsSync(down) ? readStatements(down) : null,
      };
    });
}

/** Those of them that are more than comments. */
function readStatements(file: string): string[] {
  return readFileSync(file, "utf8")
    .split(/^--\n/m)
    .map((statement) => statement.trim())
    .filter((statement) => statement.replaceAll(/^--.*$/gm, "").trim() !== "");
}

/** The file's name of a migration that `createMigrations` named. */
export function nameOfMigration(name: string): string {
  return name.replace(/^(.*)\d{9}(\d{4})$/, "$2-$1");
}

/** Runs the statements of a migration, or those that undo it. */
export type RunMigration = (
  runner: QueryRunner,
  migration: { name: string; direction: "up" | "down"; statements: readonly string[] },
) => Promise<void>;

const runAll: RunMigration = async (runner, { statements }) => {
  for (const statement of statements) await runner.query(statement);
};

/** In TypeORM's form: classes whose name ends in a timestamp, here the migration's number. */
export function createMigrations(
  migrations: Migration[],
  run: RunMigration = runAll,
): (new () => MigrationInterface)[] {
  return migrations.map(({ name, statements, undo }) => {
    const number = name.slice(0, 4).padStart(13, "0");
    return class implements MigrationInterface {
      name = `${name.slice(5)}${number}`;
      up(runner: QueryRunner): Promise<void> {
        return run(runner, { name, direction: "up", statements });
      }
      down(runner: QueryRunner): Promise<void> {
        return run(runner, { name, direction: "down", statements: undo ?? [] });
      }
    };
  });
}
