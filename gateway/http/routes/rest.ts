import type { IncomingMessage } from "node:http";
import { isKept, type KeptAnswer } from "@toolyard/idempotency";
import { ToolyardError, loginRequired } from "@toolyard/service-kit";
import { createLightAbort } from "@toolyard/service-kit/process/light-abort.ts";
import type { GraphQLSchema } from "graphql";
import { quotaHeaders } from "../../admission/quotas.ts";
import type { CompiledRoute } from "../../rest/compiled-route.ts";
import { bodyOfForm } from "../../rest/form.ts";
import { ifNoneMatch, inJson, notModified, refusalsOf, type PathDescriber } from "../../rest/openapi.ts";
import { createRestApi, type RestApi } from "../../rest/rest-api.ts";
import { restRoutes } from "../../rest/routes/index.ts";
import { takesIdempotencyKey } from "../../rest/rest-route.ts";
import { runRoute, type RestAnswer } from "../../rest/run-route.ts";
import type { GatewayContext } from "../../admission/operation-gate.ts";
import type { BodyExchange } from "../body-reader.ts";
import { isMultipart } from "../multipart-form.ts";
import { problemAnswer } from "../problem.ts";
import type { RouteModule } from "../route.ts";

const DOCUMENT_URL = "/api/openapi.json";
const JSON_TYPE = "application/json; charset=utf-8";

/** REST: operations on the graph under addresses of their own, and the document that describes them. */
const rest: RouteModule = (app, context) => {
  const { gate, identify, contextOf, bodies, apiSchema, idempotency, prefix, jwks, describers } = context;
  // A graph of others lacks what the routes need.
  if (jwks === null) return;
  const apis = new WeakMap<GraphQLSchema, RestApi>();
  function api(): RestApi {
    const schema = apiSchema();
    const found = apis.get(schema) ?? createRestApi(schema, restRoutes, describers);
    apis.set(schema, found);
    return found;
  }

  async function bodyOf(exchange: BodyExchange, { route, inputs }: CompiledRoute): Promise<unknown> {
    if (route.upload && isMultipart(exchange.request.headers["content-type"]))
      return bodyOfForm(await bodies.readForm(exchange), route.upload, inputs.body);
    bodies.requireJson(exchange, route.upload && "multipart/form-data with its boundary");
    return bodies.readJson(exchange);
  }

  // Bodies are read once the caller is known.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));

  for (const route of restRoutes) {
    const url = route.path.replace(/\{(\w+)\}/g, ":$1");
    app.route({
      method: route.method,
      url,
      async handler(incoming, reply) {
        const { raw: request, id: requestId, params, query } = incoming;
        const { headers } = request;
        const caller = await identify(request);
        incoming.caller = caller;
        if (caller.kind === "anonymous" && !route.isOpen) throw caller.refusal ?? loginRequired();
        const compiled = api().compiled(route);
        const gone = createLightAbort();
        const body = hasBody(request)
          ? await bodyOf({ request, response: reply.raw, caller, headers: {} }, compiled)
          : undefined;
        const context = contextOf(caller, request, requestId);
        const run = () =>
          runRoute(gate, compiled, {
            params,
            search: query,
            body,
            ifMatch: headers["if-match"],
            ifNoneMatch: headers["if-none-match"],
            context,
            signal: gone.signal,
          }).finally(() => void reply.headers(quotaHeaders(context)));
        const key = takesIdempotencyKey(route) ? headers["idempotency-key"] : undefined;
        if (key !== undefined) {
          // It is done whether its client waits or not, who asks again under the same key.
          const { isReplayed, ...kept } = await idempotency.once(
            {
              key: String(key),
              caller: ownerOf(context),
              route: `${route.method} ${route.path}`,
              content: contentOf([params, query, body ?? null]),
            },
            () => keptAnswer(run, requestId),
          );
          if (isReplayed) reply.header("idempotency-replayed", "true");
          return reply.code(kept.status).headers(kept.headers).send(kept.body);
        }
        reply.raw.once("close", () => gone.abort(new ToolyardError("UPSTREAM_UNAVAILABLE", "The client went away.")));
        const answer = await run();
        return reply.code(answer.status).headers(answer.headers).send(answer.body);
      },
    });
  }

  app.get(DOCUMENT_URL, async (request, reply) => {
    const { text, etag } = api().openApi(prefix);
    reply.headers({ etag, "cache-control": "no-cache" });
    if (request.headers["if-none-match"] === etag) return reply.code(304).send();
    return reply.type("application/json").send(text);
  });
};

/** An answer as text, a refusal as well. @throws the error of a request that may be sent again under its key */
async function keptAnswer(run: () => Promise<RestAnswer>, requestId: string): Promise<KeptAnswer> {
  try {
    const { status, headers, body } = await run();
    return { status, headers: { ...headers, "content-type": JSON_TYPE }, body: JSON.stringify(body) };
  } catch (error) {
    const { status, headers, body } = problemAnswer(error, requestId);
    if (!isKept(status)) throw error;
    return { status, headers: { "content-type": String(headers["content-type"]) }, body };
  }
}

/** @throws ToolyardError BAD_USER_INPUT where writing it down takes more than the stack */
function contentOf(parts: readonly unknown[]): string {
  try {
    return JSON.stringify(parts);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new ToolyardError("BAD_USER_INPUT", "The body is nested too deeply.", { cause });
  }
}

/** Who may have the answer under a key: the user by a login, an API key with its limits, or somebody unknown at one address. */
function ownerOf({ caller, clientAddress }: GatewayContext): string {
  const { credential, subject, scopes } = caller;
  if (subject === null) return JSON.stringify(["anonymous", clientAddress ?? ""]);
  return JSON.stringify([subject, credential?.type === "api-key" ? credential.apiKeyId : scopes.toSorted()]);
}

/** Whether a request has a body (RFC 9112, section 6). */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}
export default rest;

export const openApi: PathDescriber = () => ({
  [DOCUMENT_URL]: {
    get: {
      tags: ["Operating"],
      summary: "Get this document",
      operationId: "OpenApi",
      security: [{}],
      parameters: [ifNoneMatch],
      responses: {
        200: {
          description: "OpenAPI 3.1.",
          headers: { ETag: { description: "The document's.", schema: { type: "string" } } },
          content: inJson({ type: "object", required: ["openapi", "info", "paths", "components"] }),
        },
        304: notModified,
        ...refusalsOf(["FORBIDDEN", "INTERNAL_SERVER_ERROR"]),
      },
    },
  },
});
