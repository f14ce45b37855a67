import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { createCallerHeaders } from "@toolyard/gateway/execution/clients/caller-headers.ts";
import { createHttpClient, type HttpClientOptions } from "@toolyard/gateway/execution/clients/http-client.ts";
import { createInProcessClient } from "@toolyard/gateway/execution/clients/in-process-client.ts";
import {
  subgraphClientContract,
  type OpenSubgraphClient,
} from "@toolyard/gateway/execution/clients/subgraph-client.contract.ts";
import { createLogger, createTokenSigner, type Subgraph } from "@toolyard/service-kit";
import { CALLER_HEADER, createCallerHeaderVerifier } from "@toolyard/service-kit/identity/tokens.ts";
import { serveSubgraph } from "@toolyard/subgraph-host/subgraph-server.ts";
import { createHandler as createHttpHandler } from "graphql-http/lib/use/http";
import { createHandler as createStreamHandler } from "graphql-sse/lib/use/http";
import { describe } from "vitest";
import { createBreakableWay } from "./fixtures/identity-installation.ts";

const secretKey = "a-secret-key-of-at-least-32-characters";
const signer = createTokenSigner({ secretKey });
const verifierOf = ({ name }: Subgraph) => createCallerHeaderVerifier({ secretKeys: [secretKey], audience: name });
const logger = createLogger({ level: "silent", name: "test" });

type Serve = (subgraph: Subgraph) => Promise<{ port: number; isForeign?: boolean; close(): Promise<void> }>;

function overHttp(serve: Serve, subscriptions: NonNullable<HttpClientOptions["subscriptions"]>): void {
  subgraphClientContract(async (subgraph): Promise<OpenSubgraphClient> => {
    const server = await serve(subgraph);
    const way = await createBreakableWay(server.port);
    const clientFor = (audience: string) =>
      createHttpClient({
        name: subgraph.name,
        url: new URL("/graphql", way.url).href,
        subscriptions,
        headersFor: createCallerHeaders({
          name: CALLER_HEADER,
          sign: (caller, about) => signer.callerHeader(caller, audience, about),
        }),
      });
    const [client, stranger] = [clientFor(subgraph.name), clientFor("another")];
    return {
      client,
      stranger,
      isForeign: server.isForeign ?? false,
      cut: way.cut,
      mend: way.mend,
      async close() {
        await client.close();
        await stranger.close();
        await way[Symbol.asyncDispose]();
        await server.close();
      },
    };
  });
}

describe("a subgraph of this process", () =>
  subgraphClientContract(async (subgraph) => {
    const client = createInProcessClient({ subgraph });
    return { client, close: () => client.close() };
  }));

describe("a subgraph that runs alone", () =>
  overHttp(async (subgraph) => {
    const { url, close } = await serveSubgraph({
      subgraph,
      host: "127.0.0.1",
      port: 0,
      verifyCaller: verifierOf(subgraph),
      logger,
    });
    return { port: Number(new URL(url).port), close };
  }, "graphql-ws"));

describe("a subgraph on other servers, which streams by server-sent events", () =>
  overHttp(async (subgraph) => {
    const { schema } = subgraph;
    const verify = verifierOf(subgraph);
    async function contextOf({ headers }: IncomingMessage) {
      return subgraph.createContext({ ...(await verify(String(headers[CALLER_HEADER]))), requestId: "r" });
    }
    const answer = createHttpHandler({
      schema,
      context: ({ raw }) => contextOf(raw) as Promise<Record<string, unknown>>,
    });
    const stream = createStreamHandler({
      schema,
      context: ({ raw }) => contextOf(raw) as Promise<Record<string, unknown>>,
    });
    const server = createServer((request, response) => {
      const handle = request.headers.accept?.includes("text/event-stream") ? stream : answer;
      void verify(String(request.headers[CALLER_HEADER])).then(
        () => handle(request, response),
        () => {
          response.writeHead(401, { "content-type": "application/json" });
          response.end('{"errors":[{"message":"Who?","extensions":{"code":"UNAUTHENTICATED"}}]}');
        },
      );
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    return {
      // `listen` on a TCP port answers an AddressInfo.
      port: (server.address() as AddressInfo).port,
      isForeign: true,
      async close() {
        server.closeAllConnections();
        server.close();
        await once(server, "close");
      },
    };
  }, "sse"));
