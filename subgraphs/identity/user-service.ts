import {
  ToolyardError,
  mayBeName,
  notFound,
  parsePage,
  toConnection,
  type Caller,
  type Connection,
  type Logger,
  type PageArguments,
  type Role,
} from "@toolyard/service-kit";
import { requireRecentPassword, requireCurrentAdministrator } from "./caller-account.ts";
import type { IdentityStore, IdentityWrites, User } from "./identity-store.ts";
import type { KeptPassword } from "./kept-password.ts";
import type { Loaders } from "./loaders.ts";
import type { PasswordHasher } from "./password-hash.ts";
import { generatePassword, replacePassword } from "./password-reset.ts";
import type { RevocationLog } from "./revocation-log.ts";
import { closeUsernames, findUser, noSuchUser } from "./user-reference.ts";

const ONE_TIME_PASSWORD_MS = 24 * 3_600_000;
const MAX_SEARCH_LENGTH = 254;

/** A user as the graph shows them. */
export interface ShownUser extends User {
  /** Set when the user has proved their identity within this operation, in which the caller is still the one before the login. */
  isCaller?: boolean;
}

export interface UserService {
  /** Null for a service. @throws ToolyardError UNAUTHENTICATED */
  me(caller: Caller, loaders: Loaders): Promise<User | null>;
  /** As the schema's `user`. @throws ToolyardError UNAUTHENTICATED, NOT_FOUND */
  get(caller: Caller, loaders: Loaders, reference: string): Promise<User | null>;
  /** Null when there is none. @throws ToolyardError UNAUTHENTICATED */
  byId(caller: Caller, loaders: Loaders, id: string): Promise<User | null>;
  /** @throws ToolyardError FORBIDDEN, BAD_USER_INPUT */
  list(caller: Caller, page: PageArguments, search: string | null): Promise<Connection<User>>;
  /** Null when the caller may not see it. */
  emailOf(caller: Caller, user: ShownUser): string | null;
  /** @throws ToolyardError FORBIDDEN, NOT_FOUND, CONFLICT for the last administrator. */
  setRole(caller: Caller, reference: string, role: Role): Promise<User>;
  /** @throws ToolyardError FORBIDDEN, NOT_FOUND, CONFLICT for the last administrator. */
  setDisabled(caller: Caller, reference: string, disabled: boolean): Promise<User>;
  /** The one-time password. @throws ToolyardError FORBIDDEN, NOT_FOUND */
  resetPassword(caller: Caller, reference: string): Promise<string>;
}

export function createUserService(options: {
  store: IdentityStore;
  revocations: RevocationLog;
  hasher: PasswordHasher;
  kept: Pick<KeptPassword, "forget">;
  logger: Pick<Logger, "info">;
  now: () => number;
}): UserService {
  const { store, revocations, hasher, kept, logger, now } = options;

  /** Changes a user as an administrator, in one transaction with the check that neither has changed. */
  function administer(
    caller: Caller,
    reference: string,
    change: (tx: IdentityWrites, user: User) => Promise<Partial<User>>,
  ): Promise<User> {
    return store.transaction(async (tx) => {
      await requireCurrentAdministrator(tx, caller);
      const user = await findUser(tx, reference);
      if (!user) throw await noSuchUser(tx, reference);
      return { ...user, ...(await change(tx, user)) };
    });
  }

  /** Said in the log once it is done. */
  function note(tx: IdentityWrites, { id, username }: User, by: Caller, what: string, more: object = {}): void {
    tx.transaction.afterCommit(() => logger.info({ user_id: id, username, by: by.userId, ...more }, what));
  }

  async function keepAnAdministrator(tx: IdentityWrites, user: User): Promise<void> {
    if (user.role !== "ADMIN" || user.disabled || (await tx.countOtherAdministrators(user.id)) > 0) return;
    throw new ToolyardError(
      "CONFLICT",
      `${user.username} is the last administrator: make somebody else an administrator first.`,
    );
  }

  return {
    async me(caller, loaders) {
      caller.require("user:read-self");
      return caller.userId === null ? null : loaders.userById.load(caller.userId);
    },
    async get(caller, loaders, reference) {
      caller.require("user:read-self");
      const byId = await loaders.userById.load(reference);
      if (byId || !mayBeName(reference)) return byId;
      const named = await store.findUserByName(reference);
      if (!caller.can("user:admin")) return named?.id === caller.userId ? named : null;
      if (named) return named;
      const close = await closeUsernames(store, reference);
      if (close.length > 0) throw notFound("user", reference, close);
      return null;
    },
    async byId(caller, loaders, id) {
      caller.require("user:read-self");
      return loaders.userById.load(id);
    },
    async list(caller, pageArguments, search) {
      caller.require("user:admin", undefined, "list users");
      const page = parsePage(pageArguments);
      return toConnection(
        store.listUsers(page, search?.slice(0, MAX_SEARCH_LENGTH).trim() || null),
        page,
        (user) => user.id,
      );
    },
    emailOf: (caller, user) =>
      user.isCaller || caller.userId === user.id || caller.can("user:admin") ? user.email : null,
    async setRole(caller, reference, role) {
      caller.require("user:admin", undefined, "change users' roles");
      if (role === "ADMIN") requireRecentPassword(caller, "make somebody an administrator", now());
      return administer(caller, reference, async (tx, user) => {
        if (user.role === role) return {};
        await keepAnAdministrator(tx, user);
        await tx.updateUser(user.id, { role });
        await revocations.revokeUser(tx, user.id, now());
        note(tx, user, caller, "a user's role was changed", { from: user.role, to: role });
        return { role };
      });
    },
    async setDisabled(caller, reference, disabled) {
      caller.require("user:admin", undefined, "disable or enable users");
      return administer(caller, reference, async (tx, user) => {
        if (user.disabled === disabled) return {};
        if (disabled) await keepAnAdministrator(tx, user);
        await tx.updateUser(user.id, { disabled });
        if (disabled) await revocations.revokeUser(tx, user.id, now());
        note(tx, user, caller, disabled ? "a user was disabled" : "a user was enabled");
        return { disabled };
      });
    },
    async resetPassword(caller, reference) {
      caller.require("user:admin", undefined, "reset passwords");
      const password = generatePassword();
      const passwordHash = await hasher.hash(password);
      let hashBefore = "";
      await administer(caller, reference, async (tx, user) => {
        if (user.role === "ADMIN") requireRecentPassword(caller, "reset an administrator's password", now());
        hashBefore = user.passwordHash;
        const change = { passwordHash, passwordExpiresAt: now() + ONE_TIME_PASSWORD_MS };
        await replacePassword({ tx, revocations, now }, user.id, change);
        note(tx, user, caller, "a user's password was reset");
        return change;
      });
      await kept.forget(hashBefore);
      return password;
    },
  };
}
