import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

/** Files of a page, by their names. They are read when first asked for. */
export interface PageFiles {
  /** Answers with a file, or 404. Kept for ever where the query is the file's version, else asked for again each time. */
  send(exchange: PageExchange, name: string): Promise<void>;
  /** A file's version, of its content. @throws Error where there is none of this name */
  versionOf(name: string): Promise<string>;
}

export interface PageExchange {
  request: IncomingMessage;
  response: ServerResponse;
  headers: OutgoingHttpHeaders;
}

export interface PageFile {
  type: "text/html" | "text/css" | "text/javascript";
  /** Of the file. */
  path: string;
  /** Makes the text that is sent; the file is sent as it is unless given. */
  convert?: (content: string) => string | Promise<string>;
}

interface LoadedFile {
  type: string;
  plain: Buffer;
  gzipped: Buffer;
  version: string;
}

const compress = promisify(gzip);
const require = createRequire(import.meta.url);

/** Where a file of an installed package is. @param module One of its modules that it exports @param file From that module's folder */
export function fileOfPackage(module: string, file: string): string {
  return join(dirname(require.resolve(module)), file);
}

/** @param policy The Content-Security-Policy of all of them */
export function createPageFiles(files: Readonly<Record<string, () => PageFile>>, policy: string): PageFiles {
  const loaded = new Map<string, Promise<LoadedFile>>();

  function load(name: string): Promise<LoadedFile> | null {
    const known = loaded.get(name);
    if (known) return known;
    const entry = Object.hasOwn(files, name) ? files[name] : undefined;
    if (!entry) return null;
    const file = read(entry());
    loaded.set(name, file);
    // After a failure, it is read again at the next request.
    file.catch(() => loaded.delete(name));
    return file;
  }

  return {
    async versionOf(name) {
      const file = await load(name);
      if (!file) throw new Error(`No page has a file ${name}.`);
      return file.version;
    },
    async send({ request, response, headers }, name) {
      const file = await load(name);
      if (!file) {
        response.writeHead(404, { ...headers, "content-length": "0" }).end();
        return;
      }
      const { type, version } = file;
      const isGzipped = /\bgzip\b/.test(String(request.headers["accept-encoding"] ?? ""));
      const body = isGzipped ? file.gzipped : file.plain;
      const etag = `"${version}"`;
      const kept = {
        ...headers,
        // No window of another origin that opened the page, or was opened by it, reaches it.
        "cross-origin-opener-policy": "same-origin",
        "content-security-policy": policy,
        vary: "Origin, Accept, Accept-Encoding",
        etag,
        // The files of two versions of Toolyard do not fit together.
        "cache-control": request.url?.endsWith(`?${version}`) ? "public, max-age=31536000, immutable" : "no-cache",
      };
      // Compressing proxies turn it into a weak one.
      if (request.headers["if-none-match"]?.includes(etag)) {
        response.writeHead(304, kept).end();
        return;
      }
      response.writeHead(200, {
        ...kept,
        ...(isGzipped && { "content-encoding": "gzip" }),
        "content-type": `${type}; charset=utf-8`,
        "content-length": body.length,
      });
      response.end(body);
    },
  };
}

async function read({ type, path, convert }: PageFile): Promise<LoadedFile> {
  const content = await readFile(path);
  const plain = convert ? Buffer.from(await convert(content.toString())) : content;
  const version = createHash("sha256").update(plain).digest("base64url");
  return { type, plain, gzipped: await compress(plain), version };
}
