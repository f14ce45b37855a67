import type { ListedTools } from "../usage/listed-names.ts";

/** What a probe asked a server that answered, and what tools the server lists; null: it was not asked for them, or has none. */
export interface Heard {
  /** As in `mcp tools/list`. */
  kind: string;
  tools: ListedTools | null;
}
