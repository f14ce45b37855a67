import {
  createLoader,
  createLoaderByArguments,
  createPageLoader,
  type Loader,
  type LoaderByArguments,
  type PageLoader,
} from "@toolyard/service-kit";
import type { GitHubConnection } from "./github/connection.ts";
import type { ConnectionStore } from "./github/connection-store.ts";
import { closeSlugs } from "./tool-reference.ts";
import type { Tool, ToolShare, ToolStore, ToolVersion } from "./tool-store.ts";

/** Batches and caches reads within one operation. */
export interface Loaders {
  toolById: Loader<string, Tool | null>;
  toolBySlug: Loader<string, Tool | null>;
  versionById: Loader<string, ToolVersion | null>;
  /** Of a tool. */
  versionByNumber: LoaderByArguments<{ number: number }, ToolVersion | null>;
  versions: PageLoader<object, ToolVersion>;
  connectionById: Loader<string, GitHubConnection | null>;
  /** What a tool follows. */
  connectionOfTool: Loader<string, GitHubConnection | null>;
  /** Of a tool. */
  shares: Loader<string, ToolShare[]>;
  /** Slugs close to a reference that names no tool. */
  closeSlugs: Loader<string, string[]>;
}

export function createLoaders(store: ToolStore, connections: Pick<ConnectionStore, "findByIds" | "ofTools">): Loaders {
  return {
    toolById: createLoader(async (ids) => inOrder(ids, await store.findByIds(ids), (tool) => tool.id)),
    toolBySlug: createLoader(async (slugs) => inOrder(slugs, await store.findBySlugs(slugs), (tool) => tool.slug)),
    versionById: createLoader(async (ids) => inOrder(ids, await store.findVersionsByIds(ids), ({ id }) => id)),
    versionByNumber: createLoaderByArguments(async (toolIds, { number }) =>
      inOrder(toolIds, await store.findVersionsOf(toolIds, number), ({ toolId }) => toolId),
    ),
    versions: createPageLoader({
      pages: (toolIds, _filter, page) => store.versionPages(toolIds, page),
      counts: (toolIds) => store.versionCounts(toolIds),
    }),
    connectionById: createLoader(async (ids) => inOrder(ids, await connections.findByIds(ids), ({ id }) => id)),
    connectionOfTool: createLoader(async (ids) => inOrder(ids, await connections.ofTools(ids), ({ toolId }) => toolId)),
    shares: createLoader((toolIds) => store.sharesOf(toolIds)),
    closeSlugs: createLoader((references) => Promise.all(references.map((reference) => closeSlugs(store, reference)))),
  };
}

function inOrder<Row>(keys: readonly string[], rows: readonly Row[], keyOf: (row: Row) => string): (Row | null)[] {
  const byKey = new Map(rows.map((row) => [keyOf(row), row]));
  return keys.map((key) => byKey.get(key) ?? null);
}
