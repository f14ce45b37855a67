import type { RestRoute } from "../rest-route.ts";

const TAG = "Knowledge";
const PATH = "/api/v1/knowledge";
const typesOfEndings = new Map([
  ["htm", "text/html"],
  ["html", "text/html"],
  ["json", "application/json"],
  ["markdown", "text/markdown"],
  ["md", "text/markdown"],
  ["pdf", "application/pdf"],
  ["yaml", "application/yaml"],
  ["yml", "application/yaml"],
]);

export const knowledgeRoutes: readonly RestRoute[] = [
  {
    method: "POST",
    path: `${PATH}/documents`,
    tag: TAG,
    summary: "Keep a document, which can be found at once",
    operation:
      "mutation UploadDocument($input: UploadDocumentInput!) { uploadDocument(input: $input) { ...DocumentSummary } }",
    status: 201,
    noun: "document",
    location: `${PATH}/documents/{id}`,
    upload: {
      instead: ["content", "encoding"],
      values: ({ name, type, bytes }) => ({
        ...(name !== "" && { title: name }),
        content: bytes.toString("base64"),
        encoding: "BASE64",
        ...typeOf(name, type),
      }),
    },
  },
  {
    method: "GET",
    path: `${PATH}/documents`,
    tag: TAG,
    summary: "List documents, newest first, without their contents",
    operation: `query Documents($toolId: ID, $tag: String, $first: Int, $offset: Int) {
      documents(toolId: $toolId, tag: $tag, first: $first, offset: $offset) { edges { node { ...DocumentSummary } } totalCount }
    }`,
    status: 200,
    noun: "document",
  },
  {
    method: "GET",
    path: `${PATH}/documents/{doc_id}`,
    tag: TAG,
    summary: "Get a document",
    operation: "query Document($docId: ID!) { document(id: $docId) { ...Document } }",
    status: 200,
    noun: "document",
  },
  {
    method: "DELETE",
    path: `${PATH}/documents/{doc_id}`,
    tag: TAG,
    summary: "Delete a document for good",
    operation: "mutation DeleteDocument($docId: ID!) { deleteDocument(id: $docId) }",
    status: 204,
    noun: "document",
  },
  {
    method: "POST",
    path: `${PATH}/search`,
    tag: TAG,
    summary: "Search documents, best first",
    operation: `query SearchDocuments($query: String!, $toolId: ID, $tag: String, $first: Int, $offset: Int) {
      searchDocuments(query: $query, toolId: $toolId, tag: $tag, first: $first, offset: $offset) { edges { node { ...SearchHit } } totalCount }
    }`,
    status: 200,
    noun: "document",
  },
];

/** The client's word for a file's type; by the name's ending where it has none, or says only that there are bytes. */
function typeOf(name: string, type: string): { content_type?: string } {
  if (type !== "" && type !== "application/octet-stream") return { content_type: type };
  const found = typesOfEndings.get(name.slice(name.lastIndexOf(".") + 1).toLowerCase());
  return found === undefined ? {} : { content_type: found };
}
