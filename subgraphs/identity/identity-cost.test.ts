import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "@toolyard/service-kit";
import { openDatabase, readMigrations, type Database } from "@toolyard/storage";
import { plansOf, statementsOf } from "@toolyard/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { entities, migrationsFolder } from "./database.ts";
import { createSqlIdentityStore } from "./identity-store.sql.ts";
import type { IdentityStore } from "./identity-store.ts";

const SESSIONS = 2_000;
const NOW = 1_000_000;
let folder: string;
let database: Database;
let store: IdentityStore;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-identity-"));
  const migrations = readMigrations(migrationsFolder);
  database = await openDatabase({ file: join(folder, "identity.sqlite"), entities, migrations });
  store = createSqlIdentityStore({ database });
  const numbers = `WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${SESSIONS})`;
  await database.transaction(async ({ manager }) => {
    for (const sql of [
      `${numbers} INSERT INTO sessions SELECT 's-' || n, 'u-' || (n % 10), 1, 1, iif(n % 4, 1, ${2 * NOW}), NULL FROM numbers`,
      `${numbers} INSERT INTO refresh_tokens SELECT 'a-' || n, 's-' || n, 'ta-' || n, n, 1 FROM numbers`,
      `${numbers} INSERT INTO refresh_tokens SELECT 'b-' || n, 's-' || n, 'tb-' || n, n + 10000, NULL FROM numbers`,
      `${numbers} INSERT INTO stream_tickets SELECT 'k-' || n, 'h', 'u-1', 'ta-' || n, 1, NULL, NULL, 1 FROM numbers`,
    ])
      await manager.query(sql);
  });
});
afterAll(async () => {
  await database.close();
  await rm(folder, { recursive: true, force: true });
});

async function stepsOf(work: () => Promise<unknown>): Promise<string[]> {
  return plansOf(await statementsOf(work)).flatMap(({ steps }) => steps);
}

test("whatever is asked of sessions and tickets is looked up by an index", async () => {
  const steps = await stepsOf(async () => {
    expect(await store.countSessions(NOW)).toBe(SESSIONS / 4);
    await store.findSessionOfAccessToken("ta-1");
    await store.transaction(async (tx) => {
      expect(await tx.lastIssueTo("u-2", 5_000)).toBe(10_000 + SESSIONS - 8);
      expect(await tx.lastIssueTo("u-2", NOW)).toBe(0);
      await tx.accessTokensOf("s-1", 1);
      await tx.deleteStreamTicketsOf({ tokenIds: ["ta-1"] });
      await tx.deleteStreamTicketsOf({ apiKeyId: "key" });
      await tx.deleteStreamTicketsOf({ userId: "u-7" });
    });
  });
  for (const step of steps) expect(step).not.toMatch(/^SCAN/);
  expect(steps[0]).toMatch(/^SEARCH sessions USING COVERING INDEX/);
});

test("what has ended is removed in transactions of a bounded size, sessions after their tokens, and no further once it is told to end", async () => {
  const ended = new AbortController();
  ended.abort();
  await store.deleteExpired(NOW, ended);
  expect(await store.findSession("s-1")).not.toBeNull();
  const statements = await statementsOf(() => store.deleteExpired(NOW));
  const deletes = statements.filter(({ sql }) => sql.startsWith("DELETE"));
  const tables = deletes.map(({ sql }) => /FROM "(\w+)"/.exec(sql)?.[1]);
  expect(tables.indexOf("sessions")).toBeGreaterThan(tables.lastIndexOf("refresh_tokens"));
  expect(tables.filter((table) => table === "refresh_tokens").length).toBeGreaterThan(3);
  for (const { steps } of plansOf(deletes)) for (const step of steps) expect(step).not.toMatch(/^SCAN/);
  expect(await store.findSession("s-1")).toBeNull();
  expect(await store.findRefreshToken("a-1")).toBeNull();
  expect(await store.findRefreshToken("a-4")).not.toBeNull();
  expect(await store.findStreamTicket("k-2")).toBeNull();
});

test("a search looks into a bounded span of users with each statement, and finds those of all spans in order", async () => {
  const users = 12_000;
  const numbers = `WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${users})`;
  await database.transaction(({ manager }) =>
    manager.query(`${numbers} INSERT INTO users (id, username, usernameKey, email, role, disabled, passwordHash, createdAt)
      SELECT printf('%06d', n), 'P' || n, 'p' || n, iif(n % 4000, NULL, 'Some' || n || '@Example.com'), 'VIEWER', 0, '', 1 FROM numbers`),
  );
  const first: Page = { limit: 1, afterId: null, offset: 0 };
  const found = async (page: Partial<Page>) =>
    (await store.listUsers({ ...first, ...page }, "soMe").rows()).map(({ username }) => username);
  const statements = await statementsOf(async () => {
    expect(await found({ limit: 10 })).toEqual(["P12000", "P8000", "P4000"]);
    expect(await store.listUsers(first, "example").totalCount()).toBe(3);
  });
  expect(await found({})).toEqual(["P12000", "P8000"]);
  expect(await found({ offset: 1 })).toEqual(["P8000", "P4000"]);
  expect(await found({ offset: 3 })).toEqual([]);
  expect(await found({ afterId: "008000" })).toEqual(["P4000"]);
  const searches = plansOf(statements.filter(({ sql }) => sql.includes("LIKE")));
  expect(searches).toHaveLength(6);
  for (const { steps } of searches)
    expect(steps.join()).toMatch(/^SEARCH user USING (COVERING )?INDEX \S+ \(id>\? AND id<\?\)$/);
});
