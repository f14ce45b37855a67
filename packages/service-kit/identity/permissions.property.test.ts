import fc from "fast-check";
import { expect, test } from "vitest";
import {
  isGranted,
  isServicePermission,
  PERMISSIONS,
  PROXY_PERMISSIONS,
  ROLES,
  SCOPES,
  SERVICE_PERMISSIONS,
  type UserPermission,
} from "./permissions.ts";

// The table's own keys.
const ALL = Object.keys(PERMISSIONS) as UserPermission[];
const permission = fc.constantFrom(...ALL);
const role = fc.constantFrom(...ROLES);
const scopes = fc.subarray([...SCOPES]);
const owns = fc.option(fc.boolean(), { nil: undefined });

const may = (as: (typeof ROLES)[number], owned: boolean, scope: readonly (typeof SCOPES)[number][] = SCOPES) =>
  ALL.filter((one) => isGranted(one, as, scope, owned));

test("an administrator may everything; a developer what is their own; a viewer only reads, and has credentials of their own", () => {
  expect(may("ADMIN", false)).toEqual(ALL);
  const administrative = ["release:approve", "metrics:read", "audit:read", "user:admin"];
  expect(may("DEVELOPER", true)).toEqual(ALL.filter((one) => !administrative.includes(one)));
  const reading = ["tool:read", "document:read", "deployment:read", "usage:read", "task:read", "user:read-self"];
  expect(may("DEVELOPER", false)).toEqual([...reading, "process:launch", "tool:invoke", "credential:write"]);
  expect(may("VIEWER", true)).toEqual([...reading, "credential:write"]);
});

test("a key that may only call tools may nothing else", () => {
  for (const each of ROLES) expect(may(each, true, ["INVOKE"])).toEqual(each === "VIEWER" ? [] : ["tool:invoke"]);
});

test("more scopes, a higher role, or owning the thing never take a permission away", () => {
  fc.assert(
    fc.property(permission, role, scopes, scopes, owns, (one, as, few, more, owned) => {
      if (!isGranted(one, as, few, owned)) return;
      expect(isGranted(one, as, [...few, ...more], owned)).toBe(true);
      expect(isGranted(one, as, few, true)).toBe(true);
      for (const higher of ROLES.slice(0, ROLES.indexOf(as))) expect(isGranted(one, higher, few, owned)).toBe(true);
    }),
  );
});

test("without scopes nothing is permitted, and by no other scope than the permission's own or one that includes reading", () => {
  fc.assert(
    fc.property(permission, role, scopes, owns, (one, as, some, owned) => {
      const { scope } = PERMISSIONS[one];
      const enough = scope === "READ" ? ["READ", "WRITE", "ADMIN"] : [scope];
      if (!some.some((each) => enough.includes(each))) expect(isGranted(one, as, some, owned)).toBe(false);
    }),
  );
});

test("services' permissions are none of users', and a proxy opens no sealed launches", () => {
  for (const one of SERVICE_PERMISSIONS) expect(isServicePermission(one)).toBe(true);
  for (const one of [...ALL, "", "internal:", "toString"]) expect(isServicePermission(one)).toBe(false);
  expect(PROXY_PERMISSIONS).not.toContain("internal:sealed-launch");
});
