import { closeTo, MAX_CANDIDATES, mayBeName, notFound, type ToolyardError } from "@toolyard/service-kit";
import type { IdentityReads, User } from "./identity-store.ts";

/** The user with this id or else this username. Only administrators and the user may learn which account has a name. */
export async function findUser(store: IdentityReads, reference: string): Promise<User | null> {
  const user = await store.findUser(reference);
  return user ?? (mayBeName(reference) ? store.findUserByName(reference) : null);
}

/** For administrators. */
export function closeUsernames(store: IdentityReads, reference: string): Promise<string[]> {
  return closeTo(reference, () => store.newestUsernames(MAX_CANDIDATES));
}

/** For administrators. */
export async function noSuchUser(store: IdentityReads, reference: string): Promise<ToolyardError> {
  return notFound("user", reference, await closeUsernames(store, reference));
}
