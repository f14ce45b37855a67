import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

/** The page that browsers get at /graphql, and its assets. */
export interface ExplorerPage {
  send(exchange: PageExchange): Promise<void>;
  /** A file below /graphql/assets/. */
  sendAsset(exchange: PageExchange & { path: string }): Promise<void>;
}

interface PageExchange {
  request: IncomingMessage;
  response: ServerResponse;
  headers: OutgoingHttpHeaders;
}

interface Asset {
  type: string;
  plain: Buffer;
  gzipped: Buffer;
  etag: string;
}

const ASSETS_PATH = "/graphql/assets/";
const compress = promisify(gzip);
const require = createRequire(import.meta.url);

/** Everything comes from this server and from packages installed with it; the page may load and call nothing else. */
const SECURITY_HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; font-src data:; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

/**
 * GraphiQL, with subscriptions over graphql-transport-ws and a login at the top. Files are read when first asked for.
 * @param options.login Whether users log in with a password, by the graph's `login`; else they bring a token.
 */
export function createGraphiqlPage(options: { login: boolean }): ExplorerPage {
  const own = (name: string) => join(import.meta.dirname, "explorer", name);
  const ofPackage = (name: string, file: string) => join(dirname(require.resolve(name)), file);
  const files: Record<string, { type: string; file: () => string }> = {
    "page.html": { type: "text/html", file: () => own("page.html") },
    "page.css": { type: "text/css", file: () => own("page.css") },
    ...Object.fromEntries(
      ["page.js", "session.js", "transport.js", "first-queries.js"].map((name) => [
        name,
        { type: "text/javascript", file: () => own(name) },
      ]),
    ),
    "react.js": { type: "text/javascript", file: () => ofPackage("react/package.json", "umd/react.production.min.js") },
    "react-dom.js": {
      type: "text/javascript",
      file: () => ofPackage("react-dom/package.json", "umd/react-dom.production.min.js"),
    },
    "graphiql.js": { type: "text/javascript", file: () => ofPackage("graphiql/package.json", "graphiql.min.js") },
    "graphiql.css": { type: "text/css", file: () => ofPackage("graphiql/package.json", "graphiql.min.css") },
    "graphql-ws.js": {
      type: "text/javascript",
      // Its package.json is not exported; its main file lies one folder below.
      file: () => ofPackage("graphql-ws", "../umd/graphql-ws.min.js"),
    },
  };
  const loaded = new Map<string, Promise<Asset>>();

  function load(name: string): Promise<Asset> | null {
    const known = loaded.get(name);
    if (known) return known;
    const entry = Object.hasOwn(files, name) ? files[name] : undefined;
    if (!entry) return null;
    const asset = readFile(entry.file()).then(async (file) => {
      const isBare = name === "page.html" && !options.login;
      const plain = isBare ? Buffer.from(file.toString().replace("<html", '<html data-login="none"')) : file;
      const etag = `"${createHash("sha256").update(plain).digest("base64url")}"`;
      return { type: entry.type, plain, gzipped: await compress(plain), etag };
    });
    loaded.set(name, asset);
    // After a failure, it is read again at the next request.
    asset.catch(() => loaded.delete(name));
    return asset;
  }

  async function send({ request, response, headers }: PageExchange, asset: Asset): Promise<void> {
    const isGzipped = /\bgzip\b/.test(String(request.headers["accept-encoding"] ?? ""));
    const body = isGzipped ? asset.gzipped : asset.plain;
    const kept = {
      ...headers,
      ...SECURITY_HEADERS,
      vary: "Origin, Accept, Accept-Encoding",
      etag: asset.etag,
      // Revalidated each time: the files of two versions of Toolyard do not fit together.
      "cache-control": "no-cache",
    };
    // Compressing proxies turn it into a weak one.
    if (request.headers["if-none-match"]?.includes(asset.etag)) {
      response.writeHead(304, kept).end();
      return;
    }
    response.writeHead(200, {
      ...kept,
      ...(isGzipped && { "content-encoding": "gzip" }),
      "content-type": `${asset.type}; charset=utf-8`,
      "content-length": body.length,
    });
    response.end(body);
  }

  return {
    async send(exchange) {
      const page = load("page.html");
      if (page) await send(exchange, await page);
    },
    async sendAsset(exchange) {
      const { path } = exchange;
      const asset = path.startsWith(ASSETS_PATH) ? load(path.slice(ASSETS_PATH.length)) : null;
      if (asset) return send(exchange, await asset);
      exchange.response.writeHead(404, { ...exchange.headers, "content-length": "0" }).end();
    },
  };
}

/** Whether a browser asks for a page. */
export function isForPeople(accept: string | undefined): boolean {
  return accept !== undefined && accept.includes("text/html");
}
