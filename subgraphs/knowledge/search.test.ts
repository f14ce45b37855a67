import { codeOf } from "@toolyard/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SEARCH, createKnowledgeFixture, search, upload, viewer, type KnowledgeFixture } from "./fixtures/subgraph.ts";

let fixture: KnowledgeFixture;
const find = (query: string, more: Record<string, unknown> = {}) => search(fixture.subgraph, { query, ...more });

beforeAll(async () => {
  fixture = await createKnowledgeFixture();
  const documents = [
    { title: "Running servers", content: "How to start a process and keep it alive.", tags: ["ops"], toolId: "tool-1" },
    {
      title: "Notes",
      content: "The dogs run. A server runs too, says the code generation manual.",
      tags: ["ops", "dogs"],
    },
    { title: "General remarks", content: "In general, nothing in particular. Café Größe naïve.", tags: [] },
    {
      title: "Weather",
      content:
        "<h1>Forecast</h1><script>var hidden = 'server';</script><p>Rain&nbsp;&amp; s<b>un</b></p><style>p{}</style>",
      contentType: "text/html",
      toolId: "tool-2",
    },
    {
      title: "Settings",
      content: '{"retry_limit": 5, "text": "first line\\nsecond caf\\u00e9"}',
      contentType: "application/json",
    },
    {
      title: "Long",
      content: `${"filler words here. ".repeat(400)}The needle stands here. ${"more filler. ".repeat(400)}`,
    },
    { title: "Brackets", content: "An ⟦odd⟧ bracket" },
    { title: "Chinese", content: "你好 世界 mixed" },
  ];
  for (const input of documents) await upload(fixture.subgraph, input);
});
afterAll(() => fixture[Symbol.asyncDispose]());

describe("a search", () => {
  test("finds all its words by their stems, in any form, case and accent", async () => {
    expect((await find("runs")).titles.toSorted()).toEqual(["Notes", "Running servers"]);
    expect((await find("RUNNING dog")).titles).toEqual(["Notes"]);
    expect((await find("cafe grosse")).titles).toEqual([]); // ß has no other spelling
    expect((await find("cafe größe")).titles).toEqual(["General remarks"]);
    expect((await find("dogs unicorn")).titles).toEqual([]);
    expect((await find("世界")).titles).toEqual(["Chinese"]);
  });

  test("finds phrases in their order only", async () => {
    expect((await find('"dogs run"')).titles).toEqual(["Notes"]);
    expect((await find('"run dogs"')).titles).toEqual([]);
    expect((await find('"dogs run')).titles).toEqual(["Notes"]); // not closed: to the end
    expect((await find("code-generation")).titles).toEqual(["Notes"]);
  });

  test("leaves out what is excluded: words, phrases and prefixes", async () => {
    expect((await find("server -dogs")).titles).toEqual(["Running servers"]);
    expect((await find('server -"dogs run"')).titles).toEqual(["Running servers"]);
    expect((await find("server -alive")).titles).toEqual(["Notes"]);
    expect((await find("server -proc*")).titles).toEqual(["Notes"]);
    expect((await find("-dogs")).titles).toEqual([]);
  });

  test("finds words by their beginning, also where the stem is shorter, and no others", async () => {
    expect((await find("generati*")).titles).toEqual(["Notes"]);
    expect((await find("gener*")).titles.toSorted()).toEqual(["General remarks", "Notes"]);
    expect((await find("GENERA* nothi*")).titles).toEqual(["General remarks"]);
    expect((await find("dogs generati*")).titles).toEqual(["Notes"]);
    expect((await find('"code generat"*')).titles).toEqual(["Notes"]);
    expect((await find("caf*")).titles.toSorted()).toEqual(["General remarks", "Settings"]);
    expect((await find("generatix*")).titles).toEqual([]);
  });

  test("ranks what is in the title higher, and scores higher what is better", async () => {
    const { hits, titles } = await find("server");
    expect(titles).toEqual(["Running servers", "Notes"]);
    expect(hits[0]?.score).toBeGreaterThan(hits[1]?.score ?? 0);
    expect(hits[1]?.score).toBeGreaterThan(0);
  });

  test("shows the best passage with its matches marked", async () => {
    const [needle] = (await find("needle")).hits;
    expect(needle?.snippet).toMatch(/^….*The ⟦needle⟧ stands here.*…$/);
    expect(needle?.snippet.length).toBeLessThan(400);
    expect((await find("dog generati*")).hits[0]?.snippet).toBe(
      "The ⟦dogs⟧ run. A server runs too, says the code ⟦generation⟧ manual.",
    );
    expect((await find("weather")).hits[0]?.snippet).toBe("⟦Weather⟧");
    expect((await find("odd")).hits[0]?.snippet).toBe("An [⟦odd⟧] bracket");
  });

  test("sees HTML as its reader does, and JSON by its keys and values", async () => {
    expect((await find('"rain sun"')).titles).toEqual(["Weather"]);
    expect((await find("hidden")).titles).toEqual([]);
    expect((await find("h1")).titles).toEqual([]);
    expect((await find("second café retry_limit")).titles).toEqual(["Settings"]);
  });

  test("keeps to a tool and a tag", async () => {
    expect((await find("server", { toolId: "tool-1" })).titles).toEqual(["Running servers"]);
    expect((await find("server", { tag: "dogs" })).titles).toEqual(["Notes"]);
    expect(await find("server", { tag: "dogs", toolId: "tool-1" })).toMatchObject({ totalCount: 0, titles: [] });
  });

  test("pages through its hits", async () => {
    const first = await find("server", { first: 1 });
    expect(first).toMatchObject({ totalCount: 2, titles: ["Running servers"], pageInfo: { hasNextPage: true } });
    const second = await find("server", { first: 1, after: first.pageInfo.endCursor });
    expect(second).toMatchObject({ totalCount: 2, titles: ["Notes"], pageInfo: { hasNextPage: false } });
    expect((await find("server", { offset: 1 })).titles).toEqual(["Notes"]);
    expect((await find("server", { offset: 9 })).titles).toEqual([]);
    const wrong = Buffer.from("c:wrong").toString("base64url");
    expect(await codeOf(fixture.subgraph, SEARCH, { query: "server", after: wrong }, viewer)).toBe("BAD_USER_INPUT");
  });

  test("of nothing finds nothing", async () => {
    for (const query of ["", "  ", '"', '""', "*", "-", "!!!", "- *", '"!"*', "\0"]) {
      expect(await find(query), JSON.stringify(query)).toMatchObject({ totalCount: 0, titles: [] });
    }
    expect((await find('server !!! - ""')).totalCount).toBe(2);
  });

  test("is for those who may read documents", async () => {
    expect(await codeOf(fixture.subgraph, SEARCH, { query: "a" })).toBe("UNAUTHENTICATED");
  });

  test("by a prefix takes words that the index had to cut within a character", async () => {
    await upload(fixture.subgraph, { title: "Unbroken", content: "漢字仮名".repeat(10_000) });
    expect((await find("漢*")).titles).toEqual(["Unbroken"]);
    expect((await find("世界 -漢*")).titles).toEqual(["Chinese"]);
  });
});
