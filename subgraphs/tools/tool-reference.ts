import {
  closeTo,
  mayBeName,
  MAX_CANDIDATES,
  notFound,
  type Caller,
  type Permission,
  type ToolShares,
  type ToolyardError,
} from "@toolyard/service-kit";
import { reachedBy } from "./reached-tools.ts";
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

/** The tool, on which the caller has the permission; past any cache. @throws ToolyardError NOT_FOUND, UNAUTHENTICATED, FORBIDDEN */
export async function requireTool(
  { store, shares }: { store: ToolStore; shares: ToolShares },
  caller: Caller,
  permission: Permission,
  reference: string,
  action: string,
): Promise<Tool> {
  caller.require(permission, undefined, action);
  const reached = reachedBy(caller, store);
  const tool = await findTool(reached, reference);
  if (!tool) throw await noSuchTool(reached, reference);
  await shares.require(caller, permission, { ownerId: tool.authorId, toolId: tool.id }, action);
  return tool;
}
