import type { DocumentNode } from "graphql";
import { LRUCache } from "lru-cache";
import { bytesOfDocument } from "@toolyard/service-kit/graph/document-cache.ts";

const MAX_BYTES = 32 * 1_048_576;

/** Apollo Server's `documentStore`. */
export interface DocumentStore {
  get(key: string): Promise<DocumentNode | undefined>;
  set(key: string, document: DocumentNode): Promise<void>;
  delete(key: string): Promise<boolean>;
}

/** Documents that were parsed and validated, each once for its text: the gateway sends few distinct ones. */
export function createDocumentStore(options: { maxBytes?: number } = {}): DocumentStore {
  const { maxBytes = MAX_BYTES } = options;
  const documents = new LRUCache<string, DocumentNode>({
    maxSize: maxBytes,
    maxEntrySize: Math.floor(maxBytes / 16),
    // The key may be a hash of the text.
    sizeCalculation: ({ loc }) => bytesOfDocument(loc?.source.body.length ?? 0),
  });
  return {
    get: (key) => Promise.resolve(documents.get(key)),
    set(key, document) {
      documents.set(key, document);
      return Promise.resolve();
    },
    delete: (key) => Promise.resolve(documents.delete(key)),
  };
}
