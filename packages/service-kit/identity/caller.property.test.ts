import fc from "fast-check";
import { expect, test } from "vitest";
import {
  anonymous,
  callerData,
  callerKey,
  createCaller,
  createServiceCaller,
  createUserCaller,
  type Caller,
  type CallerData,
  type CallerFields,
} from "./caller.ts";
import { PERMISSIONS, ROLES, SCOPES, SERVICE_PERMISSIONS, isOfTools, type UserPermission } from "./permissions.ts";

// The table's own keys.
const permission = fc.constantFrom(...(Object.keys(PERMISSIONS) as UserPermission[]));
const role = fc.constantFrom(...ROLES);
const scopes = fc.subarray([...SCOPES]);

test("taking scopes away never gives a right, and a stronger role never takes one", () => {
  fc.assert(
    fc.property(permission, role, scopes, scopes, fc.boolean(), (wanted, as, some, others, owns) => {
      const on = { ownerId: owns ? "me" : "somebody", toolId: "t" };
      const few = createUserCaller("me", as, some);
      const many = createUserCaller("me", as, [...some, ...others]);
      expect(!few.can(wanted, on) || many.can(wanted, on)).toBe(true);
      const viewer = createUserCaller("me", "VIEWER", some);
      const developer = createUserCaller("me", "DEVELOPER", some);
      const administrator = createUserCaller("me", "ADMIN", some);
      expect(!viewer.can(wanted, on) || developer.can(wanted, on)).toBe(true);
      expect(!developer.can(wanted, on) || administrator.can(wanted, on)).toBe(true);
    }),
    { numRuns: 300 },
  );
});

test("a viewer with every scope changes, starts and calls nothing", () => {
  const viewer = createUserCaller("me", "VIEWER");
  for (const wanted of [
    "tool:write",
    "document:write",
    "deployment:write",
    "analysis:write",
    "process:launch",
    "tool:invoke",
    "user:admin",
  ] as const) {
    expect(viewer.can(wanted, { ownerId: "me", toolId: "t" })).toBe(false);
    expect(() => viewer.require(wanted, { ownerId: "me", toolId: "t" })).toThrow(/You may not/);
  }
});

test("a developer changes their own and not another's, nor what nobody owns", () => {
  const developer = createUserCaller("me", "DEVELOPER");
  expect(developer.can("tool:write", { ownerId: "me", toolId: "t" })).toBe(true);
  expect(developer.can("tool:write", { ownerId: "you", toolId: "t" })).toBe(false);
  expect(developer.can("tool:write", { ownerId: null, toolId: "t" })).toBe(false);
});

test("no user ever has a service's permission, and a service only those it was given", () => {
  for (const wanted of SERVICE_PERMISSIONS) {
    for (const as of ROLES) expect(createUserCaller("me", as).can(wanted)).toBe(false);
    expect(createServiceCaller("x", []).can(wanted)).toBe(false);
    expect(createServiceCaller("x", [wanted]).can(wanted)).toBe(true);
  }
  expect(createServiceCaller("x", [...SERVICE_PERMISSIONS]).can("tool:write", { ownerId: null, toolId: "t" })).toBe(
    false,
  );
});

test("anonymous is told to log in, and may nothing", () => {
  fc.assert(
    fc.property(permission, (wanted) => {
      expect(anonymous.can(wanted)).toBe(false);
      expect(() => anonymous.require(wanted)).toThrow(expect.objectContaining({ code: "UNAUTHENTICATED" }));
    }),
  );
});

const text = fc.string({ maxLength: 3 });
const time = fc.option(fc.nat(3));
const fields: { [Field in keyof CallerData]: fc.Arbitrary<CallerData[Field]> } = {
  kind: fc.constantFrom("anonymous", "user", "service"),
  subject: fc.option(text),
  role: fc.option(role),
  scopes,
  servicePermissions: fc.subarray([...SERVICE_PERMISSIONS]),
  credential: fc.option(
    fc.oneof(
      fc.record({ type: fc.constant("access-token"), tokenId: text, passwordAt: time, issuedAt: fc.nat(3) }),
      fc.record({ type: fc.constant("api-key"), apiKeyId: text }),
      fc.record({ type: fc.constant("service") }),
    ),
  ),
  toolIds: fc.option(fc.array(text, { maxLength: 2 })),
  expiresAt: time,
};

test("callers who differ in any field, or in any part of one, have different keys; others have the same", () => {
  const fieldNames = Object.keys(fields) as (keyof CallerData)[];
  fc.assert(
    fc.property(fc.record(fields), fc.record(fields), fc.constantFrom(...fieldNames), (one, other, field) => {
      const changed = { ...one, [field]: other[field] };
      const isSame = JSON.stringify(one[field]) === JSON.stringify(changed[field]);
      expect(callerKey(createCaller(one)) === callerKey(createCaller(changed))).toBe(isSame);
      expect(callerKey(createCaller(one))).toBe(callerKey(createCaller(structuredClone(one))));
      expect(callerData(createCaller(one))).toEqual(one);
    }),
    { numRuns: 2_000 },
  );
});

test("a field that is added to callers and forgotten in their data does not compile", () => {
  interface Told extends Caller {
    tenant?: string;
  }
  // @ts-expect-error: it lacks the tenant
  expect(callerData(anonymous) satisfies CallerFields<Told>).not.toHaveProperty("tenant");
});

test("a key that is limited to tools does with these what its owner does, and nothing else", () => {
  const toolId = fc.constantFrom("one", "two", "three", null);
  const limits = fc.subarray(["one", "two"]);
  fc.assert(
    fc.property(permission, role, scopes, toolId, limits, fc.boolean(), (wanted, as, some, of, toolIds, owns) => {
      const on = { ownerId: owns ? "me" : "somebody", toolId: of };
      const owner = createUserCaller("me", as, some);
      const key = createCaller({ ...owner, toolIds });
      expect(key.reaches(of)).toBe(of !== null && toolIds.includes(of));
      expect(key.can(wanted, on)).toBe(owner.can(wanted, on) && isOfTools(wanted) && key.reaches(of));
      expect(key.can(wanted)).toBe(owner.can(wanted) && isOfTools(wanted));
      expect(key.reachable(of === null ? null : [of])).toEqual(of === null ? toolIds : key.reaches(of) ? [of] : []);
      expect(owner.reachable(of === null ? null : [of])).toEqual(of === null ? null : [of]);
    }),
  );
});

test.each([
  "user:read-self",
  "credential:write",
  "user:admin",
  "tool:share",
  "metrics:read",
  "release:approve",
] as const)("no key that is limited to tools has %s", (wanted) => {
  const key = createCaller({ ...createUserCaller("me", "ADMIN"), toolIds: ["one"] });
  expect(key.can(wanted, { ownerId: "me", toolId: "one" })).toBe(false);
  expect(() => key.require(wanted)).toThrow(/with this API key: it is limited to certain tools/);
});
