import { createHash } from "node:crypto";
import { GraphQLError } from "graphql";
import { expect, test } from "vitest";
import { createPersistedOperations, parsePersistedOperations } from "./persisted-operations.ts";

const sha256Of = (text: string) => createHash("sha256").update(text).digest("hex");
const none = { query: null, id: null, sha256: null };
const codeOf = (outcome: string | GraphQLError) =>
  outcome instanceof GraphQLError ? [outcome.extensions["code"], outcome.message] : outcome;

const ME = "{ me { id } }";
const TOOLS = "{ tools { id } }";
const listed = new Map([["me", ME]]);

test("an operation of the file is found by its id and by its SHA-256, and its text is listed", async () => {
  const persisted = createPersistedOperations({ listed, automatic: false });
  expect(await persisted.textOf({ ...none, id: "me" })).toBe(ME);
  expect(await persisted.textOf({ ...none, sha256: sha256Of(ME) })).toBe(ME);
  expect(persisted.isListed(ME)).toBe(true);
  expect(persisted.isListed(`${ME} `)).toBe(false);
});

test("a request with a text runs the text, whatever else it names", async () => {
  const persisted = createPersistedOperations({ listed, automatic: false });
  expect(await persisted.textOf({ query: TOOLS, id: "me", sha256: null })).toBe(TOOLS);
  expect(persisted.isListed(TOOLS)).toBe(false);
});

test("a request with neither text nor name is refused", async () => {
  const persisted = createPersistedOperations({ automatic: true });
  expect(codeOf(await persisted.textOf(none))).toEqual(["BAD_USER_INPUT", "There is nothing to run: send a `query`."]);
});

test("clients register an operation by its SHA-256 after they were asked for its text", async () => {
  const persisted = createPersistedOperations({ automatic: true });
  const sha256 = sha256Of(TOOLS);
  // Both words are Apollo's: its clients send the text after them.
  expect(codeOf(await persisted.textOf({ ...none, sha256 }))).toEqual([
    "PERSISTED_QUERY_NOT_FOUND",
    "PersistedQueryNotFound",
  ]);
  expect(await persisted.textOf({ ...none, query: TOOLS, sha256 })).toBe(TOOLS);
  expect(await persisted.textOf({ ...none, sha256 })).toBe(TOOLS);
  expect(persisted.isListed(TOOLS)).toBe(false);
});

test("nobody registers a text under the SHA-256 of another one", async () => {
  const persisted = createPersistedOperations({ listed, automatic: true });
  for (const sha256 of [sha256Of(ME), sha256Of(TOOLS).toUpperCase(), "", "me"]) {
    expect(codeOf(await persisted.textOf({ ...none, query: TOOLS, sha256 }))).toEqual([
      "BAD_USER_INPUT",
      "extensions.persistedQuery.sha256Hash is not the query's SHA-256.",
    ]);
  }
  expect(await persisted.textOf({ ...none, sha256: sha256Of(ME) })).toBe(ME);
});

test("where clients register nothing, no client is asked for a text", async () => {
  const persisted = createPersistedOperations({ listed, automatic: false });
  const sha256 = sha256Of(TOOLS);
  expect(await persisted.textOf({ ...none, query: TOOLS, sha256 })).toBe(TOOLS);
  for (const unknown of [{ sha256 }, { id: "tools" }])
    expect(codeOf(await persisted.textOf({ ...none, ...unknown }))).toEqual([
      "PERSISTED_QUERY_NOT_FOUND",
      "There is no persisted operation of this id.",
    ]);
});

test("a client that asks by an unknown id is not asked for a text: it has none", async () => {
  const persisted = createPersistedOperations({ automatic: true });
  expect(codeOf(await persisted.textOf({ ...none, id: "tools", sha256: sha256Of(TOOLS) }))[1]).toBe(
    "There is no persisted operation of this id.",
  );
});

test("what strangers register is bounded, by number and by length; the file's operations stay", async () => {
  const persisted = createPersistedOperations({ listed, automatic: true });
  const register = (text: string) => persisted.textOf({ ...none, query: text, sha256: sha256Of(text) });
  const isKept = async (text: string) => (await persisted.textOf({ ...none, sha256: sha256Of(text) })) === text;
  await register(TOOLS);
  for (let index = 0; index < 10_000; index++) await register(`{ field${index} }`);
  expect(await Promise.all([isKept(TOOLS), isKept("{ field0 }"), isKept("{ field9999 }")])).toEqual([
    false,
    true,
    true,
  ]);
  const long = (index: number) => `{ field${index} #${"x".repeat(400_000)}\n}`;
  for (let index = 0; index < 21; index++) await register(long(index));
  expect(await Promise.all([isKept("{ field9999 }"), isKept(long(0)), isKept(long(20))])).toEqual([false, false, true]);
  const longer = `{ long #${"x".repeat(600_000)}\n}`;
  expect(await register(longer)).toBe(longer);
  expect(await Promise.all([isKept(longer), isKept(long(20)), isKept(ME)])).toEqual([false, true, true]);
});

test("a file is Apollo's manifest, or an object of texts by id", async () => {
  const operations = [
    { id: "a", name: "Me", type: "query", body: ME },
    { id: "b", name: "Tools", type: "query", body: TOOLS },
  ];
  const manifest = { format: "apollo-persisted-query-manifest", version: 1, operations };
  const expected = new Map([
    ["a", ME],
    ["b", TOOLS],
  ]);
  expect(parsePersistedOperations(JSON.stringify(manifest))).toEqual(expected);
  expect(parsePersistedOperations(JSON.stringify({ a: ME, b: TOOLS }))).toEqual(expected);
});

test.each([
  ["not JSON", "{", /is not JSON: /],
  ["a later manifest", '{"format":"apollo-persisted-query-manifest","version":2,"operations":[]}', /is neither/],
  ["a list", '["{ me { id } }"]', /is neither/],
  ["an object of other things", '{"a":{"body":"{ me { id } }"}}', /is neither/],
])("a file that is %s is refused", (_what, text, message) => {
  expect(() => parsePersistedOperations(text)).toThrow(
    expect.objectContaining({ code: "BAD_USER_INPUT", message: expect.stringMatching(message) }),
  );
});
