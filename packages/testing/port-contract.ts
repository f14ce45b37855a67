import type { Page } from "@toolyard/service-kit";
import { describe, expect } from "vitest";

/** Tests of each method of a port. A method without is a type error, and one whose function has no test fails. */
export type MethodTests<Port> = { [Method in keyof Port]-?: () => void };

export function testMethods<Port>(tests: MethodTests<Port>): void {
  for (const [method, define] of Object.entries<() => void>(tests)) describe(method, define);
}

/** Short texts that a database may fold, cut, pad or take for something else. No two are the same text. */
export const ODD_TEXTS: readonly string[] = [
  "plain",
  "Plain",
  "plain ",
  " plain",
  "plain\t",
  "pl\u00e4in",
  "pla\u0308in",
  "\uff50lain",
  "stra\u00dfe",
  "strasse",
  "\ufb01",
  "fi",
  "\u0131",
  "i",
  "\u306f",
  "\u3070",
  "\u30cf",
  "\u{1f600}",
  "\u{1f601}",
  "\u{1f469}\u200d\u{1f469}\u200d\u{1f467}",
  "\u{1d54f}",
  "\u{10fffd}",
  "\u200b",
  "%",
  "_",
  "\\",
  "\\%",
  "'",
  '"',
  "`",
  "; -- ",
  "a\nb",
  "null",
  "0",
  "00",
  "1e3",
  "__proto__",
  "constructor",
];

/** JSON with what a database may reorder, round, drop or cut: compare what comes back as text, which has the keys' order. */
export const ODD_JSON: unknown = JSON.parse(
  `{"z":1,"a":2,"10":0,"__proto__":{"constructor":null},"":"","null":null,"none":[],"empty":{},"no":false,"zero":0,
    "large":9007199254740991,"small":-9007199254740991,"tiny":1e-7,"third":0.1,"huge":1.7976931348623157e308,
    "same":[[],[null],{"b":1,"a":1}],"\u{1f600}":"\\u0001\\\\\\"\u{1f600}\\n","long":${JSON.stringify("\u6f22\u{1f600}".repeat(20_000))}}`,
);

/** All rows of a list, newest first: read page by page by cursors, and again by offsets, which must agree. */
export async function everyPage<Row>(
  read: (page: Page) => Promise<Row[]>,
  cursorOf: (row: Row) => string,
  limit: number,
): Promise<Row[]> {
  const byCursor: Row[] = [];
  for (let afterId: string | null = null, more = true; more;) {
    const rows = await read({ limit, afterId, offset: 0 });
    const shown = rows.slice(0, limit);
    byCursor.push(...shown);
    more = rows.length > limit;
    // One more says that there is another page, and no more than one.
    expect(rows.length).toBeLessThanOrEqual(limit + 1);
    const last = shown.at(-1);
    afterId = last === undefined ? null : cursorOf(last);
  }
  const byOffset: Row[] = [];
  for (let more = true; more;) {
    const rows = await read({ limit, afterId: null, offset: byOffset.length });
    byOffset.push(...rows.slice(0, limit));
    more = rows.length > limit;
  }
  expect(byOffset).toEqual(byCursor);
  return byCursor;
}
