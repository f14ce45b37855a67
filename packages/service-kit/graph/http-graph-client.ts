import { createClient, type Client } from "graphql-ws/client";
import { WebSocket, type ClientOptions } from "ws";
import { z } from "zod";
import { parseJson } from "../json.ts";
import { ToolyardError, isErrorCode, messageOf } from "../errors/errors.ts";
import type { GraphClient, GraphRequest } from "./graph-client.ts";
import { Pool } from "../http/undici.ts";
import type { Caller } from "../identity/caller.ts";
import { CALLER_HEADER, GATEWAY_AUDIENCE, type TokenSigner } from "../identity/tokens.ts";

const TIMEOUT_MS = 30_000;
/** How long a server may take to open a WebSocket and to accept its client. */
const ACCEPT_MS = 10_000;
const PING_MS = 10_000;
const PONG_MS = 5_000;

const graphqlAnswer = z.object({
  data: z.unknown().optional(),
  errors: z
    .array(z.object({ message: z.string(), extensions: z.record(z.string(), z.unknown()).optional() }))
    .optional(),
});

type GraphqlAnswer = z.output<typeof graphqlAnswer>;

/** The error of a GraphQL answer that has errors: the first one's code and message. */
export function errorOfAnswer(
  errors: readonly { message: string; extensions?: Record<string, unknown> | undefined }[],
): ToolyardError {
  const [first] = errors;
  const { code, problems: _problems, ...extensions } = first?.extensions ?? {};
  return new ToolyardError(
    isErrorCode(code) ? code : "UPSTREAM_UNAVAILABLE",
    first?.message ?? "The graph answered without data.",
    { extensions },
  );
}

/** Its types do not know `closeTimeout` yet: how long a closed socket waits for its peer. */
const SOCKET_OPTIONS: ClientOptions & { closeTimeout: number } = { handshakeTimeout: ACCEPT_MS, closeTimeout: 1_000 };

/** graphql-ws gives no options to the sockets that it opens. */
function boundedWebSocket(headers: Record<string, string>) {
  return class extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols, { ...SOCKET_OPTIONS, headers });
      // One that is closed while it connects emits an error when graphql-ws no longer listens.
      this.on("error", () => undefined);
    }
  };
}

/** The graph over HTTP, and streams of it over WebSockets, which also end when their peer disappears silently. */
export interface HttpGraphClient extends GraphClient {
  /**
   * The answer, with its errors, to an operation that is JSON already: `{"query":…,"variables":…}`.
   * @throws ToolyardError when there is no answer
   */
  post(operation: string | Buffer, request: Pick<GraphRequest, "as" | "requestId" | "signal">): Promise<GraphqlAnswer>;
  /** A document that the gateway serves beside the graph, parsed as JSON; undefined when it is not JSON. @throws ToolyardError when it does not answer. */
  get(path: string, signal?: AbortSignal): Promise<unknown>;
  /** Aborts running operations and streams. */
  close(): Promise<void>;
}

/** Headers that tell the gateway who is asking; on a WebSocket they come in its first message. */
export type HeadersOf = (as: Caller) => Promise<Record<string, string>> | Record<string, string>;

/** Asks as any caller; the gateway believes it because this process holds SECRET_KEY. */
export function signedBy(signer: TokenSigner): HeadersOf {
  return async (as) => ({ [CALLER_HEADER]: await signer.callerHeader(as, GATEWAY_AUDIENCE) });
}

/** Asks the gateway over HTTP. `gatewayUrl` has no trailing slash. */
export function createHttpGraphClient(options: {
  gatewayUrl: string;
  headersOf: HeadersOf;
  /** A subgraph that is asked in place of the gateway, for messages: it wants the headers as a socket is opened. */
  subgraph?: string;
}): HttpGraphClient {
  const { gatewayUrl, headersOf, subgraph } = options;
  const peer = subgraph ?? "The gateway";
  const { origin, pathname } = new URL(gatewayUrl);
  const prefix = pathname === "/" ? "" : pathname;
  const pool = new Pool(origin, { connections: 16 });
  const clients = new Set<Client>();

  async function textOf(
    path: string,
    { method, headers, body }: { method: "GET" | "POST"; headers?: Record<string, string>; body?: string | Buffer },
    signal: AbortSignal | undefined,
  ): Promise<string> {
    const deadline = AbortSignal.timeout(TIMEOUT_MS);
    try {
      const answer = await pool.request({
        path: prefix + path,
        method,
        headers: headers ?? {},
        body: body ?? null,
        signal: signal ? AbortSignal.any([deadline, signal]) : deadline,
      });
      return await answer.body.text();
    } catch (cause) {
      if (deadline.aborted)
        throw new ToolyardError("TIMEOUT", `${peer} did not answer within ${TIMEOUT_MS} ms.`, { cause });
      throw new ToolyardError("UPSTREAM_UNAVAILABLE", `${peer} cannot be reached: ${messageOf(cause)}`, { cause });
    }
  }

  async function post(
    operation: string | Buffer,
    { as, requestId, signal }: Pick<GraphRequest, "as" | "requestId" | "signal">,
  ): Promise<GraphqlAnswer> {
    const headers = {
      "content-type": "application/json",
      ...(await headersOf(as)),
      ...(requestId && { "x-request-id": requestId }),
    };
    const text = await textOf("/graphql", { method: "POST", headers, body: operation }, signal);
    const answer = graphqlAnswer.safeParse(parseJson(text));
    if (!answer.success) throw new ToolyardError("UPSTREAM_UNAVAILABLE", `${peer} did not answer with GraphQL.`);
    return answer.data;
  }

  async function* subscribe<Data>({ query, variables = {}, as, signal }: GraphRequest): AsyncGenerator<Data> {
    const handshake = subgraph === undefined ? {} : await headersOf(as);
    if (signal?.aborted) return;
    let pongDue: NodeJS.Timeout | undefined;
    const client = createClient({
      url: `${gatewayUrl.replace(/^http/, "ws")}/graphql`,
      webSocketImpl: boundedWebSocket(handshake),
      connectionParams: () => headersOf(as),
      connectionAckWaitTimeout: ACCEPT_MS,
      // Subscribers know where to go on.
      retryAttempts: 0,
      keepAlive: PING_MS,
      on: {
        // A half-open connection says nothing: no pong in time is the end of it.
        ping: (received) => {
          if (!received) pongDue = setTimeout(() => client.terminate(), PONG_MS).unref();
        },
        pong: (received) => {
          if (received) clearTimeout(pongDue);
        },
      },
    });
    clients.add(client);
    const stop = () => client.terminate();
    signal?.addEventListener("abort", stop, { once: true });
    try {
      for await (const result of client.iterate({ query, variables })) {
        if (result.errors?.length) throw errorOfAnswer(result.errors);
        yield result.data as Data;
      }
    } catch (cause) {
      if (signal?.aborted) return;
      if (cause instanceof ToolyardError) throw cause;
      const errors = graphqlAnswer.shape.errors.unwrap().safeParse(cause);
      if (errors.success) throw errorOfAnswer(errors.data);
      throw new ToolyardError(
        "UPSTREAM_UNAVAILABLE",
        `The stream from ${subgraph ?? "the gateway"} broke: ${reasonOf(cause)}`,
        {
          cause,
        },
      );
    } finally {
      signal?.removeEventListener("abort", stop);
      clearTimeout(pongDue);
      clients.delete(client);
      client.terminate();
    }
  }

  return {
    async query<Data>({ query, variables = {}, ...request }: GraphRequest) {
      const { data, errors } = await post(JSON.stringify({ query, variables }), request);
      if (errors?.length) throw errorOfAnswer(errors);
      // The caller wrote the selection and so knows the shape.
      return data as Data;
    },
    post,
    subscribe,
    get: async (path, signal) => parseJson(await textOf(path, { method: "GET" }, signal)),
    async close() {
      for (const client of clients) client.terminate();
      await pool.destroy();
    },
  };
}

/** Why a socket broke: an error, or a WebSocket's close event. */
function reasonOf(error: unknown): string {
  if (error instanceof Object && "code" in error && "reason" in error) {
    return `closed with ${String(error.code)} ${String(error.reason)}`.trim();
  }
  return error instanceof Error && error.message !== "" ? error.message : "the connection failed";
}
