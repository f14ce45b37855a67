import type { Page, Role, Rows, Scope } from "@toolyard/service-kit";
import type { LongWork, Transaction } from "@toolyard/storage";

export interface User {
  id: string;
  username: string;
  email: string | null;
  role: Role;
  disabled: boolean;
  /** PHC string. */
  passwordHash: string;
  /** Epoch ms until which a one-time password logs in; null for a password of the user's own. */
  passwordExpiresAt: number | null;
  createdAt: number;
}

/** A login's session: the family of its refresh and access tokens. */
export interface LoginSession {
  id: string;
  userId: string;
  /** Epoch ms when the password was entered. */
  passwordAt: number;
  createdAt: number;
  expiresAt: number;
  revokedAt: number | null;
}

/** A refresh token by its hash, and the access token that was issued with it. */
export interface RefreshToken {
  /** SHA-256 of the token, hex. */
  hash: string;
  sessionId: string;
  accessTokenId: string;
  issuedAt: number;
  /** When it was exchanged for the next; null: it is the session's latest. */
  usedAt: number | null;
}

export interface ApiKey {
  id: string;
  ownerId: string;
  name: string;
  scopes: Scope[];
  /** The tools that it is limited to, by id; null: it is not. */
  toolIds: string[] | null;
  /** SHA-256 of the whole key, hex. */
  hash: string;
  createdAt: number;
  lastUsedAt: number | null;
  expiresAt: number | null;
  revokedAt: number | null;
}

export interface StreamTicket {
  id: string;
  /** SHA-256 of the whole ticket, hex. */
  hash: string;
  userId: string;
  /** The access token it was asked for with, or null. */
  tokenId: string | null;
  tokenIssuedAt: number | null;
  /** The API key it was asked for with, or null. */
  apiKeyId: string | null;
  /** When that credential ends; null: never. */
  credentialExpiresAt: number | null;
  expiresAt: number;
}

/** Reads of committed data, or within a transaction. Times are epoch ms. */
export interface IdentityReads {
  findUser(id: string): Promise<User | null>;
  /** In any order, without those there are not. */
  findUsers(ids: readonly string[]): Promise<User[]>;
  /** Without regard to case. */
  findUserByName(username: string): Promise<User | null>;
  /** Newest first, one more than the page's limit. `search` is in the username or the email, without regard to case. */
  listUsers(page: Page, search: string | null): Rows<User>;
  newestUsernames(limit: number): Promise<string[]>;
  countUsers(): Promise<number>;
  /** Of the administrators who are not disabled, the one who was made first. */
  findFirstAdministrator(): Promise<User | null>;
  /** Administrators who are not disabled, other than the given user. */
  countOtherAdministrators(userId: string): Promise<number>;
  findRefreshToken(hash: string): Promise<RefreshToken | null>;
  findSession(id: string): Promise<LoginSession | null>;
  /** The session that the access token was issued in. */
  findSessionOfAccessToken(accessTokenId: string): Promise<LoginSession | null>;
  /** Sessions that have not ended. */
  countSessions(at: number): Promise<number>;
  findApiKey(id: string): Promise<ApiKey | null>;
  /** A page of each owner, newest first, one more than its limit where there are more. */
  apiKeyPages(ownerIds: readonly string[], page: Page): Promise<ApiKey[][]>;
  /** How many each owner has, revoked ones too. */
  apiKeyCounts(ownerIds: readonly string[]): Promise<number[]>;
  /** The newest that are not revoked, with this name where one is given. */
  findLiveApiKeys(ownerId: string, name: string | null, limit: number): Promise<ApiKey[]>;
  findStreamTicket(id: string): Promise<StreamTicket | null>;
}

/** Reads and writes in one transaction: all of it or nothing, and no other writer in between. */
export interface IdentityWrites extends IdentityReads {
  /** For appending events. */
  readonly transaction: Transaction;
  /** False when the username is taken without regard to case; then nothing is written. */
  insertUser(user: User): Promise<boolean>;
  updateUser(
    id: string,
    change: Partial<Pick<User, "role" | "disabled" | "passwordHash" | "passwordExpiresAt">>,
  ): Promise<void>;
  insertSession(session: LoginSession): Promise<void>;
  insertRefreshToken(token: RefreshToken): Promise<void>;
  markRefreshTokenUsed(hash: string, at: number): Promise<void>;
  revokeSession(id: string, at: number): Promise<void>;
  revokeSessionsOf(userId: string, at: number): Promise<void>;
  /** When the user was last issued an access token, of those issued after `issuedAfter`; 0 when none was. */
  lastIssueTo(userId: string, issuedAfter: number): Promise<number>;
  /** Ids of the access tokens of a session that were issued after `issuedAfter`. */
  accessTokensOf(sessionId: string, issuedAfter: number): Promise<string[]>;
  insertApiKey(key: ApiKey): Promise<void>;
  revokeApiKey(id: string, at: number): Promise<void>;
  revokeApiKeysOf(ownerId: string, at: number): Promise<void>;
  setApiKeyUsed(id: string, at: number): Promise<void>;
  insertStreamTicket(ticket: StreamTicket): Promise<void>;
  /** True for the caller that removed it: a ticket is good once. */
  takeStreamTicket(id: string): Promise<boolean>;
  deleteStreamTicketsOf(
    owner: { userId: string } | { apiKeyId: string } | { tokenIds: readonly string[] },
  ): Promise<void>;
}

/** Identity's durable store. */
export interface IdentityStore extends IdentityReads {
  transaction<Result>(work: (tx: IdentityWrites) => Promise<Result>): Promise<Result>;
  /** Removes sessions with their refresh tokens, and tickets, that ended before `at`. Ends early when `signal` aborts. */
  deleteExpired(at: number, work?: LongWork): Promise<number>;
}
