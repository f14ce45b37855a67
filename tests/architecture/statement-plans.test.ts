import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ObservedStatement } from "@toolyard/storage";
import { plansOf, statementsOf } from "@toolyard/testing";
import LibsqlDatabase from "libsql";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fill } from "./fixtures/filling.ts";
import { openInstallation } from "./fixtures/installation.ts";
import { performOperations } from "./fixtures/store-operations.ts";

/** Statements that read or sort more than they answer, and why they may. No statistics are kept, so a plan is the same whatever is stored. */
const ALLOWED: [RegExp, string][] = [
  [
    /^SELECT .* FROM "hosts" "hosts" (ORDER BY|WHERE .*"heardAt" <)/,
    "there are few hosts, and all of them are asked for",
  ],
  [/GROUP BY "(deployment|task)"\."status"$/, "the metrics count rows by the index alone"],
  [/"users"\."role" = \?.* ORDER BY "users"\."createdAt"/, "it sorts the administrators, at the start"],
  [/WHERE "session"\."userId" = \? .*ORDER BY "token"\."issuedAt"/, "it sorts one user's tokens when they are revoked"],
];

/** What is no statement of its own, or is another process's: search-cost.test.ts is about those. */
const WITHOUT_STATEMENTS = [
  "deployment_events.topic",
  "deployments.transaction",
  "deployments.transaction.emit",
  "documents.close",
  "documents.delete",
  "documents.insert",
  "documents.search",
  "documents.update",
  "health_events.topic",
  "hosts.now",
  "identity.transaction",
  "identity.transaction.transaction",
  "revocation_events.topic",
  "tasks.close",
  "tasks.events",
  "tasks.transitions",
  "tool_events.topic",
  // SQLite has an index of trigrams.
  "tools.completeSearch",
];

interface Performed {
  operation: string;
  statements: ObservedStatement[];
}

const performed: Performed[] = [];
let dataDir: string;

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), "toolyard-plans-"));
  {
    await using filled = await openInstallation({ dataDir, start: true });
    await fill(filled, 2);
  }
  await performOperations({ dataDir }, async (operation, work) => {
    const statements = await statementsOf(async () => work());
    performed.push({ operation, statements });
  });
});
afterAll(() => rm(dataDir, { recursive: true, force: true }));

test("no operation of a store scans a table, or sorts what it has found, but those that say why", () => {
  const explain = createExplainer();
  const found = performed.flatMap(({ operation, statements }) =>
    statements.map((statement) => ({ operation, sql: statement.sql, faults: explain(statement) })),
  );
  const faulty = found.filter(({ faults }) => faults.length > 0);
  const allowed = ({ sql }: { sql: string }) => ALLOWED.some(([pattern]) => pattern.test(sql));
  expect(faulty.filter((each) => !allowed(each))).toEqual([]);
  expect(ALLOWED.filter(([pattern]) => !faulty.some(({ sql }) => pattern.test(sql)))).toEqual([]);
});

test("each operation that reads or writes was performed with statements", () => {
  const silent = performed.filter(({ statements }) => statements.length === 0).map(({ operation }) => operation);
  expect(silent.toSorted()).toEqual(WITHOUT_STATEMENTS.toSorted());
});

/** What is wrong with a statement's plan; the values make no difference. */
function createExplainer(): (statement: ObservedStatement) => string[] {
  const known = new Map<string, string[]>();
  return (statement) => {
    const { file, sql } = statement;
    let faults = known.get(sql);
    if (!faults) {
      const [plan] = plansOf([statement]);
      faults = plan ? faultsOf(sql, plan.steps, partialIndexes(file)) : [];
      known.set(sql, faults);
    }
    return faults;
  };
}

function partialIndexes(file: string): string[] {
  const database = new LibsqlDatabase(file);
  const rows = database.prepare("SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'").all();
  database.close();
  return (rows as { name: string }[]).map(({ name }) => name); // what is selected
}

/** @param partial Indexes that hold only what a list is of. */
function faultsOf(sql: string, plan: readonly string[], partial: readonly string[]): string[] {
  // A count that is selected looks at what it counts: by an index, and by nothing else.
  const isCount = /^SELECT (COUNT\((\*|1)\)|COUNT\(DISTINCT)/i.test(sql);
  const isSorted = plan.some((step) => /USE TEMP B-TREE FOR (RIGHT PART OF )?ORDER BY/.test(step));
  // The first rows of an index's order, whichever they are.
  const isFirst = (step: string) =>
    /\bLIMIT \d/.test(sql) &&
    !isSorted &&
    (!/\bWHERE\b/.test(sql) || partial.some((name) => step.endsWith(` ${name}`)));
  return plan.filter((step) => {
    if (
      /^SCAN \w+ VIRTUAL TABLE|^SCAN (\d+ )?CONSTANT ROW|^SCAN dummy_table$|^SCAN \(subquery|^SCAN part_\d+$/.test(step)
    )
      return false;
    if (/AUTOMATIC .*INDEX/.test(step) || /USE TEMP B-TREE FOR (RIGHT PART OF )?ORDER BY/.test(step)) return true;
    if (!step.startsWith("SCAN ")) return false;
    return !isFirst(step) && !(isCount && /USING COVERING INDEX/.test(step));
  });
}
