import { createMemoryCache } from "@toolyard/cache";
import { createInProcessBus } from "@toolyard/events";
import {
  PERMISSIONS,
  ROLES,
  SCOPES,
  ToolyardError,
  anonymous,
  createCaller,
  createDeferredGraphClient,
  createLogger,
  createSealer,
  createServiceCaller,
  createTokenSigner,
  createTokenVerifier,
  isGranted,
  scopesInclude,
  type Caller,
  type Permission,
  type Role,
  type Scope,
  type UserPermission,
} from "@toolyard/service-kit";
import { openDatabase, readMigrations, type Database } from "@toolyard/storage";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createApiKeyService, type ApiKeyService } from "./api-key-service.ts";
import { entities, migrationsFolder } from "./database.ts";
import { effectiveScopes } from "./effective-scopes.ts";
import type { IdentityStore } from "./identity-store.ts";
import { createSqlIdentityStore } from "./identity-store.sql.ts";
import { createIntrospectionService, type IntrospectionService } from "./introspection-service.ts";
import { createLoginLimiter } from "./login-limiter.ts";
import type { PasswordHasher } from "./password-hash.ts";
import { createRevocationLog } from "./revocation-log.ts";
import { createRecentRefreshes } from "./recent-refreshes.ts";
import { createSessionService, type Session, type SessionService } from "./session-service.ts";

const RUNS = { numRuns: 100 };
const PASSWORD = "correct horse battery";
const verifierService = createServiceCaller("gateway", ["internal:introspect"]);
/** What happens while a password is being verified. */
let meanwhile = async (): Promise<void> => {};
/** Costs nothing: what is looked for here does not lie in the hash. */
const hasher: PasswordHasher = {
  hash: async (password) => `plain ${password}`,
  async verify(password, encoded) {
    await meanwhile();
    return encoded === `plain ${password}`;
  },
};

let database: Database;
let store: IdentityStore;
let sessions: SessionService;
let apiKeys: ApiKeyService;
let introspection: IntrospectionService;
let number = 0;
/** Of the clock, in ms. */
let offset = 0;

beforeAll(async () => {
  const secretKey = "a secret key for tests, of enough characters";
  const logger = createLogger({ level: "silent", name: "identity" });
  const now = () => Date.now() + offset;
  database = await openDatabase({ file: ":memory:", entities, migrations: readMigrations(migrationsFolder) });
  store = createSqlIdentityStore({ database });
  const revocations = createRevocationLog({ database, bus: createInProcessBus(), logger, now });
  apiKeys = createApiKeyService({ store, revocations, graph: createDeferredGraphClient(), logger, now });
  sessions = createSessionService({
    store,
    revocations,
    hasher,
    kept: { forget: () => Promise.resolve() },
    limiter: createLoginLimiter({ enabled: false }),
    recent: createRecentRefreshes({
      cache: createMemoryCache({ maxEntries: 1_000, now }),
      sealer: createSealer({ secretKey }),
    }),
    signer: createTokenSigner({ secretKey }),
    config: { registration: "open", registrationRole: "VIEWER" },
    logger,
    now,
  });
  const verifier = createTokenVerifier({ keys: { secretKeys: [secretKey] }, now });
  introspection = createIntrospectionService({ store, apiKeys, verifier, now });
});
afterAll(async () => {
  await apiKeys.close();
  await database.close();
});

const register = (username: string) =>
  sessions.register(anonymous, { username, email: "ada@example.com", password: PASSWORD }, null);
const codeOf = async (promise: Promise<unknown>): Promise<string | null> => {
  try {
    await promise;
    return null;
  } catch (error) {
    if (error instanceof ToolyardError) return error.code;
    throw error;
  }
};
const isActive = async (credential: string) => (await introspection.introspect(verifierService, credential)).active;

test.each([
  ["the password is changed", { passwordHash: "plain another" }, "UNAUTHENTICATED"],
  ["the user is disabled", { disabled: true }, "FORBIDDEN"],
  ["the one-time password logs in elsewhere", { passwordExpiresAt: 0 }, "UNAUTHENTICATED"],
])("a login with the right password gives no session when meanwhile %s", async (_, change, code) => {
  const username = `meanwhile${number++}`;
  const { id } = (await register(username)).user;
  meanwhile = () => store.transaction((tx) => tx.updateUser(id, change));
  expect(await codeOf(sessions.login({ username, password: PASSWORD }, null))).toBe(code);
  meanwhile = async () => {};
});

test("of usernames that differ in case only, one registers, in any order and at once", async () => {
  const name = fc.stringMatching(/^[aAbB_.-]{1,3}$/);
  await fc.assert(
    fc.asyncProperty(fc.array(name, { minLength: 1, maxLength: 8 }), async (names) => {
      const prefix = `run${number++}`;
      const codes = await Promise.all(names.map((each) => codeOf(register(prefix + each))));
      const distinct = new Set(names.map((each) => each.toLowerCase()));
      expect(codes.filter((code) => code === null)).toHaveLength(distinct.size);
      expect(codes.every((code) => code === null || code === "CONFLICT")).toBe(true);
      for (const each of names) expect(await store.findUserByName(prefix + each.toUpperCase())).not.toBeNull();
    }),
    RUNS,
  );
});

test("whatever refresh tokens of a session are sent, from wherever and whenever: each works once, again only at once from where it was used and while its successor is unused, and else ends it all", async () => {
  const step = fc.record({
    choice: fc.nat(),
    from: fc.constantFrom("192.0.2.1", "192.0.2.1", "192.0.2.1", "198.51.100.7", null),
    waitMs: fc.constantFrom(0, 0, 3_000, 9_999, 10_000, 60_000),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 10 }), async (steps) => {
      const first = await register(`family${number++}`);
      type Issued = Session & { used: { at: number; from: string | null; successor: Issued } | null };
      const issued: Issued[] = [{ ...first, used: null }];
      let alive = true;
      for (const { choice, from, waitMs } of steps) {
        offset += waitMs;
        // Mostly one of the latest, as clients do; now and then any.
        const token = issued[choice % 3 === 0 ? choice % issued.length : issued.length - 1 - (choice % 2)] ?? issued[0];
        if (!token) throw new Error("There is always the first.");
        const next = await sessions.refresh(token.refreshToken, from).catch((error: unknown) => {
          expect(error).toMatchObject({ code: "UNAUTHENTICATED" });
          return null;
        });
        const { used } = token;
        const isRepeated =
          used !== null &&
          from !== null &&
          used.from === from &&
          Date.now() + offset - used.at < 10_000 &&
          used.successor.used === null;
        // The clock goes on by itself: at the edge both are right.
        const isAtTheEdge = used !== null && Math.abs(Date.now() + offset - used.at - 10_000) < 1_000;
        if (!isAtTheEdge) expect(next !== null).toBe(alive && (used === null || isRepeated));
        if (!next) {
          alive = false;
          continue;
        }
        const successor: Issued = { ...next, used: null };
        issued.push(successor);
        token.used ??= { at: Date.now() + offset, from, successor };
      }
      for (const { accessToken } of issued) expect(await isActive(accessToken)).toBe(alive);
    }),
    RUNS,
  );
});

const scopeSet = fc.subarray([...SCOPES], { minLength: 1 });
const role = fc.constantFrom<Role>(...ROLES);

test("a key may do what its owner may and its scopes allow, and nothing else", () => {
  fc.assert(
    fc.property(role, scopeSet, (owner, scopes) => {
      const effective = effectiveScopes(owner, scopes);
      // The keys of the table are permissions.
      for (const permission of Object.keys(PERMISSIONS) as UserPermission[]) {
        const may = isGranted(permission, owner, effective);
        expect(may).toBe(isGranted(permission, owner, scopes));
        if (may) expect(isGranted(permission, owner, SCOPES)).toBe(true);
      }
      expect(effective.every((scope) => scopesInclude(scopes, scope))).toBe(true);
    }),
    RUNS,
  );
});

test("scopes never widen along a chain of keys that make keys, whatever the roles meanwhile", async () => {
  const userId = (await register(`chain${number++}`)).user.id;
  const step = fc.record({ scopes: scopeSet, role });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
      let caller: Caller = userCaller(userId, "ADMIN", SCOPES, null);
      for (const { scopes, role: next } of steps) {
        await store.transaction((tx) => tx.updateUser(userId, { role: next }));
        const created = await apiKeys
          .create({ caller, requestId: "r" }, { name: "chain", scopes })
          .catch((error: unknown) => {
            expect(error).toMatchObject({ code: "FORBIDDEN" });
            return null;
          });
        if (!created) continue;
        const seen = await introspection.introspect(verifierService, created.secret);
        const made = userCaller(userId, next, seen.scopes, created.apiKey.id);
        if (caller.credential !== null) {
          expect(created.apiKey.scopes.every((scope) => caller.scopes.includes(scope))).toBe(true);
        }
        // What the new key may do, its owner may do, by the role as of now.
        const owner = userCaller(userId, next, SCOPES, null);
        for (const permission of Object.keys(PERMISSIONS) as Permission[]) {
          if (made.can(permission)) expect(owner.can(permission)).toBe(true);
        }
        caller = made;
      }
    }),
    RUNS,
  );
});

function userCaller(subject: string, ownRole: Role, scopes: readonly Scope[], apiKeyId: string | null): Caller {
  return createCaller({
    kind: "user",
    subject,
    role: ownRole,
    scopes: [...scopes],
    servicePermissions: [],
    credential: apiKeyId === null ? null : { type: "api-key", apiKeyId },
    toolIds: null,
    expiresAt: null,
  });
}
