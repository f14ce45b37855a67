import DataLoader from "dataloader";
import type { ApiKey, IdentityReads, User } from "./identity-store.ts";

/** One set for each request: keys asked for in one tick are read together, and only once. */
export interface Loaders {
  userById: DataLoader<string, User | null>;
  apiKeysByOwner: DataLoader<string, ApiKey[]>;
}

export function createLoaders(store: IdentityReads): Loaders {
  return {
    userById: new DataLoader(async (ids) => {
      const found = new Map((await store.findUsers(ids)).map((user) => [user.id, user]));
      return ids.map((id) => found.get(id) ?? null);
    }),
    apiKeysByOwner: new DataLoader(async (ownerIds) => {
      const found = Map.groupBy(await store.findApiKeysOf(ownerIds), (key) => key.ownerId);
      return ownerIds.map((id) => found.get(id) ?? []);
    }),
  };
}
