import type { RestRoute } from "../rest-route.ts";

const TAG = "Knowledge";
const PATH = "/api/v1/knowledge";

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
