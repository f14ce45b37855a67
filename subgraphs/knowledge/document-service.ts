import {
  ToolyardError,
  preconditionFailed,
  badInput,
  newId,
  notFound,
  parseInput,
  parsePage,
  reachableRows,
  toConnection,
  type Caller,
  type Connection,
  type GraphClient,
  type PageArguments,
  type ToolShares,
} from "@toolyard/service-kit";
import type { ContentTypeResult } from "./content-type.ts";
import { syncedDocumentInput, updateDocumentInput, uploadDocumentInput } from "./document-input.ts";
import type { Hit } from "./document-index.ts";
import type { ContentProblem, Document, DocumentStore } from "./document-store.ts";
import type { Loaders } from "./loaders.ts";
import { parseSearchQuery } from "./search-query.ts";

/** Far beyond any list. */
const MAX_OFFSET = 2 ** 31 - 1;

export interface SearchHit extends Omit<Hit, "documentId"> {
  document: Document;
  /** The position among all hits, from 0: the cursor's content. */
  position: number;
}

/** Whose request this serves: what asking the graph on their behalf takes. */
interface Requester {
  caller: Caller;
  requestId: string;
}

interface ListFilter extends PageArguments {
  toolId?: string | null | undefined;
  tag?: string | null | undefined;
}

interface ReadTool {
  id: string;
  authorId: string | null;
  deletedAt: string | null;
}

/**
 * Documents and what callers may do with them: reading takes `document:read`; writing `document:write`, beside a tool as its author or by a
 * share (EDIT), on a document that exists also as its uploader.
 * @throws ToolyardError of each: UNAUTHENTICATED, FORBIDDEN, BAD_USER_INPUT with problems, NOT_FOUND where one is named.
 */
export interface DocumentService {
  /** PRECONDITION_FAILED for PDF. */
  upload(requester: Requester, input: unknown): Promise<Document>;
  update(requester: Requester, id: string, input: unknown): Promise<Document>;
  delete(requester: Requester, id: string): Promise<true>;
  /**
   * With `internal:sync-documents`, as is `removeSynced`. Makes the document, or replaces the content of the one with this id. CONFLICT where that one is about another tool now.
   */
  storeSynced(caller: Caller, input: unknown): Promise<Document>;
  /** Leaves a document alone that is about another tool now. */
  removeSynced(caller: Caller, id: string, toolId: string): Promise<boolean>;
  /** Null also for one of a tool that the caller's key is not for. */
  find(caller: Caller, loaders: Loaders, id: string): Promise<Document | null>;
  list(caller: Caller, filter: ListFilter): Promise<Connection<Document>>;
  listOfTool(
    caller: Caller,
    loaders: Pick<Loaders, "ofTool">,
    toolId: string,
    page: PageArguments,
  ): Connection<Document>;
  search(caller: Caller, query: string, filter: ListFilter): Promise<Connection<SearchHit>>;
}

export function createDocumentService(options: {
  store: DocumentStore;
  shares: ToolShares;
  graph: GraphClient;
  now: () => number;
}): DocumentService {
  const { store, shares, graph, now } = options;

  /** By its uploader, or by who may write documents beside its tool. */
  async function changeable({ caller, requestId }: Requester, id: string, action: string): Promise<Document> {
    caller.require("document:write", undefined, action);
    const [document] = await store.findByIds([id]);
    if (!document || !caller.reaches(document.toolId)) throw notFound("document", id);
    const { uploadedById, toolId } = document;
    const ofUploader = { ownerId: uploadedById, toolId };
    if (toolId === null || caller.can("document:write", ofUploader)) {
      caller.require("document:write", ofUploader, action);
      return document;
    }
    const tool = await readTool({ caller, requestId }, toolId);
    await shares.require(caller, "document:write", { ownerId: tool?.authorId ?? null, toolId }, action);
    return document;
  }

  /** As the caller sees it. */
  async function readTool({ caller, requestId }: Requester, reference: string): Promise<ReadTool | null> {
    const query = `query KnowledgeTool($id: ID!) { tool(id: $id) { id authorId deletedAt } }`;
    const variables = { id: reference };
    return (await graph.query<{ tool: ReadTool | null }>({ query, variables, as: caller, requestId })).tool;
  }

  /** The id of a tool beside which the caller may write documents. */
  async function toolIdOf(requester: Requester, reference: string): Promise<string> {
    const tool = await readTool(requester, reference).catch((error: unknown) => {
      if (error instanceof ToolyardError && error.code === "NOT_FOUND") throw noTool(error);
      throw error;
    });
    if (tool === null) throw noTool(notFound("tool", reference));
    const { id: toolId, authorId: ownerId, deletedAt } = tool;
    await shares.require(requester.caller, "document:write", { ownerId, toolId }, "write documents beside this tool");
    if (deletedAt !== null)
      throw badInput([{ path: "input.toolId", message: "this tool is deleted: restore it first" }]);
    return toolId;
  }

  return {
    async upload(requester, input) {
      const { caller } = requester;
      caller.require("document:write", undefined, "upload documents");
      const { content, encoding, contentType, ...parsed } = parseInput(uploadDocumentInput, input);
      const type = acceptedType(contentType);
      if (parsed.toolId === null)
        caller.require(
          "document:write",
          { ownerId: caller.userId, toolId: null },
          "upload documents that are beside no tool",
        );
      const toolId = parsed.toolId === null ? null : await toolIdOf(requester, parsed.toolId);
      const at = now();
      return accepted(
        await store.insert(
          {
            ...parsed,
            toolId,
            id: newId(),
            contentType: type,
            uploadedById: caller.userId,
            createdAt: at,
            updatedAt: at,
          },
          { content, encoding },
          caller.subject,
        ),
      );
    },

    async update(requester, id, input) {
      const document = await changeable(requester, id, "change this document");
      const parsed = parseInput(updateDocumentInput, input);
      const { title, content, encoding, contentType, tags, metadata } = parsed;
      const type = contentType === null ? null : acceptedType(contentType);
      const about = parsed.toolId;
      const toolId = about == null || about === document.toolId ? about : await toolIdOf(requester, about);
      if (toolId === null)
        requester.caller.require(
          "document:write",
          { ownerId: requester.caller.userId, toolId },
          "take documents from their tools",
        );
      const updated = await store.update(
        id,
        {
          ...(title != null && { title }),
          ...(type !== null && { contentType: type }),
          ...(tags != null && { tags }),
          ...(metadata !== undefined && { metadata }),
          ...(toolId !== undefined && { toolId }),
          updatedAt: now(),
        },
        content == null ? null : { content, encoding },
        requester.caller.subject,
      );
      if (updated === null) throw notFound("document", id);
      return accepted(updated);
    },

    async delete(requester, id) {
      await changeable(requester, id, "delete this document");
      if (!(await store.delete(id, requester.caller.subject))) throw notFound("document", id);
      return true;
    },

    async storeSynced(caller, input) {
      caller.require("internal:sync-documents");
      const { content, contentType, ...made } = parseInput(syncedDocumentInput, input);
      const { id, toolId, metadata } = made;
      const type = acceptedType(contentType);
      const uploaded = { content, encoding: "TEXT" } as const;
      const at = now();
      const [existing] = await store.findByIds([id]);
      if (existing && existing.toolId !== toolId)
        throw new ToolyardError("CONFLICT", `The document ${id} is not about the tool ${toolId} any more.`);
      const updated = existing
        ? await store.update(id, { contentType: type, metadata, updatedAt: at }, uploaded, caller.subject)
        : null;
      if (updated) return accepted(updated);
      const document = { ...made, contentType: type, tags: [], createdAt: at, updatedAt: at };
      return accepted(await store.insert(document, uploaded, caller.subject));
    },

    async removeSynced(caller, id, toolId) {
      caller.require("internal:sync-documents");
      const [document] = await store.findByIds([id]);
      return document?.toolId === toolId && (await store.delete(id, caller.subject));
    },

    async find(caller, loaders, id) {
      caller.require("document:read");
      const document = await loaders.documentById.load(id);
      return document && caller.reaches(document.toolId) ? document : null;
    },

    async list(caller, { toolId, tag, ...pageArguments }) {
      caller.require("document:read");
      const page = parsePage(pageArguments);
      const rows = reachableRows(caller, toolId, page, (id, part) =>
        store.page({ toolId: id ?? null, tag: tag ?? null }, part),
      );
      return toConnection(rows, page, ({ id }) => id);
    },

    listOfTool(caller, loaders, toolId, given) {
      caller.require("document:read");
      const page = parsePage(given);
      return toConnection(loaders.ofTool(toolId, {}, page), page, ({ id }) => id);
    },

    async search(caller, query, { toolId, tag, ...pageArguments }) {
      caller.require("document:read");
      const page = parsePage(pageArguments, "number");
      // Hits are ranked: a cursor says how many came before, not after which row.
      const offset = Math.min(page.offset + (page.afterId === null ? 0 : Number(page.afterId) + 1), MAX_OFFSET);
      const { rows, totalCount } = store.search(
        parseSearchQuery(query),
        { toolIds: caller.reachable(toolId == null ? null : [toolId]), tag: tag ?? null },
        { limit: page.limit, offset },
        caller.subject,
      );
      const placed = async () => {
        const hits = await rows();
        const found = await store.findByIds(hits.map(({ documentId }) => documentId));
        const byId = new Map(found.map((document) => [document.id, document]));
        return hits.flatMap(({ documentId, ...hit }, index): SearchHit[] => {
          const document = byId.get(documentId);
          // Deleted since it was found.
          return document ? [{ ...hit, document, position: offset + index }] : [];
        });
      };
      return toConnection({ rows: placed, totalCount }, page, (hit) => String(hit.position));
    },
  };
}

function noTool({ message }: ToolyardError): ToolyardError {
  return badInput([{ path: "input.toolId", message }]);
}

function acceptedType(result: ContentTypeResult): string {
  if ("type" in result) return result.type;
  const path = "input.contentType";
  if ("problem" in result) throw badInput([{ path, message: result.problem }]);
  throw preconditionFailed("feature", result.unsupported);
}

function accepted(result: Document | ContentProblem): Document {
  if ("problem" in result) throw badInput([{ path: "input.content", message: result.problem }]);
  return result;
}
