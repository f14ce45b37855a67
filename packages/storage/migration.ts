import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { MigrationInterface, QueryRunner } from "typeorm";

/** SQL statements that take the schema from one state to the next. Never changed once released. */
export interface Migration {
  /** `0001-initial`: number and name, as the file's. */
  name: string;
  statements: string[];
}

/**
 * The migrations of a folder: files `NNNN-name.sql`, statements separated by a line `--`. Made by
 * `npm run generate-migration`, which compares the entities with the schema that the migrations so far make.
 */
export function readMigrations(folder: string): Migration[] {
  return readdirSync(folder)
    .filter((file) => /^\d{4}-[a-z0-9-]+\.sql$/.test(file))
    .toSorted()
    .map((file) => ({
      name: file.slice(0, -".sql".length),
      statements: readFileSync(join(folder, file), "utf8")
        .split(/^--\n/m)
        .map((statement) => statement.trim())
        .filter((statement) => statement !== ""),
    }));
}

/** The file's name of a migration that `createMigrations` named. */
export function nameOfMigration(name: string): string {
  return name.replace(/^(.*)\d{9}(\d{4})$/, "$2-$1");
}

/** In TypeORM's form: classes whose name ends in a timestamp, here the migration's number. */
export function createMigrations(migrations: Migration[]): (new () => MigrationInterface)[] {
  return migrations.map(({ name, statements }) => {
    const number = name.slice(0, 4).padStart(13, "0");
    return class implements MigrationInterface {
      name = `${name.slice(5)}${number}`;
      async up(runner: QueryRunner): Promise<void> {
        for (const statement of statements) await runner.query(statement);
      }
      async down(): Promise<void> {
        throw new Error("Migrations only go forward: restore a backup instead.");
      }
    };
  });
}
