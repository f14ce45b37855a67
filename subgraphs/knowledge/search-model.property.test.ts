import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createKnowledgeFixture, search, upload, type KnowledgeFixture } from "./fixtures/subgraph.ts";

/** Words that are their own stems, so that plain comparing says what a search must find. */
const VOCABULARY = "kilo delta doc dock dog alpha alphabet tango whisky x y 漢字 zulu42".split(" ");

interface Stored {
  title: string;
  words: string[];
  tag: string;
}

const stored = new Map<string, Stored>();
let fixture: KnowledgeFixture;

beforeAll(async () => {
  fixture = await createKnowledgeFixture();
  const anyWord = fc.constantFrom(...VOCABULARY);
  const documents = fc.sample(
    fc.record({
      title: anyWord,
      tag: fc.constantFrom("red", "blue"),
      // Some are of many passages.
      words: fc.oneof(
        fc.array(anyWord, { maxLength: 8 }),
        fc.array(fc.oneof({ weight: 20, arbitrary: fc.constant("filler") }, anyWord), {
          minLength: 900,
          maxLength: 2_500,
        }),
      ),
    }),
    { numRuns: 60, seed: 7 },
  );
  for (const document of documents) {
    const { title, tag, words } = document;
    stored.set((await upload(fixture.subgraph, { title, content: words.join(" "), tags: [tag] })).id, document);
  }
});
afterAll(() => fixture[Symbol.asyncDispose]());

interface Term {
  words: string[];
  prefix: boolean;
  excluded: boolean;
}

const holds = (text: readonly string[], { words, prefix }: Term) =>
  text.some((_, start) =>
    words.every((word, index) => {
      const there = text[start + index] ?? "";
      return prefix && index === words.length - 1 ? there.startsWith(word) : there === word;
    }),
  );

const written = ({ words, prefix, excluded }: Term) => {
  const text = words.length === 1 ? words[0] : `"${words.join(" ")}"`;
  return `${excluded ? "-" : ""}${text}${prefix ? "*" : ""}`;
};

const oneWord = fc.constantFrom(...VOCABULARY, "filler", "nowhere");
/** Mostly phrases of the documents themselves: made up, they would hardly ever be found. */
const term: fc.Arbitrary<Term> = fc
  .tuple(
    fc.nat(),
    fc.nat(),
    fc.oneof(fc.constant(1), fc.integer({ min: 2, max: 30 })),
    oneWord,
    fc.boolean(),
    fc.nat({ max: 5 }),
  )
  .map(([which, from, length, alone, prefix, excluded]) => {
    const texts = [...stored.values()].map(({ words }) => words).filter((words) => words.length > 0);
    const text = texts[which % texts.length] ?? [];
    const start = from % text.length;
    const words = length === 1 ? [alone] : text.slice(start, start + length);
    const last = words.at(-1) ?? "";
    return { words: prefix ? [...words.slice(0, -1), last.slice(0, 3)] : words, prefix, excluded: excluded === 0 };
  });

test("a search over texts in passages finds what plain comparing finds, by words, phrases, prefixes, exclusions and tags", async () => {
  let found = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(term, { minLength: 1, maxLength: 3 }),
      fc.option(fc.constantFrom("red", "blue")),
      async (terms, tag) => {
        const query = terms.map(written).join(" ");
        fc.pre(query.length <= 1_000);
        const wanted = terms.filter(({ excluded }) => !excluded);
        const expected = [...stored].filter(
          ([, { title, words, tag: own }]) =>
            wanted.length > 0 &&
            (tag === null || tag === own) &&
            terms.every((one) => (holds(words, one) || holds([title], one)) !== one.excluded),
        );
        const { hits } = await search(fixture.subgraph, { query, first: 100, tag });
        expect(hits.map(({ document }) => document.id).toSorted(), query).toEqual(
          expected.map(([id]) => id).toSorted(),
        );
        for (const { snippet } of hits) expect(snippet, query).toMatch(/⟦[^⟦⟧]+⟧/);
        found += hits.length;
      },
    ),
    { numRuns: 150 },
  );
  expect(found).toBeGreaterThan(150);
});
