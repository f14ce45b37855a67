import type { Caller, Page, Rows } from "@toolyard/service-kit";
import type { Tool, ToolFilter, ToolStore } from "./tool-store.ts";

/** What callers read of the store. */
type ReadStore = Pick<
  ToolStore,
  "findByIds" | "findBySlugs" | "findVersionsByIds" | "newestSlugs" | "page" | "pageOf" | "accessOf"
>;

/** The store as a caller's credential reaches it: to a key that is limited to tools, others are not there. */
export function reachedBy<Store extends ReadStore>(caller: Caller, store: Store): Store {
  const { toolIds } = caller;
  if (toolIds === null) return store;
  /** There are few: a list of theirs is made here. */
  const listed = (page: Page, isListed: (tool: Tool) => Promise<boolean>): Rows<Tool> => {
    const all = async () => {
      const found = await store.findByIds(toolIds);
      const kept = await Promise.all(found.map(isListed));
      return found.filter((_, index) => kept[index]).toSorted((a, b) => (a.id < b.id ? 1 : -1));
    };
    return {
      async rows() {
        const after = (await all()).filter(({ id }) => page.afterId === null || id < page.afterId);
        return after.slice(page.offset, page.offset + page.limit + 1);
      },
      totalCount: async () => (await all()).length,
    };
  };
  const reading: ReadStore = {
    findByIds: (ids) => store.findByIds(ids.filter(caller.reaches)),
    findBySlugs: async (slugs) => (await store.findBySlugs(slugs)).filter(({ id }) => caller.reaches(id)),
    findVersionsByIds: async (ids) =>
      (await store.findVersionsByIds(ids)).filter(({ toolId }) => caller.reaches(toolId)),
    newestSlugs: async () => [],
    accessOf: store.accessOf,
    page: (filter, page) => listed(page, async (tool) => isFound(tool, filter)),
    pageOf: (list, page) =>
      listed(page, async ({ id, authorId, deletedAt }) => {
        if (deletedAt !== null) return false;
        if ("authorId" in list) return authorId === list.authorId;
        return (await store.accessOf(list.sharedWith, [id]))[0] != null;
      }),
  };
  return { ...store, ...reading };
}

function isFound(
  { slug, name, description, tags, deletedAt }: Tool,
  { words, tag, includeDeleted }: ToolFilter,
): boolean {
  if (deletedAt !== null && !includeDeleted) return false;
  if (tag !== null && !tags.includes(tag)) return false;
  const text = [slug, name, description, ...tags].join("\n").toLowerCase();
  return words.every((word) => text.includes(word.toLowerCase()));
}
