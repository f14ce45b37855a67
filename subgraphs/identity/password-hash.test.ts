import { expect, test } from "vitest";
import { createPasswordHasher } from "./password-hash.ts";

const hasher = createPasswordHasher();

test("verifies what the reference implementation of argon2id makes", async () => {
  // test.c of phc-winner-argon2: version 0x13, t=2, m=2^16, p=1, "password", "somesalt".
  const encoded = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
  expect(await hasher.verify("password", encoded)).toBe(true);
  expect(await hasher.verify("differentpassword", encoded)).toBe(false);
});

test("makes a hash of its own salt each time, by OWASP's parameters", async () => {
  const [first, second] = await Promise.all([hasher.hash("the same"), hasher.hash("the same")]);
  expect(first).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
  expect(first).not.toBe(second);
  expect(await hasher.verify("the same", second ?? "")).toBe(true);
});

test("takes the same characters, however they were typed, for the same password", async () => {
  const composed = "caf\u00e9 au lait, s'il vous pla\u00eet";
  expect(await hasher.verify(composed.normalize("NFD"), await hasher.hash(composed))).toBe(true);
});

test("verifies nothing for nobody", async () => {
  expect(await hasher.verify("", null)).toBe(false);
});

test("refuses a stored hash that is not one, or that asks for gigabytes", async () => {
  await expect(hasher.verify("x", "plain")).rejects.toThrow("not argon2id");
  const greedy = "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
  await expect(hasher.verify("x", greedy)).rejects.toThrow("more memory");
});

test("lets a bounded number wait, in order, and serves on when they are through", async () => {
  const small = createPasswordHasher({ maxRunning: 1, maxWaiting: 2 });
  const attempts = await Promise.allSettled([1, 2, 3, 4].map((n) => small.hash(`password ${n}`)));
  expect(attempts.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled", "rejected"]);
  expect(attempts[3]).toMatchObject({ reason: { code: "RATE_LIMITED", extensions: { retryAfterSeconds: 1 } } });
  await small.hash("password 5");
});
