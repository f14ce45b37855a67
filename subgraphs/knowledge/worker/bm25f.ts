/** SQLite's, https://sqlite.org/fts5.html#the_bm25_function: documents are in the same order by its bm25() and by this. */
const K1 = 1.2;
const B = 0.75;

/** All documents together. */
export interface Totals {
  documents: number;
  /** Terms of all of them. */
  length: number;
}

/** What a phrase weighs by how many of the documents have it. */
export function inverseFrequency(totals: Totals, documentsWithIt: number): number {
  const found = Math.log((totals.documents - documentsWithIt + 0.5) / (documentsWithIt + 0.5));
  return found <= 0 ? 1e-6 : found;
}

/** How well a document of so many terms fits, higher is better. @param phrases how often it has each, weighed by the fields that have it */
export function bm25f(
  totals: Totals,
  length: number,
  phrases: readonly { inverse: number; frequency: number }[],
): number {
  const average = totals.length / totals.documents;
  let score = 0;
  for (const { inverse, frequency } of phrases)
    score += inverse * ((frequency * (K1 + 1)) / (frequency + K1 * (1 - B + (B * length) / average)));
  return score;
}
