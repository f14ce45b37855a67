import { createClient, type Client } from "graphql-ws";
import { Pool } from "undici";
import { WebSocket } from "ws";
import { z } from "zod";
import { parseJson } from "../json.ts";
import { ToolyardError, isErrorCode, messageOf } from "../errors/errors.ts";
import type { GraphClient, GraphRequest } from "./graph-client.ts";
import { CALLER_HEADER, GATEWAY_AUDIENCE, type TokenSigner } from "../identity/tokens.ts";

const TIMEOUT_MS = 30_000;

const graphqlAnswer = z.object({
  data: z.unknown().optional(),
  errors: z
    .array(z.object({ message: z.string(), extensions: z.record(z.string(), z.unknown()).optional() }))
    .optional(),
});

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

/**
 * Asks the gateway over HTTP, as a caller whom the gateway believes because this process holds SECRET_KEY: the caller goes in a
 * signed header. `gatewayUrl` has no slash at its end.
 */
export function createHttpGraphClient(options: {
  gatewayUrl: string;
  signer: TokenSigner;
}): GraphClient & { close(): Promise<void> } {
  const { gatewayUrl, signer } = options;
  const endpoint = new URL(`${gatewayUrl}/graphql`);
  const pool = new Pool(endpoint.origin, { connections: 16 });
  const clients = new Set<Client>();

  async function query<Data>(request: GraphRequest): Promise<Data> {
    const deadline = AbortSignal.timeout(TIMEOUT_MS);
    let text: string;
    try {
      const { body } = await pool.request({
        path: endpoint.pathname,
        method: "POST",
        headers: {
          "content-type": "application/json",
          [CALLER_HEADER]: await signer.callerHeader(request.as, GATEWAY_AUDIENCE),
          ...(request.requestId && { "x-request-id": request.requestId }),
        },
        body: JSON.stringify({ query: request.query, variables: request.variables ?? {} }),
        signal: request.signal ? AbortSignal.any([deadline, request.signal]) : deadline,
      });
      text = await body.text();
    } catch (cause) {
      if (deadline.aborted)
        throw new ToolyardError("TIMEOUT", `The gateway did not answer within ${TIMEOUT_MS} ms.`, { cause });
      throw new ToolyardError("UPSTREAM_UNAVAILABLE", `The gateway cannot be reached: ${messageOf(cause)}`, { cause });
    }
    const answer = graphqlAnswer.safeParse(parseJson(text));
    if (!answer.success) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The gateway did not answer with GraphQL.");
    if (answer.data.errors?.length) throw errorOfAnswer(answer.data.errors);
    // The caller of `query` wrote the selection and so knows the shape.
    return answer.data.data as Data;
  }

  async function* subscribe<Data>(request: GraphRequest): AsyncGenerator<Data> {
    const client = createClient({
      url: endpoint.href.replace(/^http/, "ws"),
      webSocketImpl: WebSocket,
      connectionParams: async () => ({ [CALLER_HEADER]: await signer.callerHeader(request.as, GATEWAY_AUDIENCE) }),
      retryAttempts: 0,
    });
    clients.add(client);
    const dispose = () => void client.dispose();
    request.signal?.addEventListener("abort", dispose, { once: true });
    try {
      for await (const result of client.iterate({ query: request.query, variables: request.variables ?? {} })) {
        if (result.errors?.length) throw errorOfAnswer(result.errors);
        yield result.data as Data;
      }
    } catch (cause) {
      if (request.signal?.aborted) return;
      if (cause instanceof ToolyardError) throw cause;
      throw new ToolyardError("UPSTREAM_UNAVAILABLE", "The stream from the gateway broke.", { cause });
    } finally {
      request.signal?.removeEventListener("abort", dispose);
      clients.delete(client);
      await client.dispose();
    }
  }

  return {
    query,
    subscribe,
    async close() {
      for (const client of clients) await client.dispose();
      await pool.destroy();
    },
  };
}
