import fc from "fast-check";
import { expect, test } from "vitest";
import { ToolyardError } from "../errors/errors.ts";
import { newId } from "../identifiers.ts";
import { mapRows, parsePage, toConnection, type CursorKind, type Rows } from "./paging.ts";

const base64 = (text: string | Uint8Array) => Buffer.from(text).toString("base64url");
const cursorOf = (id: string): string => base64(`c:${id}`);
const real = fc.oneof(
  fc.constant(null).map(() => cursorOf(newId())),
  fc.nat().map((number) => cursorOf(String(number))),
);
/** A real one with a character changed, doubled, left out or padded. */
const mutated = fc
  .tuple(real, fc.nat(60), fc.string({ maxLength: 3 }), fc.nat(3))
  .map(
    ([cursor, at, put, cut]) => cursor.slice(0, at % cursor.length) + put + cursor.slice((at % cursor.length) + cut),
  );
const cursor = fc.oneof(
  fc.string(),
  fc.base64String(),
  fc.string().map((text) => base64(`c:${text}`)),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => base64(Buffer.concat([Buffer.from("c:"), bytes]))),
  fc.double().map((number) => base64(`c:${number}`)),
  fc.bigInt().map((number) => base64(`c:${number}`)),
  fc.constantFrom("c:NaN", "c:1e3", "c:0x1", "c: 1", "c:-1", "c:01", "c:1\0", "c:Infinity", "c:", "d:1").map(base64),
  real,
  mutated,
);

test.each<[CursorKind, RegExp]>([
  ["id", /^[\da-f-]{36}$/],
  ["number", /^\d{1,15}$/],
])("whatever is sent as a cursor of a list by %s is one of its own or BAD_USER_INPUT", (kind, hidden) => {
  fc.assert(
    fc.property(cursor, (after) => {
      try {
        const { afterId } = parsePage({ after }, kind);
        expect(afterId).toMatch(hidden);
        expect(cursorOf(afterId ?? "")).toBe(after);
      } catch (error) {
        if (!(error instanceof ToolyardError)) throw error;
        expect(error.code).toBe("BAD_USER_INPUT");
      }
    }),
    { numRuns: 2_000 },
  );
});

test("what a list gave is taken back", () => {
  const id = newId();
  expect(parsePage({ after: cursorOf(id) }).afterId).toBe(id);
  expect(parsePage({ after: cursorOf("0") }, "number").afterId).toBe("0");
  expect(parsePage({ after: cursorOf("123456789012345") }, "number").afterId).toBe("123456789012345");
});

test("a cursor that a connection gives is one of its list", async () => {
  const id = newId();
  const rows = { rows: async () => [id], totalCount: async () => 1 };
  const [edge] = await toConnection(rows, parsePage({}), (each) => each).edges();
  expect(edge?.cursor).toBe(cursorOf(id));
});

test("of a connection only what is asked for is read, and its rows once", async () => {
  const read: string[] = [];
  const rows: Rows<number> = {
    rows: async () => (read.push("rows"), [3, 2, 1]),
    totalCount: async () => (read.push("count"), 7),
  };
  const connection = toConnection(mapRows(rows, String), parsePage({ first: 2 }), (each) => each);
  expect(read).toEqual([]);
  const [edges, pageInfo] = await Promise.all([connection.edges(), connection.pageInfo()]);
  expect(edges.map(({ node }) => node)).toEqual(["3", "2"]);
  expect(pageInfo).toEqual({
    hasNextPage: true,
    hasPreviousPage: false,
    startCursor: edges[0]?.cursor,
    endCursor: edges[1]?.cursor,
  });
  expect(read).toEqual(["rows"]);
  expect(await connection.totalCount()).toBe(7);
  expect(read).toEqual(["rows", "count"]);
});
