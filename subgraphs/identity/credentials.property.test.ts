import { createInProcessBus } from "@toolyard/events";
import {
  PERMISSIONS,
  ROLES,
  SCOPES,
  ToolyardError,
  anonymous,
  createCaller,
  createLogger,
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
import { createSessionService, type SessionService } from "./session-service.ts";

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

beforeAll(async () => {
  const secretKey = "a secret key for tests, of enough characters";
  const logger = createLogger({ level: "silent", name: "identity" });
  const now = Date.now;
  database = await openDatabase({ file: ":memory:", entities, migrations: readMigrations(migrationsFolder) });
  store = createSqlIdentityStore({ database });
  const revocations = createRevocationLog({ database, bus: createInProcessBus(), logger, now });
  apiKeys = createApiKeyService({ store, revocations, logger, now });
  sessions = createSessionService({
    store,
    revocations,
    hasher,
    limiter: createLoginLimiter({ enabled: false }),
    signer: createTokenSigner({ secretKey }),
    config: { registration: "open", registrationRole: "VIEWER" },
    now,
  });
  const verifier = createTokenVerifier({ keys: { secretKeys: [secretKey] } });
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

test("whatever refresh tokens of a session are sent, in any order: only the latest works, and a used one ends it all", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(), { maxLength: 10 }), async (choices) => {
      const issued = [await register(`family${number++}`)];
      let alive = true;
      for (const choice of choices) {
        // Mostly the latest, as a client does; now and then any.
        const index = choice % 3 === 0 ? choice % issued.length : issued.length - 1;
        const token = issued[index]?.refreshToken ?? "";
        const next = await sessions.refresh(token).catch((error: unknown) => {
          expect(error).toMatchObject({ code: "UNAUTHENTICATED" });
          return null;
        });
        const isLatest = index === issued.length - 1;
        expect(next !== null).toBe(alive && isLatest);
        if (next) issued.push(next);
        if (!isLatest) alive = false;
      }
      for (const { accessToken } of issued) expect(await isActive(accessToken)).toBe(alive);
      expect(await codeOf(sessions.refresh(issued.at(-1)?.refreshToken ?? ""))).toBe(alive ? null : "UNAUTHENTICATED");
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
        const created = await apiKeys.create(caller, { name: "chain", scopes }).catch((error: unknown) => {
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
    expiresAt: null,
  });
}
