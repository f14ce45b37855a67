import fc from "fast-check";
import { expect, test } from "vitest";
import { createCaller, createUserCaller } from "../identity/caller.ts";
import { newId } from "../identifiers.ts";
import type { Page, Rows } from "./paging.ts";
import { reachableRows } from "./reachable-rows.ts";

interface Row {
  id: string;
  toolId: string;
}

/** Newest first. */
function listOf(rows: readonly Row[]) {
  return (toolId: string | undefined, page: Page): Rows<Row> => {
    const all = rows.filter((row) => toolId === undefined || row.toolId === toolId).toReversed();
    const after = all.filter(({ id }) => page.afterId === null || id < page.afterId);
    return {
      rows: async () => after.slice(page.offset, page.offset + page.limit + 1),
      totalCount: async () => all.length,
    };
  };
}

const user = createUserCaller("me", "DEVELOPER");
const tools = ["one", "two", "three", "four"];

test("a limited key's list is the whole one without what it does not reach, page by page", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom(...tools), { maxLength: 30 }),
      fc.option(fc.subarray(tools), { nil: null }),
      fc.option(fc.constantFrom(...tools), { nil: null }),
      fc.record({ limit: fc.integer({ min: 1, max: 5 }), offset: fc.nat(6), after: fc.option(fc.nat(29)) }),
      async (toolIdsOfRows, toolIds, asked, { limit, offset, after }) => {
        const rows = toolIdsOfRows.map((toolId) => ({ id: newId(), toolId }));
        const page = { limit, offset, afterId: after === null ? null : (rows[after]?.id ?? null) };
        const caller = createCaller({ ...user, toolIds });
        const found = reachableRows(caller, asked, page, listOf(rows));
        const reached = rows.filter(({ toolId }) => caller.reaches(toolId) && (asked === null || toolId === asked));
        const wanted = listOf(reached)(undefined, page);
        expect(await found.rows()).toEqual(await wanted.rows());
        expect(await found.totalCount()).toBe(await wanted.totalCount());
      },
    ),
  );
});

test("rows of several tools are skipped only so far", () => {
  const page = { limit: 20, offset: 1_001, afterId: null };
  const of = (toolIds: string[] | null) => () =>
    reachableRows(createCaller({ ...user, toolIds }), null, page, listOf([]));
  expect(of(["one", "two"])).toThrow(expect.objectContaining({ code: "BAD_USER_INPUT" }));
  expect(of(["one"])).not.toThrow();
  expect(of(null)).not.toThrow();
});
