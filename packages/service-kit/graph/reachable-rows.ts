import { badInput } from "../errors/errors.ts";
import type { Caller } from "../identity/caller.ts";
import type { Page, Rows } from "./paging.ts";

/** Rows of several lists are skipped by reading them. */
const MAX_MERGED_OFFSET = 1_000;

/**
 * A list, newest first by id, as the caller's credential reaches it: all of it, one tool's, or those of the tools that a key is limited to, as one.
 * @param toolId The tool that the list is asked for; null: all.
 * @param read The list of a tool, or of all.
 * @throws ToolyardError BAD_USER_INPUT for an offset beyond `MAX_MERGED_OFFSET` in a list of several tools
 */
export function reachableRows<Row extends { id: string }>(
  caller: Caller,
  toolId: string | null | undefined,
  page: Page,
  read: (toolId: string | undefined, page: Page) => Rows<Row>,
): Rows<Row> {
  const toolIds = caller.reachable(toolId == null ? null : [toolId]);
  if (toolIds === null) return read(undefined, page);
  const [only] = toolIds;
  if (only !== undefined && toolIds.length === 1) return read(only, page);
  const { offset, limit } = page;
  if (offset > MAX_MERGED_OFFSET) {
    const message = `must be at most ${MAX_MERGED_OFFSET} with a key that is limited to several tools: use \`after\``;
    throw badInput([{ path: "offset", message }]);
  }
  const parts = toolIds.map((id) => read(id, { ...page, limit: offset + limit, offset: 0 }));
  return {
    async rows() {
      const found = (await Promise.all(parts.map((part) => part.rows()))).flat();
      return found.toSorted((a, b) => (a.id < b.id ? 1 : -1)).slice(offset, offset + limit + 1);
    },
    totalCount: async () => (await Promise.all(parts.map((part) => part.totalCount()))).reduce((a, b) => a + b, 0),
  };
}
