import fc from "fast-check";
import { expect, test } from "vitest";
import {
  isGranted,
  isServicePermission,
  SHARE_ACCESS,
  PERMISSIONS,
  PROXY_PERMISSIONS,
  ROLES,
  SCOPES,
  SERVICE_PERMISSIONS,
  type Role,
  type Scope,
  type ShareAccess,
  type UserPermission,
} from "./permissions.ts";

// The table's own keys.
const ALL = Object.keys(PERMISSIONS) as UserPermission[];
const permission = fc.constantFrom(...ALL);
const role = fc.constantFrom(...ROLES);
const scopes = fc.subarray([...SCOPES]);
const shared = fc.constantFrom(null, ...SHARE_ACCESS);
const held = fc.option(fc.record({ owns: fc.boolean(), shared }), { nil: undefined });

const may = (as: Role, owns: boolean, scope: readonly Scope[] = SCOPES, by: ShareAccess | null = null) =>
  ALL.filter((one) => isGranted(one, as, scope, { owns, shared: by }));

test("an administrator may everything; a developer what is their own; a viewer only reads, and has credentials of their own", () => {
  expect(may("ADMIN", false)).toEqual(ALL);
  const administrative = ["release:approve", "metrics:read", "audit:read", "user:admin"];
  expect(may("DEVELOPER", true)).toEqual(ALL.filter((one) => !administrative.includes(one)));
  const reading = ["tool:read", "document:read", "deployment:read", "usage:read", "task:read", "user:read-self"];
  expect(may("DEVELOPER", false)).toEqual([...reading, "process:launch", "tool:invoke", "credential:write"]);
  expect(may("VIEWER", true)).toEqual([...reading, "credential:write"]);
});

test("a share gives what its access says, as far as the role goes, and an author's own rights to nobody", () => {
  const gives = (as: Role, by: ShareAccess) => {
    const without = may(as, false);
    return may(as, false, SCOPES, by).filter((one) => !without.includes(one));
  };
  for (const each of SHARE_ACCESS) expect(gives("ADMIN", each)).toEqual([]);
  expect(gives("DEVELOPER", "VIEW")).toEqual(["deployment:inspect"]);
  expect(gives("DEVELOPER", "USE")).toEqual(["deployment:inspect"]);
  const editing = ["tool:write", "document:write", "deployment:write", "analysis:write"];
  expect(gives("DEVELOPER", "EDIT")).toEqual(["deployment:inspect", ...editing]);
  expect(gives("VIEWER", "VIEW")).toEqual([]);
  expect(gives("VIEWER", "USE")).toEqual(["tool:invoke"]);
  expect(gives("VIEWER", "EDIT")).toEqual(["tool:invoke"]);
  expect(may("VIEWER", false, ["READ", "WRITE"], "EDIT")).not.toContain("tool:invoke");
});

test("more access never takes a permission away", () => {
  fc.assert(
    fc.property(permission, role, scopes, fc.boolean(), (one, as, some, owns) => {
      const granted = [null, ...SHARE_ACCESS].map((access) => isGranted(one, as, some, { owns, shared: access }));
      expect(granted).toEqual(granted.toSorted((one, other) => Number(one) - Number(other)));
      // What may be asked of something in general is what may be asked of something.
      expect(isGranted(one, as, some)).toBe(isGranted(one, as, some, { owns: true, shared: "EDIT" }));
    }),
  );
});

test("a key that may only call tools may nothing else", () => {
  for (const each of ROLES) expect(may(each, true, ["INVOKE"])).toEqual(each === "VIEWER" ? [] : ["tool:invoke"]);
});

test("more scopes, a higher role, or owning the thing never take a permission away", () => {
  fc.assert(
    fc.property(permission, role, scopes, scopes, held, (one, as, few, more, whose) => {
      if (!isGranted(one, as, few, whose)) return;
      expect(isGranted(one, as, [...few, ...more], whose)).toBe(true);
      if (whose) expect(isGranted(one, as, few, { ...whose, owns: true })).toBe(true);
      for (const higher of ROLES.slice(0, ROLES.indexOf(as))) expect(isGranted(one, higher, few, whose)).toBe(true);
    }),
  );
});

test("without scopes nothing is permitted, and by no other scope than the permission's own or one that includes reading", () => {
  fc.assert(
    fc.property(permission, role, scopes, held, (one, as, some, whose) => {
      const { scope } = PERMISSIONS[one];
      const enough = scope === "READ" ? ["READ", "WRITE", "ADMIN"] : [scope];
      if (!some.some((each) => enough.includes(each))) expect(isGranted(one, as, some, whose)).toBe(false);
    }),
  );
});

test("services' permissions are none of users', and a proxy opens no sealed launches", () => {
  for (const one of SERVICE_PERMISSIONS) expect(isServicePermission(one)).toBe(true);
  for (const one of [...ALL, "", "internal:", "toString"]) expect(isServicePermission(one)).toBe(false);
  expect(PROXY_PERMISSIONS).not.toContain("internal:sealed-launch");
});
