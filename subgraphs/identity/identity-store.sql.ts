import { setImmediate as turn } from "node:timers/promises";
import { mapRows, type Page, type Rows } from "@toolyard/service-kit";
import {
  countByParent,
  deleteInChunks,
  dialectOf,
  inChunks,
  insertIfAbsent,
  readPage,
  readPagesByParent,
  type Database,
  type Dialect,
  type SqlTransaction,
} from "@toolyard/storage";
import {
  In,
  IsNull,
  LessThan,
  MoreThan,
  Not,
  type EntityManager,
  type Repository,
  type SelectQueryBuilder,
} from "typeorm";
import { apiKeys, refreshTokens, sessions, streamTickets, users, type UserRow } from "./database.ts";
import type { IdentityReads, IdentityStore, IdentityWrites, User } from "./identity-store.ts";

/** Ids in one statement: below SQLite's limit of variables. */
const MAX_IDS = 500;

/** Users whom one statement looks into, so that it holds the event loop for some milliseconds only. */
const MAX_SEARCHED = 5_000;

/** Ids are hexadecimal. */
const AFTER_ALL_IDS = "g";

const PART = { select: { id: true }, order: { id: "ASC" }, take: MAX_IDS } as const;

/** Changes all that `find` has after an id, in parts, with turns of the event loop between them: the transaction stays one. */
async function inParts(
  find: (after: string) => Promise<{ id: string }[]>,
  change: (ids: string[]) => Promise<unknown>,
): Promise<void> {
  for (let after = ""; ;) {
    const ids = (await find(after)).map(({ id }) => id);
    const last = ids.at(-1);
    if (last === undefined) return;
    await change(ids);
    if (ids.length < MAX_IDS) return;
    after = last;
    await turn();
  }
}

/** Identity's store on a relational database. */
export function createSqlIdentityStore(options: { database: Database }): IdentityStore {
  const { database } = options;
  return {
    ...createReads(database.read),
    transaction: (work) => database.transaction((transaction) => work(createWrites(transaction))),
    async deleteExpired(at, work) {
      const ended = { expiresAt: LessThan(at) };
      // Their tokens first: if this ends early, the rest is found again by its session.
      const tokens = await inChunks(database, (tx, limit) => deleteTokensOfEnded(tx, at, limit), work);
      const others = await deleteInChunks(database, sessions, ended, work);
      return tokens + others + (await deleteInChunks(database, streamTickets, ended, work));
    },
  };
}

/** In a transaction, a row that is found by itself is held until the end: what is decided of it stays true. */
function createReads(manager: EntityManager, held: Dialect["forUpdate"] = {}): IdentityReads {
  const userRows = manager.getRepository(users);
  const findSession = (id: string) => manager.getRepository(sessions).findOne({ where: { id }, ...held });
  return {
    async findUser(id) {
      const row = await userRows.findOne({ where: { id }, ...held });
      return row && toUser(row);
    },
    async findUsers(ids) {
      return (await findByMany(ids, (chunk) => userRows.findBy({ id: In(chunk) }))).map(toUser);
    },
    async findUserByName(username) {
      const row = await userRows.findOne({ where: { usernameKey: keyOf(username) }, ...held });
      return row && toUser(row);
    },
    listUsers(page, search) {
      const rows =
        search === null ? readPage(userRows.createQueryBuilder("user"), page) : searchUsers(userRows, search, page);
      return mapRows(rows, toUser);
    },
    async newestUsernames(limit) {
      const rows = await userRows.find({ select: { id: true, username: true }, order: { id: "DESC" }, take: limit });
      return rows.map(({ username }) => username);
    },
    countUsers: () => userRows.count(),
    async findFirstAdministrator() {
      const row = await userRows.findOne({
        where: { role: "ADMIN", disabled: false },
        order: { createdAt: "ASC", id: "ASC" },
      });
      return row && toUser(row);
    },
    async countOtherAdministrators(userId) {
      const where = { role: "ADMIN", disabled: false, id: Not(userId) } as const;
      return (await userRows.find({ select: { id: true }, where, ...held })).length;
    },
    findRefreshToken: (hash) => manager.getRepository(refreshTokens).findOne({ where: { hash }, ...held }),
    findSession,
    async findSessionOfAccessToken(accessTokenId) {
      const token = await manager.getRepository(refreshTokens).findOneBy({ accessTokenId });
      return token && findSession(token.sessionId);
    },
    countSessions: (at) => manager.getRepository(sessions).countBy({ revokedAt: IsNull(), expiresAt: MoreThan(at) }),
    findApiKey: (id) => manager.getRepository(apiKeys).findOne({ where: { id }, ...held }),
    apiKeyPages: (ownerIds, page) =>
      readPagesByParent(manager.getRepository(apiKeys), ownerIds, page, { parentColumn: "ownerId" }),
    apiKeyCounts: (ownerIds) => countByParent(manager.getRepository(apiKeys), ownerIds, { parentColumn: "ownerId" }),
    findLiveApiKeys: (ownerId, name, limit) =>
      manager.getRepository(apiKeys).find({
        where: { ownerId, revokedAt: IsNull(), ...(name !== null && { name }) },
        order: { id: "DESC" },
        take: limit,
      }),
    findStreamTicket: (id) => manager.getRepository(streamTickets).findOneBy({ id }),
  };
}

/** Looks into all users, the newest first, a span of them with each statement: what is in the middle of a name no index finds. */
function searchUsers(users: Repository<UserRow>, search: string, page: Page): Rows<UserRow> {
  const pattern = `%${search.toLowerCase().replaceAll(/[!%_]/g, "!$&")}%`;

  /** The users who match, in spans. */
  async function* matches(before: string | null): AsyncGenerator<SelectQueryBuilder<UserRow>> {
    for (let newest = before ?? AFTER_ALL_IDS; ;) {
      const [oldest] = await users.find({
        select: { id: true },
        where: { id: LessThan(newest) },
        order: { id: "DESC" },
        skip: MAX_SEARCHED - 1,
        take: 1,
      });
      yield users
        .createQueryBuilder("user")
        .where("user.id < :newest AND user.id >= :oldest", { newest, oldest: oldest?.id ?? "" })
        .andWhere("(user.usernameKey LIKE :pattern ESCAPE '!' OR LOWER(user.email) LIKE :pattern ESCAPE '!')", {
          pattern,
        });
      if (!oldest) return;
      newest = oldest.id;
    }
  }

  return {
    async rows() {
      const found: UserRow[] = [];
      let skip = page.offset;
      for await (const query of matches(page.afterId)) {
        const here = skip === 0 ? 0 : await query.getCount();
        if (here < skip) {
          skip -= here;
          continue;
        }
        const left = page.limit + 1 - found.length;
        found.push(...(await query.orderBy("user.id", "DESC").limit(left).offset(skip).getMany()));
        skip = 0;
        if (found.length > page.limit) break;
      }
      return found;
    },
    async totalCount() {
      let count = 0;
      for await (const query of matches(null)) count += await query.getCount();
      return count;
    },
  };
}

function createWrites(transaction: SqlTransaction): IdentityWrites {
  const { manager } = transaction;
  const userRows = manager.getRepository(users);
  const sessionRows = manager.getRepository(sessions);
  const refreshTokenRows = manager.getRepository(refreshTokens);
  const apiKeyRows = manager.getRepository(apiKeys);
  const ticketRows = manager.getRepository(streamTickets);
  return {
    ...createReads(manager, dialectOf(manager).forUpdate),
    async countUsers() {
      await holdAccounts(manager);
      return userRows.count();
    },
    transaction,
    async insertUser(user) {
      await holdAccounts(manager);
      return insertIfAbsent(manager, users, { ...user, usernameKey: keyOf(user.username) });
    },
    async updateUser(id, change) {
      await userRows.update({ id }, change);
    },
    async insertSession(session) {
      await sessionRows.insert(session);
    },
    async insertRefreshToken(token) {
      await refreshTokenRows.insert(token);
    },
    async markRefreshTokenUsed(hash, at) {
      await refreshTokenRows.update({ hash }, { usedAt: at });
    },
    async revokeSession(id, at) {
      await sessionRows.update({ id, revokedAt: IsNull() }, { revokedAt: at });
    },
    async revokeSessionsOf(userId, at) {
      await inParts(
        (after) => sessionRows.find({ ...PART, where: { userId, revokedAt: IsNull(), id: MoreThan(after) } }),
        (ids) => sessionRows.update({ id: In(ids) }, { revokedAt: at }),
      );
    },
    async lastIssueTo(userId, issuedAfter) {
      const token = await refreshTokenRows
        .createQueryBuilder("token")
        .innerJoin("sessions", "session", "session.id = token.sessionId")
        .where("session.userId = :userId AND token.issuedAt > :issuedAfter", { userId, issuedAfter })
        .orderBy("token.issuedAt", "DESC")
        .limit(1)
        .getOne();
      return token?.issuedAt ?? 0;
    },
    async accessTokensOf(sessionId, issuedAfter) {
      const rows = await refreshTokenRows.findBy({ sessionId, issuedAt: MoreThan(issuedAfter) });
      return rows.map((row) => row.accessTokenId);
    },
    async insertApiKey(key) {
      await apiKeyRows.insert(key);
    },
    async revokeApiKey(id, at) {
      await apiKeyRows.update({ id, revokedAt: IsNull() }, { revokedAt: at });
    },
    async revokeApiKeysOf(ownerId, at) {
      await inParts(
        (after) => apiKeyRows.find({ ...PART, where: { ownerId, revokedAt: IsNull(), id: MoreThan(after) } }),
        (ids) => apiKeyRows.update({ id: In(ids) }, { revokedAt: at }),
      );
    },
    async setApiKeyUsed(id, at) {
      await apiKeyRows.update({ id }, { lastUsedAt: at });
    },
    async insertStreamTicket(ticket) {
      await ticketRows.insert(ticket);
    },
    async takeStreamTicket(id) {
      return ((await ticketRows.delete({ id })).affected ?? 0) > 0;
    },
    async deleteStreamTicketsOf(owner) {
      await ticketRows.delete("tokenIds" in owner ? { tokenId: In([...owner.tokenIds]) } : owner);
    },
  };
}

/** Whether there are users stays true. */
const holdAccounts = (manager: EntityManager) => dialectOf(manager).lock(manager, "accounts");

async function deleteTokensOfEnded({ manager }: SqlTransaction, at: number, limit: number): Promise<number> {
  const some = manager
    .createQueryBuilder(sessions, "session")
    .innerJoin(refreshTokens.options.name, "token", "token.sessionId = session.id")
    .select("token.hash", "hash")
    .where("session.expiresAt < :at", { at })
    .limit(limit);
  const hashes = (await some.getRawMany<{ hash: string }>()).map(({ hash }) => hash);
  if (hashes.length === 0) return 0;
  const { affected } = await manager.getRepository(refreshTokens).delete({ hash: In(hashes) });
  return affected ?? 0;
}

function keyOf(username: string): string {
  return username.toLowerCase();
}

function toUser({ usernameKey: _key, ...user }: UserRow): User {
  return user;
}

async function findByMany<Row>(ids: readonly string[], find: (chunk: string[]) => Promise<Row[]>): Promise<Row[]> {
  const found: Row[] = [];
  for (let start = 0; start < ids.length; start += MAX_IDS) {
    found.push(...(await find(ids.slice(start, start + MAX_IDS))));
  }
  return found;
}
