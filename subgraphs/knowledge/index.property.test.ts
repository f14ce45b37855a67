import { dataOf, executeOn } from "@toolyard/testing";
import fc from "fast-check";
import LibsqlDatabase from "libsql";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  DELETE,
  UPDATE,
  createKnowledgeFixture,
  developer,
  upload,
  type KnowledgeFixture,
} from "./fixtures/subgraph.ts";

let fixture: KnowledgeFixture;
beforeAll(async () => {
  fixture = await createKnowledgeFixture();
});
afterAll(() => fixture[Symbol.asyncDispose]());

/** Every word the unstemmed index knows. */
function wordsInIndex(database: LibsqlDatabase.Database): string[] {
  // As selected.
  const rows = database.prepare("SELECT term FROM document_word_terms").all() as { term: string }[];
  return rows.map(({ term }) => term).toSorted();
}

const word = fc.stringMatching(/^[a-z]{1,6}$/);
const body = fc.array(word, { maxLength: 5 }).map((words) => words.join(" "));
const change = fc.oneof(
  fc.record({ title: word }),
  fc.record({ content: body }),
  fc.record({ title: word, content: body, contentType: fc.constantFrom("text/plain", "text/html") }),
  fc.constant("delete" as const),
);

test("whatever is uploaded, changed and deleted, the index holds the words of what is there and no others", async () => {
  const database = new LibsqlDatabase(fixture.file);
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(word, body, fc.array(change, { maxLength: 2 })), { minLength: 1, maxLength: 3 }),
        async (plan) => {
          const kept: string[] = [];
          for (const [title, content, changes] of plan) {
            const { id } = await upload(fixture.subgraph, { title, content });
            kept.push(id);
            for (const one of changes) {
              if (one === "delete") await executeOn(fixture.subgraph, DELETE, { id }, developer);
              else await executeOn(fixture.subgraph, UPDATE, { id, input: one }, developer);
            }
          }
          for (const table of ["document_index", "document_words"]) {
            // Throws where the index is not what the texts give (SQLite FTS5, section 6.4).
            database.exec(`INSERT INTO ${table} (${table}, rank) VALUES ('integrity-check', 1)`);
          }
          const query = `{ documents(first: 100) { edges { node { id title content } } } }`;
          type Answer = { documents: { edges: { node: { id: string; title: string; content: string } }[] } };
          const { documents } = await dataOf<Answer>(fixture.subgraph, query, {}, developer);
          const words = documents.edges.flatMap(({ node }) => `${node.title} ${node.content}`.split(" "));
          expect(wordsInIndex(database)).toEqual([...new Set(words.filter((one) => one !== ""))].toSorted());
          for (const id of kept) await executeOn(fixture.subgraph, DELETE, { id }, developer);
        },
      ),
      { numRuns: 100 },
    );
  } finally {
    database.close();
  }
});
