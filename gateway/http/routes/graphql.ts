import { ToolyardError, nextTimeSlice, sliceAfter } from "@toolyard/service-kit";
import { isForeignLink } from "@toolyard/service-kit/http/cross-site.ts";
import { EVENT_STREAM, createTypeChooser } from "../../formats/media-types.ts";
import { GRAPHQL_PATH, nothingHere } from "../paths.ts";
import type { RouteExchange } from "../direct-routes.ts";
import { isForPeople } from "../explorer.ts";
import { createGraphqlAnswers, refused } from "../graphql/answers.ts";
import { createGraphqlOperations, type GraphqlCall } from "../graphql/operations.ts";
import { parseParams, parseSearch } from "../graphql/params.ts";
import type { RouteModule } from "../route.ts";

/** Longest logged name that a client chose. */
const MAX_LOGGED_NAME = 64;

/**
 * GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/), straight on Node's server: any overhead here is
 * paid by every request.
 */
const graphql: RouteModule = (app, context) => {
  const { protocols, page, identify, bodies, prefix, jwks } = context;
  const operations = createGraphqlOperations(context);
  const answers = createGraphqlAnswers(context);
  const chooseType = createTypeChooser();

  async function handle(exchange: RouteExchange): Promise<void> {
    const { request, response, path, requestId, headers } = exchange;
    const { method, url = "" } = request;
    const { accept } = request.headers;
    const isPost = method === "POST";
    if (!isPost && page && isForPeople(accept) && !url.includes("query=")) {
      if (path === GRAPHQL_PATH) return page.send(exchange);
      // The page's own links are relative to its address, whatever stands before that.
      response.writeHead(308, { ...headers, location: "../graphql", "content-length": "0" }).end();
      return;
    }
    if (isPost) bodies.requireJson(exchange);
    else if (isForeignLink(request))
      throw new ToolyardError("FORBIDDEN", "A link on another site may not run an operation (CSRF prevention).");

    const call: GraphqlCall = { exchange, inspected: null, listed: 0, streamed: null };
    exchange.describe = () => describe(call);
    // Before anything is read or parsed: that work needs a known caller.
    exchange.caller = await identify(request);
    // Many that come at once are ready at once.
    const turn = nextTimeSlice();
    if (turn) await turn;
    const body = isPost ? await bodies.readJson(exchange) : undefined;
    if (Array.isArray(body)) return answers.sendList(exchange, await operations.runList(call, body));
    const params = isPost ? parseParams(body) : parseSearch(new URLSearchParams(url.slice(path.length + 1)));
    const { result: type, stream } = chooseType(accept);
    if (params.wantsCallback || stream) {
      call.streamed = { request, response, body: await operations.withText(params, body), requestId, headers };
      if (await protocols.handleOperation(call.streamed)) return;
    }
    if (!type || type === EVENT_STREAM) {
      const message = "This answers application/graphql-response+json or application/json.";
      return answers.send(exchange, "application/json", refused(406, message, requestId));
    }
    const result = await operations.run(call, params, call.streamed?.found?.inspected);
    const slice = sliceAfter();
    if (slice) await slice;
    answers.send(exchange, type, result);
  }

  app.direct({
    url: GRAPHQL_PATH,
    methods: ["GET", "POST"],
    handle,
    fail: answers.fail,
    upgrade: protocols.handleUpgrade,
  });
  app.direct({
    url: `${GRAPHQL_PATH}/*`,
    handle({ path }) {
      throw nothingHere(path, { prefix, hasRest: jwks !== null });
    },
    fail: answers.fail,
  });
};
export default graphql;

/** For the request's line in the log. */
function describe({ inspected, listed, streamed }: GraphqlCall): Record<string, string | number | undefined> {
  if (listed > 0) return { operations: listed };
  const found = inspected ?? streamed?.found?.inspected;
  if (!found || "errors" in found) return {};
  return { operation: found.name?.slice(0, MAX_LOGGED_NAME), kind: found.kind };
}
