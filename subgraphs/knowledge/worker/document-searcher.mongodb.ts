import type { MongodbConnection } from "@toolyard/mongodb";
import { documentCollections, type StoredTerm, type StoredTerms } from "../document-models.mongodb.ts";
import type { Hit, SearchFilter } from "../document-index.ts";
import { lastWordOf, type SearchQuery } from "../search-query.ts";
import { bm25f, inverseFrequency, type Totals } from "./bm25f.ts";
import type { AsyncDocumentJobs } from "./document-jobs.ts";
import { LAST_CHARACTER, TITLE_WEIGHT } from "./document-searcher.ts";
import { MAX_WORDS, isOpen, toSearchExpression, type SearchExpression, type WordParts } from "./search-expression.ts";
import type { SearchedText, TextAnalyser } from "./text-analyser.ts";

/** Texts are compared so many characters at a time. */
const COMPARED_CHARACTERS = 8_000_000;

interface Range {
  from: string;
  /** Not in it. */
  to: string;
}

/** One word that is looked for: a stem, or any of a range. */
interface Phrase {
  key: string;
  /** Equal to it. Null: within the range. */
  stem: string | null;
  range: Range;
  fits(stem: string): boolean;
  /** What a document's terms must match. */
  condition: Condition;
}
type Condition = Record<string, unknown>;

/** What documents must have, as far as their terms tell. */
interface Plan {
  /** One of each. */
  required: Phrase[][];
  requiredWords: Range[];
  excluded: Phrase[];
  excludedWords: Range[];
  /** What counts for the rank, as often as the query has it. */
  ranked: Phrase[];
  /** Whether their texts are to be compared as well: for phrases. */
  comparesTexts: boolean;
}

interface Candidate {
  id: string;
  length: number;
  terms: StoredTerm[];
  words: string[];
}

/**
 * Finds documents by the terms that they have: candidates from the indexes of stems and of words, ranked as SQLite ranks. Where a query has
 * phrases, the candidates' texts are compared, by SQLite in memory.
 */
export function createMongodbDocumentSearcher(
  { connection }: MongodbConnection,
  analyser: TextAnalyser,
): Pick<AsyncDocumentJobs, "search"> {
  const { contents, terms, totals } = documentCollections(connection);

  /** The words in use that begin so, in SQLite's order, which is that of bytes here as there. */
  async function wordsBeginningWith(prefix: string): Promise<string[]> {
    const range = rangeOf(prefix);
    const found = await terms
      .aggregate<{ _id: string }>([
        { $match: { words: { $elemMatch: within(range) } } },
        { $project: { words: { $filter: { input: "$words", cond: isWithin("$$this", range) } } } },
        { $unwind: "$words" },
        { $group: { _id: "$words" } },
        { $sort: { _id: 1 } },
        { $limit: MAX_WORDS },
      ])
      .toArray();
    return found.map(({ _id }) => _id);
  }

  async function toExpression(query: SearchQuery): Promise<SearchExpression | null> {
    const words = new Map<string, string[]>();
    for (const { text } of [...query.terms, ...query.excluded].filter(isOpen)) {
      const prefix = lastWordOf(text);
      if (!words.has(prefix)) words.set(prefix, await wordsBeginningWith(prefix));
    }
    return toSearchExpression(query, (prefix, limit) => words.get(prefix)?.slice(0, limit) ?? []);
  }

  /** Null where nothing can match. */
  function planOf(expression: SearchExpression): Plan | null {
    const { plain, beginnings, excluded, excludedPrefixes }: WordParts = expression.parts;
    const plan: Plan = {
      required: [],
      requiredWords: [],
      excluded: [],
      excludedWords: [],
      ranked: [],
      comparesTexts: expression.phrases.length + expression.excludedPhrases.length > 0,
    };
    const stems = plain.map((word) => analyser.stemsOf(word));
    if (plain.length > 0 && stems.every(({ length }) => length === 0)) return null;
    for (const ofWord of stems) {
      if (ofWord.length > 1) plan.comparesTexts = true;
      for (const stem of ofWord) {
        plan.required.push([stemPhrase(stem)]);
        plan.ranked.push(stemPhrase(stem));
      }
    }
    for (const { prefix, words } of beginnings) {
      const ofPrefix = analyser.stemsOf(prefix);
      const last = ofPrefix.pop();
      for (const stem of ofPrefix) plan.required.push([stemPhrase(stem)]);
      if (ofPrefix.length > 0) plan.comparesTexts = true;
      const either = [
        ...(last === undefined ? [] : [rangePhrase(last)]),
        ...words.flatMap((word) => analyser.stemsOf(word).map(stemPhrase)),
      ];
      plan.required.push(either);
      plan.ranked.push(...either);
      const word = analyser.wordsOf(prefix).at(-1);
      if (word === undefined) return null;
      plan.requiredWords.push(rangeOf(word));
    }
    for (const text of excluded) {
      const [stem, ...more] = analyser.stemsOf(text);
      if (more.length > 0) plan.comparesTexts = true;
      else if (stem !== undefined) plan.excluded.push(stemPhrase(stem));
    }
    for (const prefix of excludedPrefixes) {
      const [word, ...more] = analyser.wordsOf(prefix);
      if (more.length > 0) plan.comparesTexts = true;
      else if (word !== undefined) plan.excludedWords.push(rangeOf(word));
    }
    return plan;
  }

  async function candidatesOf(plan: Plan, { toolIds, tag }: SearchFilter): Promise<Candidate[]> {
    const { required, requiredWords, excluded, excludedWords } = plan;
    const having = [
      ...required.map((either) => ({ $or: either.map(({ condition }) => condition) })),
      ...requiredWords.map((range) => ({ words: { $elemMatch: within(range) } })),
    ];
    const lacking = [
      ...excluded.map(({ condition }) => condition),
      ...excludedWords.map((range) => ({ words: { $elemMatch: within(range) } })),
    ];
    const filter = {
      ...(toolIds !== null && { toolId: { $in: [...toolIds] } }),
      ...(tag !== null && { tags: tag }),
    };
    const phrases = [...required.flat(), ...excluded];
    const stems = [...new Set(phrases.flatMap(({ stem }) => stem ?? []))];
    const ranges = phrases.filter(({ stem }) => stem === null).map(({ range }) => range);
    const wanted = {
      documentId: 1,
      length: 1,
      terms: {
        $filter: {
          input: "$terms",
          cond: { $or: [{ $in: ["$$this.s", stems] }, ...ranges.map((range) => isWithin("$$this.s", range))] },
        },
      },
      words: {
        $filter: {
          input: "$words",
          cond: { $or: [false, ...[...requiredWords, ...excludedWords].map((range) => isWithin("$$this", range))] },
        },
      },
    };
    const read = (match: Condition) =>
      terms
        .aggregate<Pick<StoredTerms, "documentId" | "length" | "terms" | "words">>([
          { $match: { ...match, ...filter } },
          { $project: wanted },
        ])
        .toArray();
    // The terms of one that has several parts may be in any of them.
    const [whole, inParts] = await Promise.all([
      read({ parts: 1, $and: having }),
      read({ parts: { $gt: 1 }, $or: [...having, ...lacking] }),
    ]);
    const byId = new Map<string, Candidate>();
    for (const found of [...whole, ...inParts]) {
      const candidate = byId.get(found.documentId);
      if (candidate) {
        candidate.terms.push(...found.terms);
        candidate.words.push(...found.words);
      } else byId.set(found.documentId, { ...found, id: found.documentId });
    }
    return [...byId.values()].filter(
      ({ terms: own, words }) =>
        required.every((either) => either.some(({ fits }) => own.some(({ s }) => fits(s)))) &&
        requiredWords.every((range) => words.some((word) => isIn(word, range))) &&
        !excluded.some(({ fits }) => own.some(({ s }) => fits(s))) &&
        !excludedWords.some((range) => words.some((word) => isIn(word, range))),
    );
  }

  async function* textsOf(ids: readonly string[]): AsyncGenerator<SearchedText[]> {
    let texts: SearchedText[] = [];
    let characters = 0;
    for await (const { _id: id, title, text } of contents.find({ _id: { $in: [...ids] } })) {
      texts.push({ id, title, text });
      characters += text.length;
      if (characters < COMPARED_CHARACTERS) continue;
      yield texts;
      texts = [];
      characters = 0;
    }
    yield texts;
  }

  async function documentsWith({ condition }: Phrase): Promise<number> {
    const [whole, inParts] = await Promise.all([
      terms.countDocuments({ parts: 1, ...condition }),
      terms
        .find({ parts: { $gt: 1 }, ...condition }, { projection: { documentId: 1 } })
        .map(({ documentId }) => documentId)
        .toArray(),
    ]);
    return whole + new Set(inParts).size;
  }

  async function readTotals(): Promise<Totals> {
    const shards = await totals.find().toArray();
    return {
      documents: shards.reduce((sum, { documents }) => sum + documents, 0),
      length: shards.reduce((sum, { length }) => sum + length, 0),
    };
  }

  /** Best first, those that are as good the newest first. */
  async function rank(candidates: readonly Candidate[], { ranked }: Plan): Promise<{ id: string; score: number }[]> {
    const all = await readTotals();
    const inverse = new Map<string, number>();
    for (const phrase of ranked)
      if (!inverse.has(phrase.key)) inverse.set(phrase.key, inverseFrequency(all, await documentsWith(phrase)));
    return candidates
      .map(({ id, length, terms: own }) => ({
        id,
        score: bm25f(
          all,
          length,
          ranked.map(({ key, fits }) => ({
            inverse: inverse.get(key) ?? 0,
            frequency: own.reduce((sum, { s, t, x }) => (fits(s) ? sum + TITLE_WEIGHT * t + x : sum), 0),
          })),
        ),
      }))
      .toSorted((a, b) => b.score - a.score || (a.id < b.id ? 1 : -1));
  }

  return {
    async search({ query, filter, limit, offset, wanted }) {
      const expression = await toExpression(query);
      const plan = expression && planOf(expression);
      if (!plan) return { hits: [], totalCount: 0 };
      let candidates = await candidatesOf(plan, filter);
      if (plan.comparesTexts) {
        const matching = new Set<string>();
        for await (const texts of textsOf(candidates.map(({ id }) => id)))
          for (const id of analyser.matching(expression, texts)) matching.add(id);
        candidates = candidates.filter(({ id }) => matching.has(id));
      }
      const totalCount = candidates.length;
      if (!wanted.includes("hits")) return { hits: [], totalCount };
      const page = (await rank(candidates, plan)).slice(offset, offset + limit + 1);
      const snippets = new Map<string, string>();
      // The one beyond the page only says that there is more.
      for await (const texts of textsOf(page.slice(0, limit).map(({ id }) => id)))
        for (const [id, snippet] of analyser.snippetsOf(expression, texts)) snippets.set(id, snippet);
      return {
        hits: page.map(({ id, score }): Hit => ({ documentId: id, score, snippet: snippets.get(id) ?? "" })),
        totalCount,
      };
    },
  };
}

function stemPhrase(stem: string): Phrase {
  const range = rangeOf(stem);
  return { key: `=${stem}`, stem, range, fits: (term) => term === stem, condition: { "terms.s": stem } };
}

function rangePhrase(prefix: string): Phrase {
  const range = rangeOf(prefix);
  return {
    key: `*${prefix}`,
    stem: null,
    range,
    fits: (term) => isIn(term, range),
    condition: { terms: { $elemMatch: { s: within(range) } } },
  };
}

function rangeOf(prefix: string): Range {
  return { from: prefix, to: prefix + LAST_CHARACTER };
}
const within = ({ from, to }: Range) => ({ $gte: from, $lt: to });
const isWithin = (value: string, { from, to }: Range) => ({ $and: [{ $gte: [value, from] }, { $lt: [value, to] }] });
const isIn = (text: string, { from }: Range) => text.startsWith(from);
