import type { Logger } from "@toolyard/service-kit";
import type { RefusedRoute, RouteTable } from "@toolyard/routes";

/** Invalid routes of the control plane's table: each is logged once, until it is good again or gone. */
export interface RefusedRoutes {
  note(table: RouteTable, refused: readonly RefusedRoute[]): void;
  count(): number;
}

export function createRefusedRoutes({ logger }: { logger: Logger }): RefusedRoutes {
  let keys = new Set<string>();
  /** Those of the whole table that is arriving, in parts. */
  let coming: Set<string> | null = null;
  return {
    note(table, refused) {
      if (table.begins) coming = new Set();
      const into = coming ?? keys;
      for (const { key } of table.routes) into.delete(key);
      const unused = new Set(refused.map(({ key }) => key));
      for (const key of table.removed) if (!unused.has(key)) into.delete(key);
      for (const { key, problems } of refused) {
        if (!keys.has(key) && !into.has(key))
          logger.error({ route: key, problems }, "a route has an unexpected form and is not used");
        into.add(key);
      }
      if (table.more) return;
      keys = into;
      coming = null;
    },
    count: () => keys.size,
  };
}
