import { createPathFilter, type RepositoryFile, type RepositorySnapshot } from "@toolyard/github";
import { ToolyardError, createServiceCaller, newId, type GraphClient } from "@toolyard/service-kit";
import type { TaskRun } from "@toolyard/tasks";
import type { GitHubConnection, SyncedFile } from "./connection.ts";
import type { ConnectionStore } from "./connection-store.ts";

const MAX_FILES = 1_000;
/** What the knowledge base takes, in bytes. */
const MAX_FILE_BYTES = 5 * 1_048_576;
/** As long as a path may be in the store. */
const MAX_PATH = 255;
const DIGESTS_AT_ONCE = 25;

const CONTENT_TYPES = new Map([
  ["md", "text/markdown"],
  ["markdown", "text/markdown"],
  ["html", "text/html"],
  ["htm", "text/html"],
  ["json", "application/json"],
  ["yaml", "application/yaml"],
  ["yml", "application/yaml"],
]);

const self = createServiceCaller("tools", ["internal:sync-documents"]);
const STORE = `mutation StoreSyncedDocument($input: SyncedDocumentInput!) { storeSyncedDocument(input: $input) { digest } }`;
const REMOVE = `mutation RemoveSyncedDocument($id: ID!, $toolId: ID!) { removeSyncedDocument(id: $id, toolId: $toolId) }`;

/** The documents that are a repository's files, kept by the knowledge base under ids that stay a path's. */
export interface SyncedDocuments {
  /**
   * Stores new and changed files, removes those that are gone. A document that was changed or removed by hand stays so until its file changes.
   * A file that cannot be kept is left out with a warning.
   */
  bring(
    connection: GitHubConnection,
    to: {
      /** Whose new documents are. */
      ownerId: string | null;
      /** Of files, from the connection's folder. */
      patterns: readonly string[];
      snapshot: RepositorySnapshot;
      signal: AbortSignal;
      progress: TaskRun["progress"];
    },
  ): Promise<{ documentIds: string[]; warnings: string[] }>;
}

export function createSyncedDocuments(options: { store: ConnectionStore; graph: GraphClient }): SyncedDocuments {
  const { store, graph } = options;

  /** The digests of documents that are there, and still about the tool. */
  async function digestsOf(toolId: string, ids: readonly string[], signal: AbortSignal): Promise<Map<string, string>> {
    const digests = new Map<string, string>();
    for (let from = 0; from < ids.length; from += DIGESTS_AT_ONCE) {
      const some = ids.slice(from, from + DIGESTS_AT_ONCE);
      const found = await graph.query<Record<string, { id: string; digest: string; toolId: string | null } | null>>({
        query: `query SyncedDocuments(${some.map((_, index) => `$i${index}: ID!`).join(", ")}) { ${some.map((_, index) => `d${index}: document(id: $i${index}) { id digest toolId }`).join(" ")} }`,
        variables: Object.fromEntries(some.map((id, index) => [`i${index}`, id])),
        as: self,
        signal,
      });
      for (const document of Object.values(found))
        if (document?.toolId === toolId) digests.set(document.id, document.digest);
    }
    return digests;
  }

  return {
    async bring(connection, { ownerId, patterns, snapshot, signal, progress }) {
      const { id: connectionId, toolId, path: folder, owner, repository } = connection;
      const known = new Map((await store.filesOf(connectionId)).map((file) => [file.path, file]));
      const listed = await snapshot.list(folder, createPathFilter(patterns), MAX_FILES);
      const pathOf = ({ path }: RepositoryFile) => (folder === "" ? path : path.slice(folder.length + 1));
      const warnings: string[] = [];
      const documentIds: string[] = [];
      const digests = await digestsOf(
        toolId,
        [...known.values()].filter(({ oid }) => oid !== null).map(({ documentId }) => documentId),
        signal,
      );
      const isByHand = ({ oid, documentId, digest }: SyncedFile) => oid !== null && digests.get(documentId) !== digest;

      const wanted = listed.filter((file) => {
        const [path, before] = [pathOf(file), known.get(pathOf(file))];
        const leaveOut = (why: string) => void warnings.push(`${path} was left out: ${why}.`);
        if (path.length > MAX_PATH) leaveOut(`its path has more than ${MAX_PATH} characters`);
        else if (file.size > MAX_FILE_BYTES) leaveOut(`it has more than ${MAX_FILE_BYTES / 1_048_576} MiB`);
        else if (before?.oid !== file.oid) return true;
        else if (isByHand(before))
          warnings.push(
            `The document of ${path} was ${digests.has(before.documentId) ? "changed" : "removed"} by hand: it stays so until the file changes.`,
          );
        return false;
      });

      let done = 0;
      for await (const { file, text } of snapshot.read(wanted)) {
        const path = pathOf(file);
        const before = known.get(path);
        progress(0.2 + (0.75 * done++) / wanted.length, `Storing ${path}`);
        const whyNot = text === null ? "it is no text, or too large for GitHub's API" : lfsProblem(text);
        if (text === null || whyNot !== null) {
          warnings.push(`${path} was left out: ${whyNot}.`);
          continue;
        }
        const row: SyncedFile = before ?? { path, documentId: newId(), oid: null, digest: null };
        // First, so that a sync that is run again after a crash uses the same id.
        if (!before) await store.putFile(connectionId, row);
        const input = {
          id: row.documentId,
          toolId,
          uploadedById: ownerId,
          title: path.slice(-200),
          content: text,
          contentType: CONTENT_TYPES.get(/\.([^./]+)$/.exec(path)?.[1]?.toLowerCase() ?? "") ?? "text/plain",
          metadata: { source: "github", repository: `${owner}/${repository}`, path: file.path },
        };
        try {
          const { storeSyncedDocument } = await graph.query<{ storeSyncedDocument: { digest: string } }>({
            query: STORE,
            variables: { input },
            as: self,
            signal,
          });
          await store.putFile(connectionId, { ...row, oid: file.oid, digest: storeSyncedDocument.digest });
        } catch (error) {
          if (!isAboutDocument(error)) throw error;
          warnings.push(`${path} was left out: ${error.message}`);
          continue;
        }
        documentIds.push(row.documentId);
        if (before && isByHand(before))
          warnings.push(`${path} changed, so it replaced what its document was changed to by hand.`);
      }

      const there = new Set(listed.map(pathOf));
      for (const { path, documentId } of known.values()) {
        if (there.has(path)) continue;
        progress(0.95, `Removing ${path}`);
        await graph.query({ query: REMOVE, variables: { id: documentId, toolId }, as: self, signal });
        await store.removeFile(connectionId, path);
      }
      return { documentIds, warnings };
    },
  };
}

/** https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md */
function lfsProblem(text: string): string | null {
  return text.startsWith("version https://git-lfs.github.com/spec/")
    ? "it is kept in Git LFS, and the repository has a pointer to it only"
    : null;
}

/** Whether an error says that this document is not taken, now or later. */
function isAboutDocument(error: unknown): error is ToolyardError {
  return error instanceof ToolyardError && ["BAD_USER_INPUT", "PRECONDITION_FAILED", "CONFLICT"].includes(error.code);
}
