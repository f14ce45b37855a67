import { ToolyardError } from "@toolyard/service-kit";
import type { GitHubClient, RepositoryName } from "./github-client.ts";
import type { PathFilter } from "./path-filter.ts";

/** Folders in one query, and in all: a folder comes whole, however many files it has. */
const FOLDERS_AT_ONCE = 10;
const MAX_FOLDERS = 2_000;
/** Files in one query, by number and by their size in bytes; a single one may be larger. */
const FILES_AT_ONCE = 10;
const BYTES_AT_ONCE = 1_048_576;
/** Git's modes of links and submodules. */
const NO_FILES = new Set([0o120000, 0o160000]);

export interface RepositoryFile {
  /** From the repository's root. */
  path: string;
  /** Git's id of the content: another one means another content. */
  oid: string;
  /** Bytes. */
  size: number;
}

/** A commit, such as a branch's head as it was when it was opened: later pushes do not show. */
export interface RepositorySnapshot {
  readonly commitSha: string;
  /** The repository's name now, by which GitHub knows it also where it was asked for by an earlier one. */
  readonly repository: RepositoryName;
  readonly isPrivate: boolean;
  /**
   * The files in `folder` ("" for the root) that the filter means, by their paths from there. Asks only for folders that may hold some.
   * @throws ToolyardError BAD_USER_INPUT for more than `most`, or too many folders; UPSTREAM_UNAVAILABLE where the commit was lost, as does `read`
   */
  list(folder: string, filter: PathFilter, most: number): Promise<RepositoryFile[]>;
  /** The files' texts, in order, a few of them in memory at a time; null of one that is no text or too large for GitHub's API. */
  read(files: readonly RepositoryFile[]): AsyncGenerator<{ file: RepositoryFile; text: string | null }>;
}

const HEAD = `query ToolyardHead($owner: String!, $name: String!, $revision: String!) {
  repository(owner: $owner, name: $name) {
    name owner { login } isPrivate isEmpty defaultBranchRef { name }
    object(expression: $revision) { __typename oid ... on Tag { target { oid } } }
  }
}`;

interface Head {
  repository: {
    name: string;
    owner: { login: string };
    isPrivate: boolean;
    isEmpty: boolean;
    defaultBranchRef: { name: string } | null;
    object: { oid: string; target?: { oid: string } } | null;
  } | null;
}

interface Entry {
  name: string;
  type: string;
  mode: number;
  oid: string;
  size: number;
}

/**
 * Reads where a branch stands.
 * @param repository.revision As Git knows them: `refs/heads/main` for a branch, a tag, a commit, `HEAD` for the default branch
 * @throws ToolyardError NOT_FOUND for a repository or revision that is not there, and as `GitHubClient.open`; so do the methods
 */
export async function openSnapshot(
  client: GitHubClient,
  repository: RepositoryName & { revision: string },
  signal: AbortSignal,
): Promise<RepositorySnapshot> {
  const { owner, name, revision } = repository;
  const query = await client.open({ owner, name }, signal);
  const { repository: found } = await query<Head>(HEAD, { revision }, signal);
  const now = { owner: found?.owner.login ?? owner, name: found?.name ?? name };
  client.requireNamed(now);
  const commitSha = found?.object?.target?.oid ?? found?.object?.oid;
  if (found === null || commitSha === undefined) throw noRevision(now, revision, found);

  /** One object of the repository for each value, in order. */
  async function objects<Found>(
    by: "expression" | "oid",
    values: readonly string[],
    selection: string,
  ): Promise<(Found | null)[]> {
    const type = by === "oid" ? "GitObjectID!" : "String!";
    const parameters = values.map((_, index) => `, $v${index}: ${type}`).join("");
    const fields = values.map((_, index) => `o${index}: object(${by}: $v${index}) { ${selection} }`).join(" ");
    const answer = await query<{ repository: Record<string, Found | null> | null }>(
      `query ToolyardObjects($owner: String!, $name: String!${parameters}) { repository(owner: $owner, name: $name) { ${fields} } }`,
      Object.fromEntries(values.map((value, index) => [`v${index}`, value])),
      signal,
    );
    return values.map((_, index) => answer.repository?.[`o${index}`] ?? null);
  }

  const isThere = async () => (await objects("expression", [commitSha], "oid"))[0] !== null;

  return {
    commitSha,
    repository: now,
    isPrivate: found.isPrivate,
    async list(folder, filter, most) {
      const found: RepositoryFile[] = [];
      const base = folder === "" ? "" : `${folder}/`;
      const waiting = filter.mayHold("") ? [""] : [];
      for (let seen = 0; waiting.length > 0;) {
        const folders = waiting.splice(0, FOLDERS_AT_ONCE);
        seen += folders.length;
        if (seen > MAX_FOLDERS) throw tooMany(`lie in more than ${MAX_FOLDERS} folders`);
        const trees = await objects<{ entries?: Entry[] }>(
          "expression",
          folders.map((each) => `${commitSha}:${(base + each).replace(/\/$/, "")}`),
          "... on Tree { entries { name type mode oid size } }",
        );
        for (const [index, inside] of folders.entries()) {
          // A folder that its parent lists is there; the first one may not be.
          if (trees[index] === null && (inside !== "" || !(await isThere()))) throw rewritten(commitSha);
          for (const { name: entry, type, mode, oid, size } of trees[index]?.entries ?? []) {
            const path = inside === "" ? entry : `${inside}/${entry}`;
            if (type === "tree") {
              if (filter.mayHold(path)) waiting.push(path);
            } else if (!NO_FILES.has(mode) && filter.matches(path)) {
              if (found.length === most) throw tooMany(`are more than ${most}`);
              found.push({ path: base + path, oid, size });
            }
          }
        }
      }
      return found.toSorted((one, other) => (one.path < other.path ? -1 : 1));
    },
    async *read(files) {
      for (let from = 0; from < files.length;) {
        let [to, bytes] = [from, 0];
        do bytes += files[to++]?.size ?? 0;
        while (to < files.length && to - from < FILES_AT_ONCE && bytes + (files[to]?.size ?? 0) <= BYTES_AT_ONCE);
        const batch = files.slice(from, to);
        const blobs = await objects<{ text?: string | null; isTruncated?: boolean }>(
          "oid",
          batch.map(({ oid }) => oid),
          "... on Blob { text isTruncated }",
        );
        for (const [index, file] of batch.entries()) {
          const blob = blobs[index] ?? null;
          if (blob === null) throw rewritten(commitSha);
          yield { file, text: blob.isTruncated === false ? (blob.text ?? null) : null };
        }
        from = to;
      }
    },
  };
}

function noRevision({ owner, name }: RepositoryName, revision: string, found: Head["repository"]): ToolyardError {
  const repository = `The repository ${owner}/${name}`;
  if (found?.isEmpty === true) return new ToolyardError("NOT_FOUND", `${repository} is empty: push a commit first.`);
  const branch = /^refs\/heads\/(.+)$/.exec(revision)?.[1];
  const wanted = branch === undefined ? JSON.stringify(revision) : `branch ${JSON.stringify(branch)}`;
  const usual = found?.defaultBranchRef?.name;
  const hint =
    usual === undefined ? "" : ` Its default branch is ${JSON.stringify(usual)}: name that, if it was renamed.`;
  return new ToolyardError("NOT_FOUND", `${repository} has no ${wanted}.${hint}`);
}

/** Nothing may be taken for removed because of this. */
function rewritten(commitSha: string): ToolyardError {
  return new ToolyardError(
    "UPSTREAM_UNAVAILABLE",
    `GitHub does not have all of the commit ${commitSha.slice(0, 7)} any more: its branch was rewritten while it was read. Read it again.`,
  );
}

function tooMany(how: string): ToolyardError {
  return new ToolyardError("BAD_USER_INPUT", `The files that are to be read ${how}. Name fewer, by narrower patterns.`);
}
