import { badInput, messageOf, type Problem } from "@toolyard/service-kit/errors/errors.ts";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { z } from "zod";
import { parseJson } from "@toolyard/service-kit/json.ts";
import { closeCodeOf } from "@toolyard/service-kit/errors/error-codes.ts";
import { DEFAULT_URL } from "./defaults.ts";
import type { SessionStore } from "./session-store.ts";

/** The graph, asked as the logged-in user. */
export interface Graph {
  /** @throws GraphError, with the graph's own words */
  query<Data>(query: string, variables?: Record<string, unknown>): Promise<Data>;
  /** Ends when `signal` aborts. @throws GraphError when the stream breaks */
  subscribe<Data>(query: string, variables: Record<string, unknown>, signal: AbortSignal): AsyncGenerator<Data>;
  /** A credential that is good for some time yet. @throws GraphError when nobody is logged in */
  token(): Promise<string>;
}

export class GraphError extends Error {
  /** One of the graph's codes; `UNREACHABLE` where it did not answer, `NOT_LOGGED_IN` where it was not asked. */
  readonly code: string;
  constructor(code: string, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "GraphError";
    this.code = code;
  }
}

/** Of an answer that is not Toolyard's, as a page of something in between. @param answer its status */
export function answeredOtherwise(endpoint: string, answer: string, cause?: unknown): GraphError {
  const message = `${endpoint} answered ${answer}, but not as Toolyard does. Is the address right?`;
  return new GraphError("UNREACHABLE", message, cause);
}

export interface Session {
  accessToken: string;
  refreshToken: string;
  expiresIn: number;
  user: { username: string; role: string };
}
export const SESSION_FIELDS = "accessToken refreshToken expiresIn user { username role }";

const TIMEOUT_MS = 30_000;
/** A token that ends sooner is refreshed first. */
const LEAST_LEFT_MS = 60_000;

const errorExtensions = z
  .object({ code: z.string(), problems: z.array(z.object({ path: z.string(), message: z.string() })) })
  .partial();
const answerShape = z.object({
  data: z.unknown().optional(),
  errors: z.array(z.object({ message: z.string(), extensions: errorExtensions.optional() })).optional(),
});

/** A problem with the graph's input, as one of what the command was given. */
function ofCommand({ path, message }: Problem): Problem {
  const [, configured] = /^input\.configuration(?:\.(.+))?$/.exec(path) ?? [];
  if (configured === undefined)
    return { path: path.replace(/^input(?:\.|$)/, "").replace(/^configuration$/, "--config"), message };
  const [key = ""] = configured.split(".");
  return { path: configured, message: `${message}; it is given by --config '${JSON.stringify({ [key]: "…" })}'` };
}

/** Sends one request, with this credential or none. @throws GraphError */
export async function ask<Data>(
  url: string,
  token: string | null,
  query: string,
  variables: Record<string, unknown> = {},
): Promise<Data> {
  const endpoint = `${url}/graphql`;
  let response: Response;
  let text: string;
  try {
    response = await fetch(endpoint, {
      method: "POST",
      // A credential is sent only to its own origin: redirects are not followed.
      redirect: "error",
      headers: { "content-type": "application/json", ...(token !== null && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify({ query, variables }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    text = await response.text();
  } catch (error) {
    const { cause } = error as { cause?: unknown };
    const reason = cause instanceof Error ? cause.message || messageOf(error) : messageOf(error);
    throw new GraphError(
      "UNREACHABLE",
      `Toolyard does not answer at ${endpoint} (${reason}). Start it with \`npm run up\`, or say where it is by --url or TOOLYARD_URL.`,
      error,
    );
  }
  const answer = answerShape.safeParse(parseJson(text));
  if (!answer.success) throw answeredOtherwise(endpoint, String(response.status));
  const [first] = answer.data.errors ?? [];
  if (first) {
    const messages = (answer.data.errors ?? []).map(({ message, extensions: { problems } = {} }) =>
      // The message of most is made of the places, with the graph's names.
      problems && message === badInput(problems).message ? badInput(problems.map(ofCommand)).message : message,
    );
    throw new GraphError(first.extensions?.code ?? "UNKNOWN", [...new Set(messages)].join("\n"));
  }
  // The author of the selection knows its shape.
  return answer.data.data as Data;
}

/**
 * @param url The gateway's, without /graphql.
 * @param givenToken Instead of a login, as scripts have it: TOOLYARD_TOKEN.
 * @param hint The command line that runs a command.
 */
export function createGraph(options: {
  url: string;
  sessions: SessionStore;
  givenToken: string | null;
  hint: (command: string) => string;
  now?: () => number;
}): Graph {
  const { url, sessions, givenToken, hint, now = Date.now } = options;

  const notLoggedIn = (why: string) =>
    new GraphError(
      "NOT_LOGGED_IN",
      `${why} Log in: ${hint(`login --url ${url}`.replace(` --url ${DEFAULT_URL}`, ""))}`,
    );

  async function token(): Promise<string> {
    if (givenToken !== null) return givenToken;
    const kept = await sessions.get(url);
    if (!kept) throw notLoggedIn(`You are not logged in to ${url}.`);
    const leftMs = kept.expiresAt - now();
    if (leftMs > LEAST_LEFT_MS) return kept.accessToken;
    try {
      return await renewed(kept.accessToken);
    } catch (error) {
      if (leftMs <= 0 || !isUnavailable(error)) throw error;
      return kept.accessToken; // good for a little yet
    }
  }

  /** The token that replaces this one, which is no longer valid. */
  async function renewed(old: string): Promise<string> {
    return sessions.alone(async () => {
      const latest = await sessions.get(url);
      if (!latest) throw notLoggedIn(`You are not logged in to ${url}.`);
      // Another command was quicker.
      if (latest.accessToken !== old) return latest.accessToken;
      try {
        const { refreshSession: session } = await ask<{ refreshSession: Session }>(
          url,
          null,
          `mutation ($refreshToken: String!) { refreshSession(refreshToken: $refreshToken) { ${SESSION_FIELDS} } }`,
          { refreshToken: latest.refreshToken },
        );
        await sessions.set(url, storedSession(session, now()));
        return session.accessToken;
      } catch (error) {
        if (!isUnauthenticated(error)) throw error;
        await sessions.set(url, null);
        throw notLoggedIn(`Your session at ${url} has ended.`);
      }
    });
  }

  return {
    token,
    async query<Data>(query: string, variables?: Record<string, unknown>) {
      const credential = await token();
      try {
        return await ask<Data>(url, credential, query, variables);
      } catch (error) {
        if (!isUnauthenticated(error)) throw error;
        if (givenToken !== null) throw new GraphError(error.code, `TOOLYARD_TOKEN is not taken: ${error.message}`);
      }
      // A token may end before its time, as when SECRET_KEY was rotated; the session goes on.
      const renewal = await renewed(credential);
      try {
        return await ask<Data>(url, renewal, query, variables);
      } catch (error) {
        if (!isUnauthenticated(error)) throw error;
        throw notLoggedIn(error.message.endsWith(".") ? error.message : `${error.message}.`);
      }
    },
    async *subscribe<Data>(query: string, variables: Record<string, unknown>, signal: AbortSignal) {
      const credential = await token();
      const client = createClient({
        url: `${url.replace(/^http/, "ws")}/graphql`,
        webSocketImpl: WebSocket,
        connectionParams: { authorization: `Bearer ${credential}` },
        retryAttempts: 0,
      });
      const dispose = () => void client.dispose();
      signal.addEventListener("abort", dispose, { once: true });
      try {
        for await (const { data, errors } of client.iterate<Record<string, unknown>>({ query, variables })) {
          const [first] = errors ?? [];
          if (first) throw streamError([first]);
          yield data as Data;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (isUnauthorized(error)) {
          if (givenToken !== null)
            throw new GraphError(
              "UNAUTHENTICATED",
              "TOOLYARD_TOKEN is not accepted; it may have expired or been revoked.",
            );
          await renewed(credential);
        }
        throw streamError(error);
      } finally {
        signal.removeEventListener("abort", dispose);
        await client.dispose();
      }
    },
  };
}

export function storedSession(session: Session, now: number) {
  const { accessToken, refreshToken, expiresIn, user } = session;
  return { username: user.username, accessToken, refreshToken, expiresAt: now + expiresIn * 1000 };
}

function isUnauthenticated(error: unknown): error is GraphError {
  return error instanceof GraphError && error.code === "UNAUTHENTICATED";
}

/** Whether a part of Toolyard, or its database, is away just now. */
export function isUnavailable(error: unknown): error is GraphError {
  return error instanceof GraphError && error.code === "UPSTREAM_UNAVAILABLE";
}

/** Whether the socket was closed for its credential, as it is when that expires. */
function isUnauthorized(error: unknown): boolean {
  return error instanceof Object && "code" in error && error.code === closeCodeOf("UNAUTHENTICATED");
}

/** graphql-ws throws a list of GraphQL errors, or the close event of the socket. */
function streamError(error: unknown): GraphError {
  if (error instanceof GraphError) return error;
  if (Array.isArray(error)) {
    const [first] = error as { message: string; extensions?: { code?: string } }[];
    return new GraphError(first?.extensions?.code ?? "UNKNOWN", first?.message ?? "The stream was refused.");
  }
  const closed = error instanceof Object && "reason" in error ? String(error.reason) : "";
  return new GraphError(
    "STREAM_ENDED",
    closed || (error instanceof Error && error.message) || "The connection broke.",
    error,
  );
}
