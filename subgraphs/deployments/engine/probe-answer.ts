import type { ListedTools } from "../usage/listed-names.ts";

/** The kind of probe that a server answered, and the tools that it lists; null: it was not asked for them, or has none. */
export interface ProbeAnswer {
  /** As in `mcp tools/list`. */
  kind: string;
  tools: ListedTools | null;
}
