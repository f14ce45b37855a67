import { join } from "node:path";
import { createPageFiles, fileOfPackage, type PageExchange, type PageFile } from "./page-files.ts";

/** The page that browsers get at /graphql, and its assets. */
export interface ExplorerPage {
  send(exchange: PageExchange): Promise<void>;
  /** A file below /graphql/assets/. */
  sendAsset(exchange: PageExchange & { path: string }): Promise<void>;
}

const ASSETS_PATH = "/graphql/assets/";

/** Everything comes from this server and from packages installed with it; the page may load and call nothing else. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/**
 * GraphiQL, with subscriptions over graphql-transport-ws and a login at the top.
 * @param options.login Whether users log in with a password, by the graph's `login`; else they bring a token.
 */
export function createGraphiqlPage(options: { login: boolean }): ExplorerPage {
  const own = (name: string) => join(import.meta.dirname, "explorer", name);
  const script = (path: () => string) => (): PageFile => ({ type: "text/javascript", path: path() });
  const files = createPageFiles(
    {
      "page.html": () => ({
        type: "text/html",
        path: own("page.html"),
        convert: (page) => (options.login ? page : page.replace("<html", '<html data-login="none"')),
      }),
      "page.css": () => ({ type: "text/css", path: own("page.css") }),
      ...Object.fromEntries(
        ["page.js", "session.js", "transport.js", "first-queries.js"].map((name) => [name, script(() => own(name))]),
      ),
      "react.js": script(() => fileOfPackage("react/package.json", "umd/react.production.min.js")),
      "react-dom.js": script(() => fileOfPackage("react-dom/package.json", "umd/react-dom.production.min.js")),
      "graphiql.js": script(() => fileOfPackage("graphiql/package.json", "graphiql.min.js")),
      "graphiql.css": () => ({ type: "text/css", path: fileOfPackage("graphiql/package.json", "graphiql.min.css") }),
      // Its package.json is not exported; its main file lies one folder below.
      "graphql-ws.js": script(() => fileOfPackage("graphql-ws", "../umd/graphql-ws.min.js")),
    },
    POLICY,
  );

  return {
    send: (exchange) => files.send(exchange, "page.html"),
    sendAsset: (exchange) =>
      files.send(exchange, exchange.path.startsWith(ASSETS_PATH) ? exchange.path.slice(ASSETS_PATH.length) : ""),
  };
}

/** Whether a browser asks for a page. */
export function isForPeople(accept: string | undefined): boolean {
  return accept !== undefined && accept.includes("text/html");
}
