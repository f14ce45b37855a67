import { randomUUID } from "node:crypto";
import { ToolyardError, createLogger } from "@toolyard/service-kit";
import { createSealer } from "@toolyard/service-kit/identity/sealing.ts";
import { afterEach, expect, test, vi } from "vitest";
import { createIdempotency, isKept, type KeptAnswer } from "./idempotency.ts";
import { createMemoryIdempotencyStore } from "./idempotency-store.memory.ts";
import type { IdempotencyStore } from "./idempotency-store.ts";

const HOUR_MS = 3_600_000;
const TIMEOUT_MS = 1_000;
const logger = createLogger({ level: "silent", name: "test" });
const secretKey = "k".repeat(64);
const created: KeptAnswer = { status: 201, headers: { location: "/things/1" }, body: '{"secret":"s3cret"}' };
let time = 1_800_000_000_000;
const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

function open(
  store: IdempotencyStore = createMemoryIdempotencyStore(),
  keys: Parameters<typeof createSealer>[0] = { secretKey },
) {
  const idempotency = createIdempotency({
    store: { ...store, close: async () => undefined },
    sealer: createSealer(keys),
    timeoutMs: TIMEOUT_MS,
    room: { entries: 3, characters: 1_000_000 },
    now: () => time,
    logger,
  });
  opened.push(idempotency);
  return idempotency;
}

const requestOf = (more = {}) => ({ key: randomUUID(), caller: "u1", route: "POST /things", content: "{}", ...more });

test("what is sent again is answered as it was the first time, and is not run again", async () => {
  const idempotency = open();
  const run = vi.fn(async () => created);
  const request = requestOf();
  expect(await idempotency.once(request, run)).toEqual({ ...created, isReplayed: false });
  expect(await idempotency.once(request, run)).toEqual({ ...created, isReplayed: true });
  expect(run).toHaveBeenCalledTimes(1);
});

test("a key is of one caller and one route", async () => {
  const idempotency = open();
  const request = requestOf();
  for (const more of [{}, { caller: "u2" }, { route: "POST /others" }])
    expect(await idempotency.once({ ...request, ...more }, async () => created)).toMatchObject({ isReplayed: false });
});

test("of many that come at once, one is run and all have its answer", async () => {
  const idempotency = open();
  const begun = Promise.withResolvers<void>();
  const run = vi.fn(async () => {
    await begun.promise;
    return created;
  });
  const request = requestOf();
  const all = [1, 2, 3, 4].map(() => idempotency.once(request, run));
  await expect.poll(() => run).toHaveBeenCalled();
  begun.resolve();
  const answers = await Promise.all(all);
  expect(run).toHaveBeenCalledTimes(1);
  expect(answers.filter(({ isReplayed }) => isReplayed)).toHaveLength(3);
});

test("other content under the same key is refused, also while the first runs", async () => {
  const idempotency = open();
  const begun = Promise.withResolvers<void>();
  const request = requestOf();
  const first = idempotency.once(request, async () => {
    await begun.promise;
    return created;
  });
  const other = () => idempotency.once({ ...request, content: "[]" }, async () => created);
  await expect(other()).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
  begun.resolve();
  await first;
  await expect(other()).rejects.toMatchObject({ extensions: { problems: [{ path: "Idempotency-Key" }] } });
});

test("where nothing was begun the key may be sent again; those who wait try themselves", async () => {
  const idempotency = open();
  const request = requestOf();
  const run = vi.fn(async (): Promise<KeptAnswer> => {
    if (run.mock.calls.length === 1) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "Away.", { retryAfterSeconds: 1 });
    return created;
  });
  const [first, second] = await Promise.allSettled([idempotency.once(request, run), idempotency.once(request, run)]);
  expect(first).toMatchObject({ status: "rejected" });
  expect(second).toMatchObject({ value: { status: 201, isReplayed: false } });
  expect(run).toHaveBeenCalledTimes(2);
});

test.each<[string, Error]>([
  ["a request that took too long", new ToolyardError("TIMEOUT", "Slow.")],
  ["one whose connection broke", new ToolyardError("UPSTREAM_UNAVAILABLE", "It broke.")],
  ["one that met a bug", new TypeError("undefined is not a function")],
])("%s may have been done, and is not run again under its key", async (_, error) => {
  const store = createMemoryIdempotencyStore();
  const request = requestOf();
  const run = vi.fn(async (): Promise<KeptAnswer> => {
    throw error;
  });
  await expect(open(store).once(request, run)).rejects.toBe(error);
  for (const idempotency of [open(store), open(store)])
    await expect(idempotency.once(request, run)).rejects.toMatchObject({ code: "CONFLICT" });
  expect(run).toHaveBeenCalledTimes(1);
});

test("answers are kept for a day, sealed", async () => {
  const store = createMemoryIdempotencyStore();
  const finish = vi.spyOn(store, "finish");
  const idempotency = open(store);
  const request = requestOf();
  await idempotency.once(request, async () => created);
  expect(finish.mock.calls.flat().join()).not.toContain("s3cret");
  time += 24 * HOUR_MS - 1;
  expect(await idempotency.once(request, async () => created)).toMatchObject({ isReplayed: true });
  const rotated = open(store, { secretKey: "n".repeat(64), previousSecretKeys: [secretKey] });
  expect(await rotated.once(request, async () => created)).toMatchObject({ isReplayed: true });
  time += 1;
  expect(await idempotency.once(request, async () => created)).toMatchObject({ isReplayed: false });
});

test("a request whose process ended meanwhile is not run again under its key, and its client is told", async () => {
  const store = createMemoryIdempotencyStore();
  const request = requestOf();
  const ran = Promise.withResolvers<void>();
  void open(store).once(request, () => {
    ran.resolve();
    return new Promise(() => undefined);
  });
  await ran.promise;
  const next = open(store);
  time += TIMEOUT_MS + 5_001;
  await expect(next.once(request, async () => created)).rejects.toMatchObject({
    code: "CONFLICT",
    message: expect.stringContaining("interrupted") as unknown,
  });
});

test("another process's answer is waited for", async () => {
  const store = createMemoryIdempotencyStore();
  const begun = Promise.withResolvers<void>();
  const ran = Promise.withResolvers<void>();
  const request = requestOf();
  const first = open(store).once(request, async () => {
    ran.resolve();
    await begun.promise;
    return created;
  });
  await ran.promise;
  const second = open(store).once(request, async () => created);
  begun.resolve();
  await first;
  expect(await second).toEqual({ ...created, isReplayed: true });
});

test("a caller has so many keys, and a key has a form", async () => {
  const idempotency = open();
  for (let n = 0; n < 3; n++) await idempotency.once(requestOf(), async () => created);
  await expect(idempotency.once(requestOf(), async () => created)).rejects.toMatchObject({
    code: "RATE_LIMITED",
    extensions: { retryAfterSeconds: 24 * 3_600 },
  });
  for (const key of ["", " ", "a b", "\u00e4", "x".repeat(256)])
    await expect(idempotency.once(requestOf({ key, caller: "u3" }), async () => created)).rejects.toMatchObject({
      code: "BAD_USER_INPUT",
    });
});

test("an answer that could not be kept is answered all the same", async () => {
  const store = createMemoryIdempotencyStore();
  const failing = { ...store, finish: () => Promise.reject(new Error("disk full")) };
  expect(await open(failing).once(requestOf(), async () => created)).toMatchObject({ status: 201 });
});

test("answers to try again after are not kept", () => {
  expect([200, 201, 202, 204, 404, 409, 412, 422].every(isKept)).toBe(true);
  expect([401, 403, 429, 500, 502, 503, 504].some(isKept)).toBe(false);
});
