import { randomUUID } from "node:crypto";
import {
  ACCESS_TOKEN_SECONDS,
  ToolyardError,
  badInput,
  newId,
  type Caller,
  type Logger,
  type TokenSigner,
} from "@toolyard/service-kit";
import { createLogBudget } from "@toolyard/service-kit/process/log-budget.ts";
import { accountProblems, passwordProblem, usernameSchema } from "./account-rules.ts";
import { requireSession, requireCurrentAccount } from "./caller-account.ts";
import type { IdentityConfig } from "./config.ts";
import { scopesOfRole } from "./effective-scopes.ts";
import type { IdentityStore, IdentityWrites, LoginSession, User } from "./identity-store.ts";
import type { KeptPassword } from "./kept-password.ts";
import type { LoginLimiter } from "./login-limiter.ts";
import { hashOf, mintCredential, readCredential } from "./opaque-credential.ts";
import type { PasswordHasher } from "./password-hash.ts";
import type { RecentRefreshes } from "./recent-refreshes.ts";
import type { RevocationLog } from "./revocation-log.ts";
import type { ShownUser } from "./user-service.ts";

const SESSION_MS = 30 * 24 * 3_600_000;

/** The result of a login. */
export interface Session {
  accessToken: string;
  refreshToken: string;
  tokenType: "Bearer";
  /** Seconds. */
  expiresIn: number;
  user: ShownUser;
}

/** Logins and their sessions. `client` is the client's address, if known. */
export interface SessionService {
  /** @throws ToolyardError FORBIDDEN when registration is closed, BAD_USER_INPUT, RATE_LIMITED, CONFLICT when the username is taken. */
  register(
    caller: Caller,
    input: { username: string; email: string; password: string },
    client: string | null,
  ): Promise<Session>;
  /** @throws ToolyardError UNAUTHENTICATED, RATE_LIMITED, FORBIDDEN when disabled (revealed only to those who know the password). */
  login(credentials: { username: string; password: string }, client: string | null): Promise<Session>;
  /**
   * A token is good once; from the same client, for some seconds more. Used later or from elsewhere, it ends the session.
   * @throws ToolyardError UNAUTHENTICATED
   */
  refresh(refreshToken: string, client: string | null): Promise<Session>;
  /** @throws ToolyardError UNAUTHENTICATED, FORBIDDEN without a session or the scope WRITE. */
  logout(caller: Caller): Promise<void>;
  /** @throws ToolyardError BAD_USER_INPUT, FORBIDDEN for an API key, RATE_LIMITED */
  changePassword(caller: Caller, change: { current: string; new: string }, client: string | null): Promise<void>;
}

/** The tokens that a transaction decided to issue; signed once it is committed. */
interface Grant {
  user: User;
  passwordAt: number;
  accessTokenId: string;
  /** Taken within the transaction: a revocation of the user commits later, with a later time. */
  issuedAt: number;
  refreshToken: string;
}

export function createSessionService(options: {
  store: IdentityStore;
  revocations: RevocationLog;
  hasher: PasswordHasher;
  kept: Pick<KeptPassword, "forget">;
  limiter: LoginLimiter;
  recent: RecentRefreshes;
  signer: TokenSigner;
  config: Pick<IdentityConfig, "registration" | "registrationRole">;
  logger: Pick<Logger, "info" | "warn">;
  now: () => number;
}): SessionService {
  const { store, revocations, hasher, kept, limiter, recent, signer, config, logger, now } = options;
  const failures = createLogBudget({ logger, now });

  async function grant(tx: IdentityWrites, user: User, session: LoginSession): Promise<Grant> {
    const issuedAt = now();
    const accessTokenId = randomUUID();
    const { text, hash } = mintCredential("tyr", session.id);
    await tx.insertRefreshToken({ hash, sessionId: session.id, accessTokenId, issuedAt, usedAt: null });
    return { user, passwordAt: session.passwordAt, accessTokenId, issuedAt, refreshToken: text };
  }

  /** A new session, begun by entering the password. */
  async function begin(tx: IdentityWrites, user: User): Promise<Grant> {
    const at = now();
    const session: LoginSession = {
      id: newId(),
      userId: user.id,
      passwordAt: at,
      createdAt: at,
      expiresAt: at + SESSION_MS,
      revokedAt: null,
    };
    await tx.insertSession(session);
    return grant(tx, user, session);
  }

  async function sign({ user, passwordAt, accessTokenId, issuedAt, refreshToken }: Grant): Promise<Session> {
    const { token } = await signer.accessToken({
      userId: user.id,
      role: user.role,
      scopes: scopesOfRole(user.role),
      passwordAt,
      tokenId: accessTokenId,
      issuedAt,
    });
    return {
      accessToken: token,
      refreshToken,
      tokenType: "Bearer",
      expiresIn: ACCESS_TOKEN_SECONDS,
      user: { ...user, isCaller: true },
    };
  }

  /** For the log, and bounded, so that guessing does not fill the disk. A text that cannot be a username may be a password in the wrong field. */
  function noteFailure(username: string, client: string | null, reason: string): void {
    const tried = usernameSchema.safeParse(username).success ? username : null;
    failures.info({ username: tried, address: client, reason }, "a login failed");
  }

  /** Verifies a password within the limits on guessing. */
  async function verify(user: User | null, username: string, password: string, client: string | null) {
    const attempt = await limiter.attempt(username, client).catch((error: unknown) => {
      noteFailure(username, client, "too many attempts");
      throw error;
    });
    try {
      const right = await hasher.verify(password, user?.passwordHash ?? null);
      if (right) attempt.succeeded();
      else {
        attempt.failed();
        noteFailure(username, client, "wrong password, or nobody's name");
      }
      return right;
    } catch (error) {
      attempt.withdrawn();
      throw error;
    }
  }

  return {
    async register(caller, input, client) {
      if (config.registration === "closed" && !caller.can("user:admin")) {
        throw new ToolyardError("FORBIDDEN", "Registration is closed here: ask an administrator for an account.");
      }
      const problems = accountProblems(input, "input");
      if (problems.length > 0) throw badInput(problems);
      if (!caller.can("user:admin")) limiter.registration(client);
      const taken = new ToolyardError("CONFLICT", `The username ${JSON.stringify(input.username)} is taken.`);
      if (await store.findUserByName(input.username)) throw taken;
      const user: User = {
        id: newId(),
        username: input.username,
        email: input.email,
        role: config.registrationRole,
        disabled: false,
        passwordHash: await hasher.hash(input.password, caller.can("user:admin") ? "account" : "new-account"),
        passwordExpiresAt: null,
        createdAt: now(),
      };
      const granted = await store.transaction(async (tx) => ((await tx.insertUser(user)) ? begin(tx, user) : null));
      if (!granted) throw taken;
      const { id, username, role } = granted.user;
      logger.info({ user_id: id, username, role, address: client, by: caller.userId }, "a user registered");
      return sign(granted);
    },

    async login({ username, password }, client) {
      // A text that cannot be a username belongs to nobody, and need not be looked up, however long it is.
      const user = usernameSchema.safeParse(username).success ? await store.findUserByName(username) : null;
      const right = await verify(user, username, password, client);
      if (!right || !user) throw wrongCredentials();
      const granted = await store.transaction(async (tx) => {
        const current = await tx.findUser(user.id);
        // While the password was verified it may have been changed, or have logged in elsewhere where it is good once.
        if (!current || current.passwordHash !== user.passwordHash) return "wrong";
        if (current.passwordExpiresAt !== null && current.passwordExpiresAt <= now()) return "wrong";
        if (current.disabled) return "disabled";
        if (current.passwordExpiresAt !== null) await tx.updateUser(current.id, { passwordExpiresAt: 0 });
        return begin(tx, current);
      });
      if (typeof granted === "string")
        noteFailure(username, client, granted === "wrong" ? "expired password" : granted);
      if (granted === "wrong") throw wrongCredentials();
      if (granted === "disabled") {
        throw new ToolyardError("FORBIDDEN", "This account is disabled: ask an administrator.");
      }
      logger.info({ user_id: granted.user.id, username: granted.user.username, address: client }, "a user logged in");
      return sign(granted);
    },

    async refresh(refreshToken, client) {
      const unknown = new ToolyardError("UNAUTHENTICATED", "The refresh token is not known here: log in again.");
      // Before it is hashed: it may be of any length.
      if (readCredential(refreshToken)?.kind !== "tyr") throw unknown;
      const hash = hashOf(refreshToken);
      if (!(await store.findRefreshToken(hash))) throw unknown;
      const granted = await store.transaction(async (tx) => {
        const token = await tx.findRefreshToken(hash);
        const session = token && (await tx.findSession(token.sessionId));
        if (!session) return "unknown";
        const at = now();
        if (session.revokedAt !== null) return "ended";
        const successor = token.usedAt === null ? null : await recent.successorOf(hash, client);
        const isRepeated = successor !== null && (await tx.findRefreshToken(successor))?.usedAt === null;
        if (token.usedAt !== null && !isRepeated) {
          // One of two holders is a thief, and it is unknown which (RFC 9700, section 4.14.2).
          await revocations.revokeSession(tx, session.id, at);
          tx.transaction.afterCommit(() =>
            logger.warn(
              { user_id: session.userId, address: client },
              "a refresh token was used again: its session is ended, since one of its two holders may be a thief",
            ),
          );
          return "reused";
        }
        if (session.expiresAt <= at) return "expired";
        const user = await tx.findUser(session.userId);
        if (!user || user.disabled) return "disabled";
        const granted = await grant(tx, user, session);
        if (token.usedAt === null) {
          await tx.markRefreshTokenUsed(hash, at);
          await recent.note(hash, hashOf(granted.refreshToken), client);
        }
        return granted;
      });
      if (typeof granted !== "string") return sign(granted);
      if (granted === "unknown") throw unknown;
      throw new ToolyardError("UNAUTHENTICATED", REFUSED_REFRESH[granted]);
    },

    async logout(caller) {
      if (caller.kind === "anonymous") {
        throw new ToolyardError("UNAUTHENTICATED", "There is nothing to log out of: send the session's access token.");
      }
      const { credential } = caller;
      if (credential?.type !== "access-token") {
        throw new ToolyardError("FORBIDDEN", "Only a session can log out; revoke an API key by revokeApiKey.");
      }
      // A stream ticket is its session's, too, but for reading only.
      caller.require("credential:write", undefined, "log out");
      await store.transaction(async (tx) => {
        const session = await tx.findSessionOfAccessToken(credential.tokenId);
        if (session?.revokedAt === null) await revocations.revokeSession(tx, session.id, now());
      });
      logger.info({ user_id: caller.userId }, "a user logged out");
    },

    async changePassword(caller, change, client) {
      caller.require("credential:write", undefined, "change your password");
      requireSession(caller, "change the password");
      const user = await requireCurrentAccount(store, caller);
      const problem = passwordProblem(change.new, user);
      if (problem !== null) throw badInput([{ path: "new", message: problem }]);
      if (!(await verify(user, user.username, change.current, client))) {
        throw badInput([{ path: "current", message: "is not your password" }]);
      }
      if (change.new.normalize("NFKC") === change.current.normalize("NFKC")) {
        throw badInput([{ path: "new", message: "must not be the current password" }]);
      }
      const passwordHash = await hasher.hash(change.new);
      await store.transaction(async (tx) => {
        const current = await requireCurrentAccount(tx, caller);
        if (current.passwordHash !== user.passwordHash) {
          throw new ToolyardError("CONFLICT", "The password was changed meanwhile: log in with the new one.");
        }
        await tx.updateUser(user.id, { passwordHash, passwordExpiresAt: null });
        await revocations.revokeUser(tx, user.id, now());
      });
      await kept.forget(user.passwordHash);
      logger.info({ user_id: user.id, username: user.username, address: client }, "a password was changed");
    },
  };
}

const REFUSED_REFRESH = {
  ended: "This session has ended: log in again.",
  reused: "This refresh token was used before, so its session has been ended: log in again.",
  expired: "This session is older than 30 days: log in again.",
  disabled: "This account is disabled: ask an administrator.",
};

function wrongCredentials(): ToolyardError {
  return new ToolyardError("UNAUTHENTICATED", "The username or the password is wrong.");
}
