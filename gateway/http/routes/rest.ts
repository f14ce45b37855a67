import type { IncomingMessage } from "node:http";
import { ToolyardError } from "@toolyard/service-kit";
import { createLightAbort } from "@toolyard/service-kit/process/light-abort.ts";
import type { GraphQLSchema } from "graphql";
import { quotaHeaders } from "../../admission/quotas.ts";
import { createRestApi, type RestApi } from "../../rest/rest-api.ts";
import { restRoutes } from "../../rest/routes/index.ts";
import { runRoute } from "../../rest/run-route.ts";
import type { BodyExchange } from "../body-reader.ts";
import type { RouteModule } from "../route.ts";

/** REST: operations on the graph under addresses of their own, and the document that describes them. */
const rest: RouteModule = (app, { gate, identify, contextOf, bodies, apiSchema, prefix }) => {
  const apis = new WeakMap<GraphQLSchema, RestApi>();
  function api(): RestApi {
    const schema = apiSchema();
    const found = apis.get(schema) ?? createRestApi(schema, restRoutes);
    apis.set(schema, found);
    return found;
  }

  async function bodyOf(exchange: BodyExchange): Promise<unknown> {
    bodies.requireJson(exchange);
    return bodies.readJson(exchange);
  }

  // Bodies are read once the caller is known.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));

  for (const route of restRoutes) {
    const url = route.path.replace(/\{(\w+)\}/g, ":$1");
    for (const each of url.endsWith("/") ? [url, url.slice(0, -1)] : [url])
      app.route({
        method: route.method,
        url: each,
        async handler(incoming, reply) {
          const { raw: request, id: requestId, params, query } = incoming;
          const { headers } = request;
          const caller = await identify(request);
          incoming.caller = caller;
          if (caller.kind === "anonymous" && !route.isOpen)
            throw caller.refusal ?? new ToolyardError("UNAUTHENTICATED", "Log in first, or send an API key.");
          const compiled = api().compiled(route);
          const gone = createLightAbort();
          reply.raw.once("close", () => gone.abort(new ToolyardError("UPSTREAM_UNAVAILABLE", "The client went away.")));
          const body = hasBody(request)
            ? await bodyOf({ request, response: reply.raw, caller, headers: {} })
            : undefined;
          const context = contextOf(caller, request, requestId);
          const answer = await runRoute(gate, compiled, {
            params,
            search: query,
            body,
            ifMatch: headers["if-match"],
            ifNoneMatch: headers["if-none-match"],
            context,
            signal: gone.signal,
          }).finally(() => void reply.headers(quotaHeaders(context)));
          return reply.code(answer.status).headers(answer.headers).send(answer.body);
        },
      });
  }

  app.get("/api/openapi.json", async (request, reply) => {
    const { text, etag } = api().openApi(prefix === "" ? "/" : prefix);
    reply.headers({ etag, "cache-control": "no-cache" });
    if (request.headers["if-none-match"] === etag) return reply.code(304).send();
    return reply.type("application/json").send(text);
  });
};

/** Whether a request has a body (RFC 9112, section 6). */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}
export default rest;
