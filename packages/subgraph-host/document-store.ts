import type { DocumentNode } from "graphql";

const MAX_DOCUMENTS = 1_000;
const MAX_CHARACTERS = 4_000_000;

/** As Apollo Server takes one. */
export interface DocumentStore {
  get(key: string): Promise<DocumentNode | undefined>;
  set(key: string, document: DocumentNode): Promise<void>;
  delete(key: string): Promise<boolean>;
}

/** Documents that were parsed and validated, each once for its text: the gateway sends few distinct ones. */
export function createDocumentStore(): DocumentStore {
  const documents = new Map<string, DocumentNode>();
  let characters = 0;
  const lengthOf = (document: DocumentNode) => document.loc?.source.body.length ?? 0;
  return {
    get: (key) => Promise.resolve(documents.get(key)),
    set(key, document) {
      characters += lengthOf(document);
      if (documents.size >= MAX_DOCUMENTS || characters > MAX_CHARACTERS) {
        documents.clear();
        characters = lengthOf(document);
      }
      documents.set(key, document);
      return Promise.resolve();
    },
    delete: (key) => Promise.resolve(documents.delete(key)),
  };
}
