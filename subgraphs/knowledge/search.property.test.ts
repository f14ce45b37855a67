import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  DELETE,
  createKnowledgeFixture,
  developer,
  search,
  upload,
  type KnowledgeFixture,
} from "./fixtures/subgraph.ts";
import { dataOf } from "@toolyard/testing";

let fixture: KnowledgeFixture;
beforeAll(async () => {
  fixture = await createKnowledgeFixture();
  await upload(fixture.subgraph, { title: "One", content: "alpha beta gamma AND OR NOT NEAR title text" });
});
afterAll(() => fixture[Symbol.asyncDispose]());

const syntax = fc.constantFrom(
  ..."\"'*-+^:(){}[]\\/ \t\n.,~|&%_".split(""),
  " AND ",
  " OR ",
  " NOT ",
  "NEAR(",
  "title:",
  "alpha",
  "bet*",
  '"gamma ',
  "\0",
  "\ud800",
  "e\u0301",
  "\u{16b00}",
  "漢字",
);
const anyQuery = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.string({ unit: "grapheme", maxLength: 60 }),
  fc.array(syntax, { maxLength: 25 }).map((parts) => parts.join("")),
  fc
    .array(fc.string({ unit: "grapheme", minLength: 1, maxLength: 3 }), { minLength: 40, maxLength: 400 })
    .map((parts) => parts.join("* ")),
);

test("any text is a valid query", async () => {
  await fc.assert(
    fc.asyncProperty(anyQuery, async (query) => {
      const { totalCount, hits } = await search(fixture.subgraph, { query });
      expect(hits.length).toBe(totalCount);
    }),
    { numRuns: 250 },
  );
});

const word = fc.stringMatching(/^[a-z]{2,9}(ing|ation|s|ed|ness)?$/);
const text = fc.array(word, { minLength: 1, maxLength: 12 });

test("a document is found by each of its words, by their beginnings and by phrases of it, and no more once it is deleted", async () => {
  await fc.assert(
    fc.asyncProperty(text, fc.nat(), fc.nat({ max: 5 }), async (words, pick, cut) => {
      const { id } = await upload(fixture.subgraph, { title: "Property", content: words.join(" ") });
      const index = pick % words.length;
      const one = words[index] ?? "";
      const prefix = `${one.slice(0, Math.max(2, one.length - cut))}*`;
      const phrase = `"${words.slice(index, index + 3).join(" ")}"`;
      const found = async (query: string) =>
        (await search(fixture.subgraph, { query, first: 100 })).hits.some(({ document }) => document.id === id);
      try {
        for (const query of [one, prefix, phrase, `${one} ${prefix} ${phrase}`, one.toUpperCase()]) {
          expect(await found(query), query).toBe(true);
        }
        for (const query of [`property -${one}`, `property -${prefix}`, `property -${phrase}`]) {
          expect(await found(query), query).toBe(false);
        }
      } finally {
        await dataOf(fixture.subgraph, DELETE, { id }, developer);
      }
      expect(await found(one)).toBe(false);
      expect(await found(prefix)).toBe(false);
    }),
    { numRuns: 100 },
  );
});

test("whatever a prefix finds has a word that begins so", async () => {
  const texts = fc.sample(text, { numRuns: 40, seed: 1 }).map((words) => words.join(" "));
  const contents = new Map<string, string>();
  for (const content of texts) {
    contents.set((await upload(fixture.subgraph, { title: "Many", content, tags: ["many"] })).id, content);
  }
  const prefixes = fc
    .constantFrom(...texts.flatMap((content) => content.split(" ")))
    .chain((one) => fc.nat({ max: one.length }).map((length) => one.slice(0, Math.max(1, length))));
  await fc.assert(
    fc.asyncProperty(prefixes, async (prefix) => {
      const { hits } = await search(fixture.subgraph, { query: `${prefix}*`, tag: "many", first: 100 });
      const expected = [...contents].filter(([, content]) =>
        `${content} many`.split(" ").some((one) => one.startsWith(prefix)),
      );
      expect(hits.map(({ document }) => document.id).toSorted()).toEqual(expected.map(([id]) => id).toSorted());
      for (const { snippet } of hits) expect(snippet).toMatch(/⟦[^⟦⟧]+⟧/);
    }),
    { numRuns: 100 },
  );
});
