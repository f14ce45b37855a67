import { createAppAuth } from "@octokit/auth-app";
import { graphql, GraphqlResponseError } from "@octokit/graphql";
import { request } from "@octokit/request";
import { ToolyardError, preconditionFailed } from "@toolyard/service-kit";
import type { GitHubConfig } from "./github-config.ts";
import { createRateLimits, type RateLimits } from "./rate-limits.ts";

const REQUEST_TIMEOUT_MS = 60_000;
const USER_AGENT = "toolyard";
/** Of one answer, unpacked: the largest file that is read, each of its characters escaped. */
const MAX_ANSWER_BYTES = 32 * 1_048_576;

export interface RepositoryName {
  owner: string;
  name: string;
}

/** Asks GitHub's GraphQL API about one repository. */
type RepositoryQuery = <Data>(
  document: string,
  variables: Record<string, unknown>,
  signal: AbortSignal,
) => Promise<Data>;

/** GitHub, by the operator's credential: a personal token, or an App's installation on the repository. */
export interface GitHubClient {
  /**
   * Begins to ask about a repository, with a token that reads it and, where it is an App's, nothing else. Its queries get the variables
   * `owner` and `name` beside their own.
   * @throws ToolyardError PRECONDITION_FAILED without a credential that is good for the repository; RATE_LIMITED with
   *   `retryAfterSeconds`; NOT_FOUND; UPSTREAM_UNAVAILABLE; TIMEOUT. As do the queries.
   */
  open(repository: RepositoryName, signal: AbortSignal): Promise<RepositoryQuery>;
  /** Why nothing can be read of a repository, as far as that is known without asking GitHub; `open` throws it. */
  refusalOf(repository: RepositoryName): ToolyardError | null;
  /**
   * `open` does this first; GitHub may find another repository by a name, since repositories are renamed and transferred.
   * @throws ToolyardError PRECONDITION_FAILED for a repository that the operator's list does not name
   */
  requireNamed(repository: RepositoryName): void;
  /** The same, with the same limits, for other repositories than the operator's list names: as GitHubConfig has them. */
  withRepositories(repositories: readonly string[] | null): GitHubClient;
}

export function createGitHubClient(options: {
  config: Omit<GitHubConfig, "webhookSecret">;
  now?: () => number;
  fetch?: typeof fetch;
}): GitHubClient {
  const { config, now = Date.now } = options;
  const fetch = bounded(options.fetch ?? globalThis.fetch);
  const { apiUrl, credential } = config;
  /** GitHub counts for a token, for an App, and for each of its installations. */
  const limits = new Map<string, RateLimits>();

  function limitsOf(key: string): RateLimits {
    const known = limits.get(key) ?? createRateLimits({ now, fetch });
    limits.set(key, known);
    return known;
  }

  const restWith = ({ fetch: limited }: RateLimits) =>
    request.defaults({ baseUrl: apiUrl, headers: { "user-agent": USER_AGENT }, request: { fetch: limited } });

  const appAuth =
    credential?.type === "app" ? createAppAuth({ ...credential, request: restWith(limitsOf("app")) }) : null;

  async function accessTo({ owner, name }: RepositoryName, signal: AbortSignal): Promise<Access> {
    if (credential === null) throw noCredential();
    if (appAuth === null || credential.type === "token")
      return { token: credential.type === "token" ? credential.token : "", limits: limitsOf("token") };
    const { token: jwt } = await appAuth({ type: "app" });
    const { data } = await restWith(limitsOf("app"))("GET /repos/{owner}/{repo}/installation", {
      owner,
      repo: name,
      headers: { authorization: `Bearer ${jwt}` },
      request: { fetch: limitsOf("app").fetch, signal },
    });
    const { token } = await appAuth({
      type: "installation",
      installationId: data.id,
      repositoryNames: [name],
      permissions: { contents: "read" },
    });
    return { token, limits: limitsOf(`installation ${data.id}`) };
  }

  const clientOf = (repositories: readonly string[] | null): GitHubClient => ({
    withRepositories: clientOf,
    refusalOf: (repository) => unnamed(repositories, repository) ?? (credential === null ? noCredential() : null),
    requireNamed(repository) {
      const refusal = unnamed(repositories, repository);
      if (refusal) throw refusal;
    },
    async open(repository, signal) {
      const { owner, name } = repository;
      const fullName = `${owner}/${name}`;
      this.requireNamed(repository);
      const within = () => AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
      const access = await accessTo(repository, within()).catch((error: unknown) => {
        throw errorOf(error, fullName, signal, null);
      });
      const send = graphql.defaults({
        baseUrl: apiUrl,
        headers: { authorization: `bearer ${access.token}`, "user-agent": USER_AGENT },
      });
      return async <Data>(document: string, variables: Record<string, unknown>, cancelled: AbortSignal) => {
        const ends = AbortSignal.any([cancelled, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
        try {
          const data = await send<Data | undefined>(document, {
            ...variables,
            owner,
            name,
            request: { fetch: access.limits.fetch, signal: ends },
          });
          // Something before GitHub answered, such as a proxy with a page of its own.
          if (data === undefined || data === null) throw new Error("There are no data in the answer.");
          return data;
        } catch (error) {
          throw errorOf(error, fullName, cancelled, access);
        }
      };
    },
  });
  return clientOf(config.repositories);
}

/** Whatever answers in GitHub's place, no more of it is held than this. */
function bounded(fetch: typeof globalThis.fetch): typeof fetch {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (response.body === null) return response;
    let left = MAX_ANSWER_BYTES;
    const limit = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        left -= chunk.byteLength;
        if (left < 0) controller.error(new Error(`The answer has more than ${MAX_ANSWER_BYTES} bytes.`));
        else controller.enqueue(chunk);
      },
    });
    return new Response(response.body.pipeThrough(limit), response);
  };
}

interface Access {
  token: string;
  limits: RateLimits;
}

function unnamed(repositories: readonly string[] | null, { owner, name }: RepositoryName): ToolyardError | null {
  const wanted = `${owner}/${name}`.toLowerCase();
  if (!repositories || repositories.some((one) => one === wanted || one === `${owner.toLowerCase()}/*`)) return null;
  return preconditionFailed(
    "GITHUB_REPOSITORIES",
    `Toolyard may not read the repository ${owner}/${name}: its operator names those that it may in GITHUB_REPOSITORIES.`,
  );
}

function noCredential(): ToolyardError {
  return preconditionFailed(
    "GITHUB_TOKEN",
    "Toolyard has no credential for GitHub, which public repositories take, too. Its operator sets GITHUB_TOKEN, or GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY.",
  );
}

/** What went wrong, in words of Toolyard's; without the library's error, which has the request and so the token. */
function errorOf(error: unknown, repository: string, signal: AbortSignal, access: Access | null): unknown {
  if (signal.aborted) return signal.reason;
  const cause = error instanceof Error ? error.cause : undefined;
  if (error instanceof ToolyardError || cause instanceof ToolyardError)
    return error instanceof ToolyardError ? error : cause;
  if (error instanceof GraphqlResponseError) return graphqlErrorOf(error, repository, access);
  if (isTimeout(error) || isTimeout(cause))
    return new ToolyardError("TIMEOUT", `GitHub did not answer within ${REQUEST_TIMEOUT_MS / 1_000} s.`);
  const status = statusOf(error);
  if (status === 401)
    return preconditionFailed(
      "GITHUB_TOKEN",
      "GitHub does not accept Toolyard's credential: it may have expired or been revoked. Its operator sets another one.",
    );
  if (status === 404) return noRepository(repository);
  if (status === 403 || status === 422)
    return preconditionFailed(
      "GITHUB_TOKEN",
      `GitHub does not let Toolyard's credential read ${repository}: it needs read access to the repository's contents. A repository that was renamed is connected by its new name.`,
    );
  return new ToolyardError("UPSTREAM_UNAVAILABLE", "GitHub cannot be reached, or failed to answer.");
}

function graphqlErrorOf(
  { errors }: GraphqlResponseError<unknown>,
  repository: string,
  access: Access | null,
): ToolyardError {
  const types = (errors ?? []).map(({ type }) => type);
  const messages = (errors ?? []).map(({ message }) => message).join("; ");
  // What answers may say the request again.
  const said = (access ? messages.replaceAll(access.token, "…") : messages).slice(0, 500);
  if (access && (types.includes("RATE_LIMITED") || /secondary rate limit/i.test(said))) return access.limits.refusal();
  if (types.includes("NOT_FOUND")) return noRepository(repository);
  if (types.includes("FORBIDDEN") || types.includes("INSUFFICIENT_SCOPES"))
    return preconditionFailed("GITHUB_TOKEN", `GitHub does not let Toolyard's credential read ${repository}: ${said}`);
  return new ToolyardError("UPSTREAM_UNAVAILABLE", `GitHub failed to answer: ${said}`);
}

function noRepository(repository: string): ToolyardError {
  return new ToolyardError(
    "NOT_FOUND",
    `GitHub has no repository ${repository} that Toolyard's credential may read. Check its name, and what GITHUB_TOKEN or the App may read.`,
  );
}

function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === "TimeoutError";
}

function statusOf(error: unknown): unknown {
  return typeof error === "object" && error !== null && "status" in error ? error.status : undefined;
}
