import {
  OF_NO_TOOL,
  closeTo,
  createLoader,
  notFound,
  parsePage,
  toConnection,
  type Caller,
  type Connection,
  type PageArguments,
} from "@toolyard/service-kit";
import { searchWords } from "../search-words.ts";
import type { Template, TemplateCatalogue } from "./template.ts";

/** Reads templates for callers, within one operation. All take `tool:read`. */
export interface TemplateReader {
  /** Null when there is none. */
  find(caller: Caller, id: string): Promise<Template | null>;
  /** The same, by an id that a person may have mistyped. @throws ToolyardError NOT_FOUND where there is none, but ids that are close */
  named(caller: Caller, id: string): Promise<Template | null>;
  /** @throws ToolyardError NOT_FOUND, with ids that are close */
  get(caller: Caller, id: string): Promise<Template>;
  /** In the order of their ids. @throws ToolyardError BAD_USER_INPUT */
  list(caller: Caller, filter: { search?: string | null | undefined } & PageArguments): Promise<Connection<Template>>;
}

/** @param catalogues Of two templates with the same id, the one in the earlier catalogue is the one */
export function createTemplateReader({ catalogues }: { catalogues: readonly TemplateCatalogue[] }): TemplateReader {
  const byId = createLoader(async (ids: readonly string[]) => {
    const found = new Map<string, Template>();
    for (const catalogue of catalogues) {
      const missing = ids.filter((id) => !found.has(id));
      if (missing.length === 0) break;
      for (const template of await catalogue.findByIds(missing)) found.set(template.id, template);
    }
    return ids.map((id) => found.get(id) ?? null);
  });

  async function matching(words: readonly string[]): Promise<string[]> {
    const found: string[] = [];
    for (const [index, catalogue] of catalogues.entries()) {
      const ids = await catalogue.idsOf(words);
      const hiding = await Promise.all(catalogues.slice(0, index).map((earlier) => earlier.findByIds(ids)));
      const hidden = new Set(hiding.flat().map(({ id }) => id));
      found.push(...ids.filter((id) => !hidden.has(id)));
    }
    return found.toSorted();
  }

  async function find(caller: Caller, id: string): Promise<Template | null> {
    caller.require("tool:read", OF_NO_TOOL, "read templates");
    return byId.load(id);
  }

  const closeIds = (id: string) => closeTo(id, () => matching([]));

  return {
    find,
    async named(caller, id) {
      const template = await find(caller, id);
      if (template) return template;
      const close = await closeIds(id);
      if (close.length > 0) throw notFound("template", id, close);
      return null;
    },
    async get(caller, id) {
      const template = await find(caller, id);
      if (!template) throw notFound("template", id, await closeIds(id));
      return template;
    },
    async list(caller, { search, ...pageArguments }) {
      caller.require("tool:read", OF_NO_TOOL, "read templates");
      const page = parsePage(pageArguments, "name");
      const words = searchWords(search ?? "");
      let found: Promise<string[]> | null = null;
      const ids = () => (found ??= matching(words));
      async function rows(): Promise<Template[]> {
        const after = (await ids()).filter((id) => page.afterId === null || id > page.afterId);
        const shown = after.slice(page.offset, page.offset + page.limit + 1);
        return (await Promise.all(shown.map((id) => byId.load(id)))).flatMap((template) => template ?? []);
      }
      return toConnection({ rows, totalCount: async () => (await ids()).length }, page, ({ id }) => id);
    },
  };
}
