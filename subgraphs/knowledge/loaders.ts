import { ToolyardError, createLoader, createPageLoader, type Loader, type PageLoader } from "@toolyard/service-kit";
import { MAX_CONTENT_BYTES } from "./content/document-content.ts";
import type { Document, DocumentStore } from "./document-store.ts";

/** Bytes of contents that one operation may read: its answer is made into JSON as one piece of work. */
const MAX_CONTENTS_BYTES = 2 * MAX_CONTENT_BYTES;

/** Batches and caches reads within one operation. */
export interface Loaders {
  documentById: Loader<string, Document | null>;
  ofTool: PageLoader<object, Document>;
  /** The content of a document. @throws ToolyardError BAD_USER_INPUT beyond MAX_CONTENTS_BYTES in one operation */
  content: Loader<Document, string>;
}

export function createLoaders(store: DocumentStore): Loaders {
  let contentsBytes = 0;
  return {
    documentById: createLoader(async (ids) => {
      const byId = new Map((await store.findByIds(ids)).map((document) => [document.id, document]));
      return ids.map((id) => byId.get(id) ?? null);
    }),
    ofTool: createPageLoader({
      pages: (toolIds, _filter, page) => store.pagesOfTools(toolIds, page),
      counts: (toolIds) => store.countsOfTools(toolIds),
    }),
    content: createLoader<Document, string>(
      async (documents) => {
        const allowed = documents.filter(({ size }) => (contentsBytes += size) <= MAX_CONTENTS_BYTES);
        const contents = await store.contentsOf(allowed.map(({ id }) => id));
        const byId = new Map(contents.map(({ id, content }) => [id, content]));
        const ids = new Set(allowed.map(({ id }) => id));
        return documents.map(({ id }) => {
          if (!ids.has(id)) return tooMuch();
          return (
            byId.get(id) ?? new ToolyardError("NOT_FOUND", `The document ${JSON.stringify(id)} was deleted just now.`)
          );
        });
      },
      { idOf: ({ id }) => id },
    ),
  };
}

function tooMuch(): ToolyardError {
  const message = `The requested contents are more than ${MAX_CONTENTS_BYTES} bytes together. Ask for fewer documents at once.`;
  return new ToolyardError("BAD_USER_INPUT", message, { problems: [{ path: "content", message }] });
}
