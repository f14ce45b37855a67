/** The tools that servers list, learnt from passing answers to `tools/list`: other names that callers write are arbitrary text. */
export interface ListedTools {
  /** Adds a page of a list; names of earlier pages and lists are kept while there is room. */
  add(deploymentId: string, names: readonly string[]): void;
  has(deploymentId: string, name: string): boolean;
}

/** The most names of one deployment. */
const MAX_NAMES = 2_000;
const MAX_ALL_NAMES = 100_000;

export function createListedTools(): ListedTools {
  /** The least recently listed first: deployments, and names of each. */
  const deployments = new Map<string, Set<string>>();
  let count = 0;

  function forgetDown(): void {
    for (const [deploymentId, names] of deployments) {
      if (count <= MAX_ALL_NAMES) return;
      deployments.delete(deploymentId);
      count -= names.size;
    }
  }

  return {
    add(deploymentId, listed) {
      if (listed.length === 0) return;
      const names = deployments.get(deploymentId) ?? new Set();
      count -= names.size;
      for (const name of listed) {
        names.delete(name);
        names.add(name);
      }
      for (const name of names) {
        if (names.size <= MAX_NAMES) break;
        names.delete(name);
      }
      deployments.delete(deploymentId);
      deployments.set(deploymentId, names);
      count += names.size;
      forgetDown();
    },
    has: (deploymentId, name) => deployments.get(deploymentId)?.has(name) ?? false,
  };
}
