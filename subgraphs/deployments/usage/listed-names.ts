import { LRUCache } from "lru-cache";
import { keptText } from "./usage-record.ts";

/** Names of the tools that a server lists, as far as its answer went. */
export interface ListedTools {
  names: readonly string[];
  /** Whether that is all of its list. */
  isWhole: boolean;
}

/** The tools that deployments list to probes, as of the last one: in memory, and learned again within a probe's interval after a start. */
export interface ListedNames {
  note(deploymentId: string, listed: ListedTools): void;
  /** Null: it is not known. */
  has(deploymentId: string, name: string): boolean | null;
}

/** Of one deployment. */
export const MAX_LISTED = 1_000;
const MAX_ALL_LISTED = 200_000;

export function createListedNames(): ListedNames {
  const deployments = new LRUCache<string, { names: Set<string>; isWhole: boolean }>({
    maxSize: MAX_ALL_LISTED,
    sizeCalculation: ({ names }) => names.size + 1,
  });
  return {
    note(deploymentId, { names: listed, isWhole }) {
      const names = new Set(listed.slice(0, MAX_LISTED).map(keptText));
      deployments.set(deploymentId, { names, isWhole: isWhole && listed.length <= MAX_LISTED });
    },
    has(deploymentId, name) {
      const known = deployments.get(deploymentId);
      if (known?.names.has(name)) return true;
      return known?.isWhole ? false : null;
    },
  };
}
