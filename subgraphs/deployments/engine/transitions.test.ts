import { describe, expect, test } from "vitest";
import { launchSchema } from "@toolyard/launch";
import { FORGET_AFTER_MS, backoffMs, mostAttempts } from "./backoff.ts";
import { transition, type ReplicaCore } from "./transitions.ts";

const policy = launchSchema.parse({
  kind: "stdio",
  command: "x",
  options: { health: { failureThreshold: 3, successThreshold: 2 } },
}).options.health;
const at = (now: number) => ({ policy, mostAttempts: mostAttempts({ deployedAt: 1 }), now, random: 0.5 });
const core = (state: ReplicaCore["state"], attempts = 0): ReplicaCore => ({
  state,
  attempts,
  generation: 1,
  incarnation: 1,
  restarts: 0,
});

describe("transitions", () => {
  test("one failed call makes a READY replica UNHEALTHY, the threshold stops it to try again", () => {
    const first = transition(
      core({ phase: "READY", since: 0 }),
      { type: "silent", reason: "slow", words: null },
      at(10),
    );
    expect(first?.state).toMatchObject({ phase: "UNHEALTHY", failures: 1 });
    const second = first && transition(first, { type: "silent", reason: "slow", words: null }, at(20));
    expect(second?.state).toMatchObject({ phase: "UNHEALTHY", failures: 2 });
    const third = second && transition(second, { type: "silent", reason: "slow", words: null }, at(30));
    expect(third?.state).toMatchObject({ phase: "STOPPING", then: "RETRY" });
  });

  test("an UNHEALTHY replica is READY again after successThreshold answers", () => {
    const sick = core({ phase: "UNHEALTHY", since: 0, failures: 1, successes: 0, reason: "slow", words: null });
    const once = transition(sick, { type: "answered" }, at(10));
    expect(once?.state).toMatchObject({ phase: "UNHEALTHY", successes: 1 });
    expect(once && transition(once, { type: "answered" }, at(20))?.state).toEqual({ phase: "READY", since: 20 });
  });

  test.each([
    ["what once ran is the tenth", { deployedAt: 1 }, 10],
    ["what never ran is the fifth", { deployedAt: null }, 5],
  ])("the last failure in a row of %s", (_name, deployment, tries) => {
    const context = { ...at(0), mostAttempts: mostAttempts(deployment) };
    const ended = { type: "ended", reason: "It exited.", words: null } as const;
    const after = (attempts: number) => transition(core({ phase: "STARTING", since: 0 }, attempts), ended, context);
    expect(after(tries - 2)?.state.phase).toBe("BACKOFF");
    const reason = `It exited. It was tried ${tries} times.`;
    expect(after(tries - 1)?.state).toEqual({ phase: "FAILED", reason, words: null });
  });

  test("what never ran since the engine, the cluster or the registry was away is tried as often as what once ran", () => {
    const context = { ...at(0), mostAttempts: mostAttempts({ deployedAt: null }) };
    const away = { type: "ended", isPassing: true, reason: "It does not answer.", words: null } as const;
    let replica: ReplicaCore | null = core({ phase: "PENDING" });
    for (let attempt = 1; attempt < 10; attempt++) {
      replica = replica && transition(replica, away, context);
      expect(replica?.state.phase).toBe("BACKOFF");
      replica = replica && transition(replica, { type: "start", generation: 1 }, context);
      expect(replica?.state).toMatchObject({ reason: expect.stringContaining(`(try ${attempt + 1} of 10)`) });
    }
    const reason = "It does not answer. It was tried 10 times.";
    expect(replica && transition(replica, away, context)?.state).toEqual({ phase: "FAILED", reason, words: null });
  });

  test("a start after one that failed says so, until something is heard of it", () => {
    const failed = core({ phase: "BACKOFF", until: 0, reason: "It exited.", words: "It said: no." }, 2);
    expect(transition(failed, { type: "start", generation: 1 }, at(7))?.state).toEqual({
      phase: "STARTING",
      since: 7,
      reason: "It is started again (try 3 of 10). It exited.",
      words: "It said: no.",
    });
    expect(transition(core({ phase: "PENDING" }), { type: "start", generation: 1 }, at(7))?.state).toEqual({
      phase: "STARTING",
      since: 7,
    });
  });

  test("30 s of answering forget the failures before", () => {
    const ready = core({ phase: "READY", since: 0 }, 9);
    expect(transition(ready, { type: "ended", reason: "x", words: null }, at(FORGET_AFTER_MS))?.attempts).toBe(1);
    expect(transition(ready, { type: "ended", reason: "x", words: null }, at(FORGET_AFTER_MS - 1))?.state.phase).toBe(
      "FAILED",
    );
  });

  test("a stop for good overrules a stop that would start again, and not the other way round", () => {
    const stopping = core({ phase: "STOPPING", since: 0, then: "RETRY", reason: "slow", words: null });
    const removed = transition(stopping, { type: "stop", then: "REMOVE", reason: "asked" }, at(1));
    expect(removed?.state).toMatchObject({ then: "REMOVE" });
    expect(removed && transition(removed, { type: "stop", then: "RESTART", reason: "asked" }, at(2))).toBeNull();
  });

  test("what comes too late changes nothing", () => {
    expect(
      transition(core({ phase: "BACKOFF", until: 5, reason: "x", words: null }), { type: "answered" }, at(1)),
    ).toBeNull();
    expect(
      transition(
        core({ phase: "STOPPING", since: 0, then: "REMOVE", reason: "x", words: null }),
        { type: "ended", reason: "x", words: null },
        at(1),
      ),
    ).toBeNull();
  });

  test("the back-off doubles from 1 s to 60 s, give or take 20 %", () => {
    expect([1, 2, 3, 6, 7, 10].map((attempt) => backoffMs(attempt, 0.5))).toEqual([
      1_000, 2_000, 4_000, 32_000, 60_000, 60_000,
    ]);
    expect(backoffMs(1, 0)).toBe(800);
    expect(backoffMs(1, 1)).toBe(1_200);
  });
});
