import { closeTo, mayBeName, MAX_CANDIDATES, notFound, type ToolyardError } from "@toolyard/service-kit";
import { slugFromName } from "./slug.ts";
import type { Tool, ToolStore } from "./tool-store.ts";

type Lookup = Pick<ToolStore, "findByIds" | "findBySlugs" | "newestSlugs">;

/** The tool with this id or, if there is none, with this slug. */
export async function findTool(
  store: Pick<ToolStore, "findByIds" | "findBySlugs">,
  reference: string,
): Promise<Tool | null> {
  const [byId] = await store.findByIds([reference]);
  if (byId) return byId;
  const [bySlug] = await store.findBySlugs([reference]);
  return bySlug ?? null;
}

/** Slugs that somebody may have meant by a reference that names no tool. */
export async function closeSlugs(store: Pick<Lookup, "newestSlugs">, reference: string): Promise<string[]> {
  if (!mayBeName(reference)) return [];
  const slugs = await store.newestSlugs(MAX_CANDIDATES);
  const ofName = slugFromName(reference);
  return slugs.includes(ofName) ? [ofName] : closeTo(reference, async () => slugs);
}

export async function noSuchTool(store: Pick<Lookup, "newestSlugs">, reference: string): Promise<ToolyardError> {
  return notFound("tool", reference, await closeSlugs(store, reference));
}
