import { LRUCache } from "lru-cache";

/**
 * What a document takes in memory, in bytes, by the length of its text. Measured as heap before and after five hundred operations of
 * several kinds; what is estimated lies within a fifth of what was measured.
 */
export const bytesOfDocument = (length: number): number => 6_000 + 150 * length;

/**
 * Keeps what was used last of what is made of documents, by their texts. One entry takes at most a sixteenth of the room: a single large
 * document does not push out what everybody uses.
 * @param options.maxBytes of all together, by estimate
 */
export function createDocumentCache<Value extends object>({ maxBytes }: { maxBytes: number }): LRUCache<string, Value> {
  return new LRUCache({
    maxSize: maxBytes,
    maxEntrySize: Math.floor(maxBytes / 16),
    sizeCalculation: (_, text) => bytesOfDocument(text.length),
  });
}
