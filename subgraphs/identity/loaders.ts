import { createLoader, createPageLoader, type Loader, type PageLoader } from "@toolyard/service-kit";
import type { ApiKey, IdentityReads, User } from "./identity-store.ts";

/** One set for each request: keys asked for in one tick are read together, and only once. */
export interface Loaders {
  userById: Loader<string, User | null>;
  /** Of an owner. */
  apiKeys: PageLoader<object, ApiKey>;
}

export function createLoaders(store: IdentityReads): Loaders {
  return {
    userById: createLoader(async (ids) => {
      const found = new Map((await store.findUsers(ids)).map((user) => [user.id, user]));
      return ids.map((id) => found.get(id) ?? null);
    }),
    apiKeys: createPageLoader({
      pages: (ownerIds, _all, page) => store.apiKeyPages(ownerIds, page),
      counts: (ownerIds) => store.apiKeyCounts(ownerIds),
    }),
  };
}
