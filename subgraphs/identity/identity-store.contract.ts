import { newId, type Page } from "@toolyard/service-kit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ApiKey, IdentityStore, IdentityWrites, LoginSession, StreamTicket, User } from "./identity-store.ts";

const FIRST_PAGE: Page = { limit: 100, afterId: null, offset: 0 };

/** What every adapter of IdentityStore must show. @param open One empty store, as two processes have it open. */
export function identityStoreContract(
  name: string,
  open: () => Promise<{ stores: readonly [IdentityStore, IdentityStore]; close(): Promise<void> }>,
): void {
  describe(`IdentityStore on ${name}`, () => {
    let store: IdentityStore;
    let stores: readonly [IdentityStore, IdentityStore];
    let close: () => Promise<void>;
    beforeAll(async () => {
      ({ stores, close } = await open());
      [store] = stores;
    });
    afterAll(() => close());

    const user = (username: string, rest: Partial<User> = {}): User => ({
      id: newId(),
      username,
      email: `${username}@example.com`,
      role: "VIEWER",
      disabled: false,
      passwordHash: "$argon2id$",
      passwordExpiresAt: null,
      createdAt: 1_700_000_000_123,
      ...rest,
    });
    const session = (userId: string, rest: Partial<LoginSession> = {}): LoginSession => ({
      id: newId(),
      userId,
      passwordAt: 1_000,
      createdAt: 1_000,
      expiresAt: 9_000_000_000_000,
      revokedAt: null,
      ...rest,
    });
    const key = (ownerId: string): ApiKey => ({
      id: newId(),
      ownerId,
      name: "laptop",
      scopes: ["READ", "INVOKE"],
      toolIds: ["one", "other"],
      hash: "aa",
      createdAt: 1_000,
      lastUsedAt: null,
      expiresAt: null,
      revokedAt: null,
    });
    const ticket = (userId: string, rest: Partial<StreamTicket> = {}): StreamTicket => ({
      id: newId(),
      hash: "aa",
      userId,
      tokenId: null,
      tokenIssuedAt: null,
      apiKeyId: null,
      credentialExpiresAt: null,
      expiresAt: 9_000_000_000_000,
      ...rest,
    });
    const apiKeysOf = async (ownerId = "") => (await store.apiKeyPages([ownerId], FIRST_PAGE))[0] ?? [];
    /** One of the two, in turn. */
    const processOf = (index: number) => stores[index % 2 === 0 ? 0 : 1];
    const insert = async (given: User) => {
      expect(await store.transaction((tx) => tx.insertUser(given))).toBe(true);
      return given;
    };

    test("keeps users as they are and finds them by id, and by name in any case", async () => {
      const ada = await insert(user("Ada.Lovelace", { email: null, passwordExpiresAt: 5 }));
      expect(await store.findUser(ada.id)).toEqual(ada);
      expect(await store.findUserByName("aDA.lOVELACE")).toEqual(ada);
      expect(await store.findUsers([ada.id, "nobody"])).toEqual([ada]);
      expect(await store.findUser("nobody")).toBeNull();
      expect(await store.findUserByName("nobody")).toBeNull();
    });

    test("refuses a username that is taken in another case, also among writers at once", async () => {
      const answers = await Promise.all(
        ["Grace", "GRACE", "grace"].map((username, index) =>
          processOf(index).transaction((tx) => tx.insertUser(user(username))),
        ),
      );
      expect(answers.filter((inserted) => inserted)).toHaveLength(1);
      expect(await store.listUsers(FIRST_PAGE, "grace").totalCount()).toBe(1);
    });

    test("undoes everything of a transaction that throws", async () => {
      const gone = user("gone");
      const failed = store.transaction(async (tx) => {
        await tx.insertUser(gone);
        await tx.insertSession(session(gone.id));
        expect(await tx.findUser(gone.id)).toEqual(gone);
        throw new Error("on purpose");
      });
      await expect(failed).rejects.toThrow("on purpose");
      expect(await store.findUser(gone.id)).toBeNull();
    });

    test("lets one transaction of any process decide of what it has found: a token that is used, a session, a key, a ticket", async () => {
      const { id: userId } = await insert(user("deciding"));
      const given = session(userId);
      const token = { hash: newId(), sessionId: given.id, accessTokenId: newId(), issuedAt: 1, usedAt: null };
      const apiKey = key(userId);
      await store.transaction(async (tx) => {
        await tx.insertSession(given);
        await tx.insertRefreshToken(token);
        await tx.insertApiKey(apiKey);
      });
      const decide: ((tx: IdentityWrites, at: number) => Promise<boolean>)[] = [
        async (tx, at) => {
          if ((await tx.findRefreshToken(token.hash))?.usedAt !== null) return false;
          await tx.markRefreshTokenUsed(token.hash, at);
          return true;
        },
        async (tx, at) => {
          if ((await tx.findSessionOfAccessToken(token.accessTokenId))?.revokedAt !== null) return false;
          await tx.revokeSession(given.id, at);
          return true;
        },
        async (tx, at) => {
          if ((await tx.findApiKey(apiKey.id))?.revokedAt !== null) return false;
          await tx.revokeApiKey(apiKey.id, at);
          return true;
        },
      ];
      for (const each of decide) {
        const decided = await Promise.all(
          Array.from({ length: 6 }, (_, index) => processOf(index).transaction((tx) => each(tx, 1_000 + index))),
        );
        expect(decided.filter((isFirst) => isFirst)).toHaveLength(1);
      }
    });

    test("leaves an administrator where two of them end each other's rights at once, in any process", async () => {
      const pair = [await insert(user("last.1", { role: "ADMIN" })), await insert(user("last.2", { role: "ADMIN" }))];
      const others = await store.countOtherAdministrators("nobody");
      const demoted = await Promise.all(
        pair.map(({ id }, index) =>
          processOf(index).transaction(async (tx) => {
            if ((await tx.countOtherAdministrators(id)) < others - 1) return false;
            await tx.updateUser(id, { role: "VIEWER" });
            return true;
          }),
        ),
      );
      expect(demoted.filter((isDemoted) => isDemoted)).toHaveLength(1);
      expect(await store.countOtherAdministrators("nobody")).toBe(others - 1);
    });

    test("tells of those who make the first account at once one that there is none", async () => {
      const before = await store.countUsers();
      const made = await Promise.all(
        ["first.1", "first.2", "first.3"].map((username, index) =>
          processOf(index).transaction(async (tx) => {
            if ((await tx.countUsers()) > before) return false;
            return tx.insertUser(user(username));
          }),
        ),
      );
      expect(made.filter((isFirst) => isFirst)).toHaveLength(1);
    });

    test("runs transactions one after another, so that what one has read still holds when it writes", async () => {
      const counted = await insert(user("counted", { passwordExpiresAt: 0 }));
      const increment = (_: unknown, index: number) =>
        processOf(index).transaction(async (tx) => {
          const { passwordExpiresAt } = (await tx.findUser(counted.id)) ?? counted;
          await tx.updateUser(counted.id, { passwordExpiresAt: (passwordExpiresAt ?? 0) + 1 });
        });
      await Promise.all(Array.from({ length: 20 }, increment));
      expect((await store.findUser(counted.id))?.passwordExpiresAt).toBe(20);
    });

    test("counts administrators who are enabled, other than one", async () => {
      const before = await store.countOtherAdministrators("nobody");
      const first = await insert(user("admin.1", { role: "ADMIN" }));
      await insert(user("admin.2", { role: "ADMIN", disabled: true }));
      expect(await store.countOtherAdministrators("nobody")).toBe(before + 1);
      expect(await store.countOtherAdministrators(first.id)).toBe(before);
    });

    test("pages users newest first and takes the letters of a search as they are", async () => {
      const made = [];
      for (const username of ["page_a", "page_b", "page-c"]) made.push(await insert(user(username)));
      const [a, b, c] = made;
      expect(await store.listUsers(FIRST_PAGE, "Page").rows()).toEqual([c, b, a]);
      const second = store.listUsers({ ...FIRST_PAGE, afterId: c?.id ?? "" }, "page");
      expect(await second.rows()).toEqual([b, a]);
      expect(await second.totalCount()).toBe(3);
      expect(await store.listUsers({ ...FIRST_PAGE, limit: 1 }, "page").rows()).toEqual([c, b]);
      expect(await store.listUsers(FIRST_PAGE, "page_").rows()).toEqual([b, a]);
      for (const search of ["%", "!", "\\", "'", '"; DROP TABLE users; --']) {
        expect(await store.listUsers(FIRST_PAGE, search).rows()).toEqual([]);
      }
    });

    test("finds a session by its refresh tokens and access tokens, and ends it once", async () => {
      const { id: userId } = await insert(user("sessions"));
      const [first, second] = [session(userId), session(userId)];
      const token = {
        hash: `hash-${first.id}`,
        sessionId: first.id,
        accessTokenId: newId(),
        issuedAt: 5_000,
        usedAt: null,
      };
      await store.transaction(async (tx) => {
        await tx.insertSession(first);
        await tx.insertSession(second);
        await tx.insertRefreshToken(token);
        await tx.insertRefreshToken({ ...token, hash: `old-${first.id}`, accessTokenId: newId(), issuedAt: 1_000 });
        await tx.markRefreshTokenUsed(token.hash, 6_000);
        expect(await tx.accessTokensOf(first.id, 1_000)).toEqual([token.accessTokenId]);
        expect(await tx.lastIssueTo(userId, 0)).toBe(5_000);
        expect(await tx.lastIssueTo("nobody", 0)).toBe(0);
        await tx.revokeSession(first.id, 7_000);
        await tx.revokeSessionsOf(userId, 8_000);
      });
      expect(await store.findRefreshToken(token.hash)).toEqual({ ...token, usedAt: 6_000 });
      expect(await store.findSessionOfAccessToken(token.accessTokenId)).toEqual({ ...first, revokedAt: 7_000 });
      expect(await store.findSession(second.id)).toEqual({ ...second, revokedAt: 8_000 });
      expect(await store.findSessionOfAccessToken("nothing")).toBeNull();
    });

    test("ends all sessions and API keys of somebody who has a thousand, while others have their turns", async () => {
      const [one, other] = [await insert(user("many")), await insert(user("few"))];
      const own = Array.from({ length: 1_001 }, () => session(one.id));
      const keys = own.map(() => key(one.id));
      const kept = session(other.id);
      await store.transaction(async (tx) => {
        for (const each of [...own, kept]) await tx.insertSession(each);
        for (const each of keys) await tx.insertApiKey(each);
      });
      let turns = 0;
      const counting = setInterval(() => (turns += 1), 0);
      await store.transaction(async (tx) => {
        await tx.revokeSessionsOf(one.id, 8_000);
        await tx.revokeApiKeysOf(one.id, 8_000);
      });
      clearInterval(counting);
      expect(turns).toBeGreaterThan(1);
      for (const each of [own[0], own[500], own[1_000]]) {
        expect(await store.findSession(each?.id ?? "")).toMatchObject({ revokedAt: 8_000 });
      }
      expect((await apiKeysOf(one.id)).every(({ revokedAt }) => revokedAt === 8_000)).toBe(true);
      expect(await store.findSession(kept.id)).toEqual(kept);
    });

    test("keeps API keys, newest first for each of many owners", async () => {
      const owners = await Promise.all(["keys.1", "keys.2"].map((username) => insert(user(username))));
      const ids = owners.map(({ id }) => id);
      const [older, newer, other] = [key(ids[0] ?? ""), key(ids[0] ?? ""), key(ids[1] ?? "")];
      await store.transaction(async (tx) => {
        for (const each of [older, other, newer]) await tx.insertApiKey(each);
        await tx.setApiKeyUsed(older.id, 2_000);
        await tx.revokeApiKey(older.id, 3_000);
        await tx.revokeApiKey(older.id, 4_000);
      });
      const used = { ...older, lastUsedAt: 2_000, revokedAt: 3_000 };
      expect(await store.findApiKey(older.id)).toEqual(used);
      const page = { limit: 1, afterId: null, offset: 0 };
      expect(await store.apiKeyPages(ids, page)).toEqual([[newer, used], [other]]);
      expect(await store.apiKeyPages(ids, { ...page, afterId: newer.id })).toMatchObject([[used], []]);
      expect(await store.apiKeyPages([], page)).toEqual([]);
      expect(await store.apiKeyCounts([...ids, "nobody"])).toEqual([2, 1, 0]);
      expect(await store.findLiveApiKeys(ids[0] ?? "", null, 10)).toEqual([newer]);
      expect(await store.findLiveApiKeys(ids[0] ?? "", newer.name, 10)).toEqual([newer]);
      expect(await store.findLiveApiKeys(ids[0] ?? "", "another", 10)).toEqual([]);
      await store.transaction((tx) => tx.revokeApiKeysOf(ids[0] ?? "", 5_000));
      expect(await apiKeysOf(ids[0])).toEqual([{ ...newer, revokedAt: 5_000 }, used]);
      expect(await apiKeysOf(ids[1])).toEqual([other]);
    });

    test("gives a stream ticket to one of those who take it at once", async () => {
      const given = ticket("somebody", { tokenId: "jti", tokenIssuedAt: 5, credentialExpiresAt: 6 });
      await store.transaction((tx) => tx.insertStreamTicket(given));
      expect(await store.findStreamTicket(given.id)).toEqual(given);
      const taken = await Promise.all([1, 2, 3].map(() => store.transaction((tx) => tx.takeStreamTicket(given.id))));
      expect(taken.filter((mine) => mine)).toHaveLength(1);
    });

    test("removes the tickets of a user, a key or tokens, and no others", async () => {
      const tickets = {
        user: ticket("u1"),
        key: ticket("u2", { apiKeyId: "k1" }),
        token: ticket("u2", { tokenId: "t1" }),
        other: ticket("u2", { tokenId: "t2" }),
      };
      await store.transaction(async (tx) => {
        for (const each of Object.values(tickets)) await tx.insertStreamTicket(each);
        await tx.deleteStreamTicketsOf({ userId: "u1" });
        await tx.deleteStreamTicketsOf({ apiKeyId: "k1" });
        await tx.deleteStreamTicketsOf({ tokenIds: ["t1", "t3"] });
        await tx.deleteStreamTicketsOf({ tokenIds: [] });
      });
      const left = await Promise.all(Object.values(tickets).map(({ id }) => store.findStreamTicket(id)));
      expect(left).toEqual([null, null, null, tickets.other]);
    });

    test("removes what has ended, with all that hangs on it, and nothing else", async () => {
      const { id: userId } = await insert(user("expiring"));
      const [ended, alive] = [session(userId, { expiresAt: 999 }), session(userId, { expiresAt: 1_000 })];
      const [old, fresh] = [ticket(userId, { expiresAt: 999 }), ticket(userId, { expiresAt: 1_000 })];
      const tokenOf = (of: LoginSession) => ({
        hash: `expiring-${of.id}`,
        sessionId: of.id,
        accessTokenId: newId(),
        issuedAt: 1,
        usedAt: null,
      });
      await store.transaction(async (tx) => {
        for (const each of [ended, alive]) {
          await tx.insertSession(each);
          await tx.insertRefreshToken(tokenOf(each));
        }
        for (const each of [old, fresh]) await tx.insertStreamTicket(each);
      });
      await store.deleteExpired(1_000);
      expect(await store.findSession(ended.id)).toBeNull();
      expect(await store.findRefreshToken(`expiring-${ended.id}`)).toBeNull();
      expect(await store.findStreamTicket(old.id)).toBeNull();
      expect(await store.findSession(alive.id)).toEqual(alive);
      expect(await store.findRefreshToken(`expiring-${alive.id}`)).not.toBeNull();
      expect(await store.findStreamTicket(fresh.id)).toEqual(fresh);
    });
  });
}
