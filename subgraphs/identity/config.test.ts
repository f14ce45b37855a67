import { expect, test } from "vitest";
import { parseIdentityConfig } from "./config.ts";

test("has defaults for everything", () => {
  expect(parseIdentityConfig({})).toEqual({
    registration: "open",
    registrationRole: "VIEWER",
    adminUsername: "admin",
    adminPassword: null,
    rateLimitEnabled: true,
  });
});

test.each([
  [{ REGISTRATION: "yes" }, "REGISTRATION: must be open or closed"],
  [{ REGISTRATION_ROLE: "ADMIN" }, "REGISTRATION_ROLE: must be VIEWER or DEVELOPER"],
  [{ ADMIN_USERNAME: "a b" }, "ADMIN_USERNAME: must be 3 to 64"],
  [{ ADMIN_PASSWORD: "hunter2" }, "ADMIN_PASSWORD: must have at least 12 characters; it has 7"],
  [{ ADMIN_USERNAME: "administrator", ADMIN_PASSWORD: "Administrator" }, "ADMIN_PASSWORD: must not be the username"],
  [{ RATE_LIMIT_ENABLED: "1" }, "RATE_LIMIT_ENABLED: must be true or false"],
])("refuses %j and says why", (env, message) => {
  expect(() => parseIdentityConfig(env)).toThrow(message);
});

test("never repeats the password", () => {
  expect(() => parseIdentityConfig({ ADMIN_PASSWORD: "hunter2" })).not.toThrow("hunter2");
});
