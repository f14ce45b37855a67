/**
 * `npm run generate-migration -- NAME`: writes the SQL that takes each store from its migrations' schema to its entities',
 * where these differ.
 */
import { join } from "node:path";
import { findSchemaDifferences, writeMigration } from "./store-schemas.ts";

const [name, ...more] = process.argv.slice(2);
if (name === undefined || more.length > 0 || !/^[a-z][a-z0-9-]{0,60}$/.test(name)) {
  process.stderr.write(
    "A migration has a name of a-z, 0-9 and -, that says what it does, as in:\n  npm run generate-migration -- add-tags\n",
  );
  process.exit(2);
}
const root = join(import.meta.dirname, "..");
const differences = await findSchemaDifferences(root);
if (differences.length === 0) process.stdout.write("The migrations match the entities: nothing to write.\n");
for (const difference of differences) {
  process.stdout.write(`${writeMigration(root, difference, name)}: read it before you commit it.\n`);
}
