import { GRAPHQL_PATH } from "../paths.ts";
import { isForPeople } from "../explorer.ts";
import type { RouteModule } from "../route.ts";

/** What the page at /graphql is made of, and the way there. */
const explorer: RouteModule = (app, { page, prefix }) => {
  if (!page) return;
  app.direct({ url: `${GRAPHQL_PATH}/assets/*`, methods: ["GET"], handle: (exchange) => page.sendAsset(exchange) });
  // A user who types the address without a path wants the page.
  app.get("/", (request, reply) =>
    isForPeople(request.headers.accept)
      ? reply.redirect(prefix === "" ? GRAPHQL_PATH.slice(1) : prefix + GRAPHQL_PATH)
      : reply.callNotFound(),
  );
};
export default explorer;
