import { GRAPHQL_PATH, nothingHere } from "../paths.ts";
import { isForPeople } from "../explorer.ts";
import { createGraphqlAnswers } from "../graphql/answers.ts";
import type { RouteModule } from "../route.ts";

/** What the page at /graphql is made of, and the way there. */
const explorer: RouteModule = (app, context) => {
  const { page, prefix, jwks } = context;
  if (!page) return;
  app.direct({
    url: `${GRAPHQL_PATH}/assets/*`,
    handle(exchange) {
      if (exchange.request.method === "GET") return page.sendAsset(exchange);
      // An operation that was sent to a wrong address.
      throw nothingHere(exchange.path, { prefix, hasRest: jwks !== null });
    },
    fail: createGraphqlAnswers(context).fail,
  });
  // A user who types the address without a path wants the page.
  app.get("/", (request, reply) =>
    isForPeople(request.headers.accept)
      ? reply.redirect(prefix === "" ? GRAPHQL_PATH.slice(1) : prefix + GRAPHQL_PATH)
      : reply.callNotFound(),
  );
};
export default explorer;
