import { readFile } from "node:fs/promises";
import { ToolyardError, messageOf, withoutStop, systemCodeOf } from "@toolyard/service-kit";
import type { SubgraphSdl } from "./composition.ts";
import { introspectSubgraph } from "./subgraph-introspection.ts";
import type { ConfiguredSubgraph } from "./supergraph-config.ts";

/**
 * Reads a subgraph's schema from its configured source, once.
 * @throws ToolyardError NOT_FOUND, UPSTREAM_UNAVAILABLE naming the subgraph and saying why
 */
export async function readSubgraph(subgraph: ConfiguredSubgraph, signal?: AbortSignal): Promise<SubgraphSdl> {
  const { name, routingUrl: url, schema } = subgraph;
  if (schema.kind === "inline") return { name, url, sdl: schema.sdl, origin: null };
  if (schema.kind === "file") return { name, url, sdl: await readSchemaFile(name, schema.path), origin: schema.path };
  try {
    return { name, url, sdl: await introspectSubgraph(schema, { signal }), origin: schema.url };
  } catch (cause) {
    signal?.throwIfAborted();
    throw new ToolyardError(
      "UPSTREAM_UNAVAILABLE",
      `The schema of the subgraph "${name}" cannot be had from ${schema.url}: ${withoutStop(messageOf(cause))}.`,
      { cause },
    );
  }
}

async function readSchemaFile(name: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const why = systemCodeOf(cause) === "ENOENT" ? "there is no such file" : messageOf(cause);
    throw new ToolyardError("NOT_FOUND", `The schema of the subgraph "${name}", ${path}, cannot be read: ${why}.`, {
      cause,
    });
  }
}

/** Reads several. @throws ToolyardError naming every one that could not be read */
export async function readSubgraphs(
  subgraphs: readonly ConfiguredSubgraph[],
  signal?: AbortSignal,
): Promise<SubgraphSdl[]> {
  const results = await Promise.allSettled(subgraphs.map((subgraph) => readSubgraph(subgraph, signal)));
  signal?.throwIfAborted();
  const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1)
    throw new ToolyardError("UPSTREAM_UNAVAILABLE", failures.map(messageOf).join("\n"), { cause: failures });
  return results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
}
