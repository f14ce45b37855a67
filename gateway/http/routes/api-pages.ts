import { API_ASSETS_PATH, createApiPages } from "../api-pages.ts";
import { API_DOCS_PATH } from "../paths.ts";
import type { RouteModule } from "../route.ts";

const METHODS = ["GET", "HEAD"];

/** Pages for people about REST, made of /api/openapi.json. */
const apiPages: RouteModule = (app, { prefix, jwks }) => {
  // A graph of others has no REST.
  if (jwks === null) return;
  const pages = createApiPages(prefix);
  for (const [url, name] of [
    [API_DOCS_PATH, "docs.html"],
    ["/api/redoc", "redoc.html"],
  ] as const)
    app.direct({ url, methods: METHODS, handle: (exchange) => pages.send(exchange, name) });
  app.direct({
    url: `${API_ASSETS_PATH}*`,
    methods: METHODS,
    handle: (exchange) => pages.send(exchange, exchange.path.slice(API_ASSETS_PATH.length)),
  });
};
export default apiPages;
