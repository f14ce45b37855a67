import { expect, onTestFinished, test, vi } from "vitest";
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

test("reads no more of a password than it may have, before anything else is done with it", async () => {
  const hash = await hasher.hash("of a proper length");
  // Combining marks in an order that normalizing must sort: quadratic, minutes for all of it.
  const hostile = "a" + "\u0315\u0300\u05ae\u0316".repeat(2_000_000);
  const normalize = vi.spyOn(String.prototype, "normalize");
  onTestFinished(() => normalize.mockRestore());
  expect(await hasher.verify(hostile, hash)).toBe(false);
  expect(await hasher.verify(hostile, null)).toBe(false);
  await expect(hasher.hash(hostile)).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
  expect(normalize).not.toHaveBeenCalled();
});

test("counts characters, not code units", async () => {
  const longest = "😀".repeat(256);
  expect(await hasher.verify(longest, await hasher.hash(longest))).toBe(true);
  await expect(hasher.hash(`${longest}😀`)).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
});

test("lets accounts that are being made wait for the logins of those there are", async () => {
  const small = createPasswordHasher({ maxRunning: 1, maxWaiting: 8 });
  const order: string[] = [];
  const made = Array.from({ length: 4 }, (_, n) => small.hash(`new ${n}`, "new-account").then(() => order.push("new")));
  const logins = Array.from({ length: 4 }, () => small.verify("x", null).then(() => order.push("login")));
  await Promise.all([...made, ...logins]);
  // The one that ran already when the logins came.
  expect(order).toEqual(["new", "login", "login", "login", "login", "new", "new", "new"]);
});

test("refuses accounts that are being made while logins are still taken", async () => {
  const made = Promise.allSettled(Array.from({ length: 100 }, (_, n) => hasher.hash(`new ${n}`, "new-account")));
  const logins = Array.from({ length: 20 }, () => hasher.verify("x", null));
  expect(await Promise.all(logins)).toEqual(logins.map(() => false));
  const refused = (await made).filter(({ status }) => status === "rejected");
  expect(refused.length).toBeGreaterThan(50);
});
