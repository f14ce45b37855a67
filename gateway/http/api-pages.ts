import { join } from "node:path";
import { createPageFiles, fileOfPackage, type PageFile, type PageFiles } from "./page-files.ts";

/** The address of the pages' files. */
export const API_ASSETS_PATH = "/api/docs/assets/";

/** As strict as both pages work with: they style by attributes, and Redoc searches in a worker that it makes of a text. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Redoc's logo, which its page would ask another server for. */
const FOREIGN_LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg";

/**
 * The pages on which people read about REST, and try it: by Scalar and by Redoc, which come from packages that are installed with this server.
 * @param prefix The path of PUBLIC_URL
 */
export function createApiPages(prefix: string): PageFiles {
  const own = (name: string) => join(import.meta.dirname, "api-pages", name);
  const script = (path: () => string, convert?: PageFile["convert"]) => (): PageFile => ({
    type: "text/javascript",
    path: path(),
    ...(convert && { convert }),
  });
  const page = (name: string) => (): PageFile => ({
    type: "text/html",
    path: own(name),
    convert: withAddresses,
  });
  const files = createPageFiles(
    {
      "docs.html": page("docs.html"),
      "redoc.html": page("redoc.html"),
      "redoc.css": () => ({ type: "text/css", path: own("redoc.css") }),
      "docs.js": script(() => own("docs.js")),
      "redoc.js": script(() => own("redoc.js")),
      "scalar.js": script(() => fileOfPackage("@scalar/fastify-api-reference", "js/standalone.js")),
      "redoc.standalone.js": script(
        () => fileOfPackage("redoc/package.json", "bundles/redoc.standalone.js"),
        (bundle) => bundle.replaceAll(FOREIGN_LOGO, "data:,"),
      ),
    },
    POLICY,
  );

  /** Addresses below the prefix, and those of assets with their versions, so that browsers may keep them. */
  async function withAddresses(html: string): Promise<string> {
    const versions = new Map<string, string>();
    for (const [, name = ""] of html.matchAll(/"\/api\/docs\/assets\/([^"]+)"/g))
      versions.set(name, await files.versionOf(name));
    return html.replace(/"(\/api\/[^"]+)"/g, (_, path: string) => {
      const version = versions.get(path.slice(API_ASSETS_PATH.length));
      return `"${prefix}${path}${version === undefined ? "" : `?${version}`}"`;
    });
  }

  return files;
}
