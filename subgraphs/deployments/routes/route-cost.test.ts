import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { statementsOf } from "@toolyard/testing/statements.ts";
import type { ObservedStatement } from "@toolyard/storage";
import LibsqlDatabase from "libsql";
import { expect, test } from "vitest";
import { createRouteFixture } from "./route-fixture.ts";

/** One change, and one connection that begins anew, where so many tools run and as many were stopped. */
async function changeAmong(tools: number, file?: string) {
  await using fixture = await createRouteFixture({ stoppedRoutes: 5, ...(file !== undefined && { file }) });
  for (let index = 0; index < tools; index += 1) {
    await fixture.deploy(`tool-${index}`);
    await fixture.stop(await fixture.deploy(`stopped-${index}`));
  }
  const deployment = await fixture.deploy("changed");
  const changes = fixture.feed.followChanges("");
  const whole = await statementsOf(async () => {
    while ((await changes.next()).value?.more);
  });
  let bytes = 0;
  const statements: ObservedStatement[] = [];
  for (const change of [() => fixture.run(deployment), () => fixture.stop(deployment)]) {
    await change();
    const latest = await fixture.latest();
    let version = -1;
    statements.push(
      ...(await statementsOf(async () => {
        while (version < latest) {
          const { value } = await changes.next();
          bytes += JSON.stringify(value).length;
          version = Number(value?.version);
        }
      })),
    );
  }
  await changes.return?.();
  return { statements, bytes, whole };
}

test("a change of one route costs the same among ten and among a thousand", async () => {
  const few = await changeAmong(10);
  const many = await changeAmong(1_000);
  expect(many.statements.length).toBe(few.statements.length);
  // Numbers have a digit more or two.
  expect(many.bytes).toBeLessThan(few.bytes + 100);
});

test("every query for routes goes by an index", async () => {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-routes-"));
  try {
    const file = join(folder, "routes.sqlite");
    const { statements, whole } = await changeAmong(10, file);
    const database = new LibsqlDatabase(file);
    const plans = [...whole, ...statements]
      .filter(({ sql }) => sql.startsWith("SELECT"))
      .flatMap(({ sql, parameters }) =>
        database
          .prepare(`EXPLAIN QUERY PLAN ${sql}`)
          .all(...parameters)
          .map((row) => (row as { detail: string }).detail),
      );
    database.close();
    expect(plans.length).toBeGreaterThan(10);
    // `k` is what the statement is given.
    const scans = plans.filter((detail) => detail.startsWith("SCAN") && !detail.startsWith("SCAN k "));
    expect(scans.filter((detail) => !/ USING (COVERING )?INDEX /.test(detail))).toEqual([]);
    // The only one that goes along an index from its end, as far as its limit.
    expect(scans.every((detail) => detail.includes("last_stopped"))).toBe(true);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("of a tool with many deployments its route reads the ends of indexes, not all that run", async () => {
  await using fixture = await createRouteFixture({ stoppedRoutes: 5 });
  for (let index = 0; index < 5; index += 1) await fixture.deploy("tool");
  const looked = await statementsOf(() => fixture.feed.read());
  const [candidates] = looked.filter(({ sql }) => sql.includes('"newest"'));
  const plan = await fixture.explain(candidates);
  const searches = plan.filter((detail) => detail.startsWith("SEARCH"));
  expect(searches).toHaveLength(3);
  for (const [index, columns] of ["toolId=? AND desired=? AND environment=?", "role=?", "status=?"].entries())
    expect(searches[index]).toContain(columns);
  expect(plan.filter((detail) => /TEMP B-TREE|SCAN (?!k\b)/.test(detail))).toEqual([]);
});
