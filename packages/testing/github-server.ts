import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import type { AddressInfo } from "node:net";
import { schema as published } from "@octokit/graphql-schema";
import { buildSchema, graphql, type GraphQLSchema } from "graphql";

/** A symbolic link, a submodule, or a file that GitHub's API cuts short. */
interface OddEntry {
  kind: "symlink" | "submodule" | "truncated";
  content: string;
}

/** A repository in memory: the branches' files by path. The default branch is the first. */
export type Branches = Record<string, Record<string, string | Buffer | OddEntry>>;

/** An answer instead of the one of the query. */
interface Refusal {
  status: number;
  headers?: Record<string, string>;
  body: unknown;
}

/** GitHub as far as Toolyard uses it: its GraphQL API, which executes GitHub's published schema, and an App's tokens. */
export interface GitHubServer extends AsyncDisposable {
  /** For GITHUB_API_URL. */
  url: string;
  /** By `owner/name`. */
  repositories: Map<string, Branches>;
  /** New names by earlier ones, `owner/name` both: what was renamed or transferred. */
  renames: Map<string, string>;
  /** `owner/name` of those that are private. */
  privates: Set<string>;
  /** All that was asked. */
  requests: { path: string; headers: IncomingHttpHeaders; query: string }[];
  /** Answers to the next requests, in order. */
  refusals: Refusal[];
  /** Called before a query is answered, which waits for it. */
  onQuery: ((query: string) => unknown) | null;
  commitOf(repository: string, branch: string): string;
}

let built: GraphQLSchema | undefined;

const MODES = { symlink: 0o120000, submodule: 0o160000, truncated: 0o100644 };
type Content = Branches[string][string];
const isOdd = (content: Content): content is OddEntry => typeof content === "object" && "kind" in content;
const bytesOf = (content: Content): Buffer => Buffer.from(isOdd(content) ? content.content : content);
const sha = (content: Content) => createHash("sha1").update(bytesOf(content)).digest("hex");
const commitSha = (files: Branches[string]) =>
  sha(JSON.stringify(Object.entries(files).map(([path, content]) => [path, sha(content)])));

export async function startGitHubServer(repositories: Record<string, Branches> = {}): Promise<GitHubServer> {
  const schema = (built ??= buildSchema(published.idl, { assumeValid: true }));
  const known = new Map(Object.entries(repositories));

  function blob(content: Content) {
    const bytes = bytesOf(content);
    const isBinary = bytes.includes(0);
    return {
      __typename: "Blob",
      oid: sha(content),
      byteSize: bytes.length,
      isBinary,
      isTruncated: isOdd(content) && content.kind === "truncated",
      text: isBinary ? null : bytes.toString(),
    };
  }

  function tree(files: Branches[string], folder: string) {
    const base = folder === "" ? "" : `${folder}/`;
    const entries = new Map<string, object>();
    for (const [path, content] of Object.entries(files)) {
      if (!path.startsWith(base)) continue;
      const [name = "", ...below] = path.slice(base.length).split("/");
      const isFolder = below.length > 0;
      entries.set(name, {
        name,
        path: base + name,
        type: isFolder ? "tree" : isOdd(content) && content.kind === "submodule" ? "commit" : "blob",
        mode: isFolder ? 0o40000 : isOdd(content) ? MODES[content.kind] : 0o100644,
        oid: sha(isFolder ? base + name : content),
        size: isFolder ? 0 : bytesOf(content).length,
      });
    }
    return entries.size === 0 ? null : { __typename: "Tree", oid: sha(folder), entries: [...entries.values()] };
  }

  const root = {
    repository({ owner, name }: { owner: string; name: string }) {
      const asked = `${owner}/${name}`;
      const fullName = server.renames.get(asked) ?? asked;
      const branches = known.get(fullName);
      if (!branches)
        throw Object.assign(new Error(`Could not resolve to a Repository with the name '${asked}'.`), {
          type: "NOT_FOUND",
        });
      const [login, nameNow] = fullName.split("/");
      const [usual] = Object.keys(branches);
      return {
        name: nameNow,
        owner: { __typename: "Organization", login },
        isPrivate: server.privates.has(fullName),
        isEmpty: usual === undefined,
        defaultBranchRef: usual === undefined ? null : { name: usual },
        object({ expression, oid }: { expression?: string; oid?: string }) {
          const all = Object.values(branches);
          if (oid !== undefined) {
            const content = all.flatMap((files) => Object.values(files)).find((each) => sha(each) === oid);
            return content === undefined ? null : blob(content);
          }
          const [revision = "", path] = (expression ?? "").split(":");
          const branch = revision === "HEAD" ? (usual ?? "") : revision.replace(/^refs\/heads\//, "");
          const files = branches[branch] ?? all.find((each) => commitSha(each) === revision);
          if (!files) return null;
          if (path === undefined) return { __typename: "Commit", oid: commitSha(files) };
          const content = files[path];
          return content === undefined ? tree(files, path) : blob(content);
        },
      };
    },
  };

  async function answer(path: string, body: string): Promise<{ status: number; body: unknown }> {
    if (/^\/(?:repos\/[^/]+\/[^/]+|repositories\/\d+)\/installation$/.test(path))
      return { status: 200, body: { id: 7 } };
    if (path === "/app/installations/7/access_tokens") {
      const token = {
        token: "ghs_installation",
        expires_at: new Date(Date.now() + 3_600_000).toISOString(),
        permissions: { contents: "read" },
        repository_selection: "selected",
      };
      return { status: 201, body: token };
    }
    if (path !== "/graphql") return { status: 404, body: { message: "Not Found" } };
    // The client's own requests.
    const { query, variables } = JSON.parse(body) as { query: string; variables: Record<string, unknown> };
    await server.onQuery?.(query);
    const { data, errors } = await graphql({ schema, source: query, rootValue: root, variableValues: variables });
    const shown = errors?.map(({ message, path: at, originalError }) => ({
      message,
      path: at,
      ...(originalError && "type" in originalError && { type: originalError.type }),
    }));
    return { status: 200, body: { data, ...(shown && { errors: shown }) } };
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const query = await text(request);
    const path = request.url ?? "";
    server.requests.push({ path, headers: request.headers, query });
    const refusal: Refusal = server.refusals.shift() ?? (await answer(path, query));
    response.writeHead(refusal.status, { "content-type": "application/json; charset=utf-8", ...refusal.headers });
    response.end(typeof refusal.body === "string" ? refusal.body : JSON.stringify(refusal.body));
  }

  const http = createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  // An address of TCP.
  const { port } = http.address() as AddressInfo;
  const server: GitHubServer = {
    url: `http://127.0.0.1:${port}`,
    repositories: known,
    renames: new Map(),
    privates: new Set(),
    requests: [],
    refusals: [],
    onQuery: null,
    commitOf: (repository, branch) => commitSha(known.get(repository)?.[branch] ?? {}),
    async [Symbol.asyncDispose]() {
      http.closeAllConnections();
      http.close();
      await once(http, "close");
    },
  };
  return server;
}

/** A webhook's delivery as GitHub sends it. */
export function signedDelivery(
  secret: string,
  event: string,
  payload: object,
): { headers: Record<string, string>; body: string } {
  const body = JSON.stringify(payload);
  return {
    headers: {
      "content-type": "application/json",
      "user-agent": "GitHub-Hookshot/044aadd",
      "x-github-event": event,
      "x-github-delivery": crypto.randomUUID(),
      "x-hub-signature-256": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`,
    },
    body,
  };
}
