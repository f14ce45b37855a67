import type { OutgoingHttpHeaders, ServerResponse } from "node:http";

/** The page that browsers get at /graphql. */
export interface ExplorerPage {
  send(exchange: { response: ServerResponse; headers: OutgoingHttpHeaders }): Promise<void>;
}

/** Apollo's Sandbox as Apollo Server embeds it. Its scripts come from Apollo's servers. */
export function createSandboxPage(): ExplorerPage {
  let page: Promise<string> | null = null;
  return {
    async send({ response, headers }) {
      page ??= renderSandbox();
      const html = await page;
      response.writeHead(200, {
        ...headers,
        "content-type": "text/html; charset=utf-8",
        "content-length": Buffer.byteLength(html),
        "cache-control": "no-cache",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
      });
      response.end(html);
    },
  };
}

/** Loaded when the first browser comes: no other request needs Apollo Server. */
async function renderSandbox(): Promise<string> {
  const { ApolloServer } = await import("@apollo/server");
  const { ApolloServerPluginLandingPageLocalDefault } = await import("@apollo/server/plugin/landingPage/default");
  const apollo = new ApolloServer({
    typeDefs: "type Query { _: Boolean }",
    stopOnTerminationSignals: false,
    plugins: [ApolloServerPluginLandingPageLocalDefault({ footer: false, includeCookies: false })],
  });
  await apollo.start();
  try {
    const { HeaderMap } = await import("@apollo/server");
    const headers = new HeaderMap();
    headers.set("accept", "text/html");
    const { body } = await apollo.executeHTTPGraphQLRequest({
      httpGraphQLRequest: { method: "GET", headers, search: "", body: undefined },
      context: async () => ({}),
    });
    if (body.kind !== "complete") throw new Error("Apollo Server answered its page in parts.");
    return body.string;
  } finally {
    await apollo.stop();
  }
}
