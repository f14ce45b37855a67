import { createLogger } from "@toolyard/service-kit";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Call } from "./call.ts";
import { createNewerRoutes, type NewerRoutes } from "./newer-routes.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterEach(() => void vi.useRealTimers());

let version: string | null;
let questions: PromiseWithResolvers<number>[];
let newerRoutes: NewerRoutes;
beforeEach(() => {
  version = "5";
  questions = [];
  newerRoutes = createNewerRoutes({
    routes: { version: () => version, find: () => undefined },
    ask() {
      const question = Promise.withResolvers<number>();
      questions.push(question);
      return question.promise;
    },
    logger: createLogger({ level: "silent", name: "test" }),
  });
});

/** How it went for a call of this user; "waits" until then. */
function callOf(subject: string) {
  // Nothing else of a call is looked at.
  const call = { isCaughtUp: false, caller: { subject }, group: null, gone: false, refused: false } as unknown as Call;
  const outcome = { call, went: "waits" };
  const refuse = (isNew: boolean) => void (outcome.went = isNew ? "refused, new" : "refused");
  newerRoutes.awaitFor(call, () => void (outcome.went = "goes on"), refuse);
  return outcome;
}
const passed = (ms: number) => vi.advanceTimersByTimeAsync(ms);

test("a call that comes while it is asked is not let go by that answer, and all that come then are asked about at once, a moment later", async () => {
  const first = callOf("ada");
  await passed(0);
  const others = [callOf("ada"), callOf("bob")];
  questions[0]?.resolve(5);
  await passed(0);
  expect([first, ...others].map(({ went }) => went)).toEqual(["goes on", "waits", "waits"]);
  expect(questions).toHaveLength(1);
  await passed(100);
  expect(questions).toHaveLength(2);
  questions[1]?.resolve(6);
  await passed(0);
  expect(others.map(({ went }) => went)).toEqual(["waits", "waits"]);
  version = "6";
  newerRoutes.changed();
  await passed(0);
  expect(others.map(({ went }) => went)).toEqual(["goes on", "goes on"]);
  // Once for each call.
  newerRoutes.awaitFor(
    first.call,
    () => undefined,
    (isNew) => void (first.went = String(isNew)),
  );
  expect(first.went).toBe("true");
});

test("one user's calls have a share of the room, which is free again when they have waited long enough", async () => {
  const calls = Array.from({ length: 51 }, () => callOf("ada"));
  const other = callOf("bob");
  await passed(999);
  expect(calls.filter(({ went }) => went === "refused")).toEqual(calls.slice(50));
  expect([calls[0]?.went, other.went]).toEqual(["waits", "waits"]);
  expect(questions).toHaveLength(1);
  await passed(1);
  expect([calls[0]?.went, other.went]).toEqual(["refused", "refused"]);
  // The answer to those that have gone changes nothing.
  questions[0]?.resolve(5);
  await passed(100);
  const again = Array.from({ length: 51 }, () => callOf("ada"));
  await passed(0);
  expect(again.filter(({ went }) => went === "refused")).toHaveLength(1);
});

test("where the control plane does not answer, or no table has come yet, the call is refused", async () => {
  const call = callOf("ada");
  await passed(0);
  questions[0]?.reject(new Error("away"));
  await passed(0);
  expect(call.went).toBe("refused");
  version = null;
  expect(callOf("ada").went).toBe("refused");
});
