import { anonymous, createServiceCaller, createUserCaller } from "@toolyard/service-kit";
import { describe, expect, test } from "vitest";
import { createCallerLimits } from "./caller-limits.ts";

const ada = { caller: createUserCaller("ada", "VIEWER") };
const bob = { caller: createUserCaller("bob", "VIEWER") };

function create(options: { operationsPerMinute?: number; burst?: number } = {}) {
  let at = 0;
  const limits = createCallerLimits({
    operationsPerMinute: 60,
    burst: 3,
    maxConcurrentOperations: 2,
    maxConcurrentSubscriptions: 1,
    now: () => at,
    ...options,
  });
  return { limits, pass: (ms: number) => (at += ms) };
}

describe("the rate of operations", () => {
  test("allows a burst, then one for each share of the minute, and says when to come again", () => {
    const { limits, pass } = create();
    for (let i = 0; i < 3; i++) limits.charge(ada);
    expect(() => limits.charge(ada)).toThrow(
      expect.objectContaining({ code: "RATE_LIMITED", extensions: expect.objectContaining({ retryAfterSeconds: 1 }) }),
    );
    pass(1_000);
    limits.charge(ada);
    expect(() => limits.charge(ada)).toThrow();
    pass(3_600_000);
    for (let i = 0; i < 3; i++) limits.charge(ada);
    expect(() => limits.charge(ada)).toThrow();
  });

  test("is each caller's own; the anonymous are told apart by address", () => {
    const { limits } = create({ burst: 1 });
    limits.charge(ada);
    limits.charge(bob);
    limits.charge({ caller: anonymous, clientAddress: "10.0.0.1" });
    limits.charge({ caller: anonymous, clientAddress: "10.0.0.2" });
    expect(() => limits.charge({ caller: anonymous, clientAddress: "10.0.0.1" })).toThrow();
    expect(() => limits.charge({ caller: anonymous, clientAddress: "::ffff:10.0.0.1" })).toThrow();
    limits.charge({ caller: anonymous, clientAddress: "2001:db8::1" });
    // A client that has one address of a network has all of it.
    expect(() => limits.charge({ caller: anonymous, clientAddress: "2001:db8::2" })).toThrow();
    limits.charge({ caller: anonymous, clientAddress: "2001:db8:0:1::1" });
  });

  test("lets the anonymous send few texts that are new, and others as many as known ones", () => {
    const { limits, pass } = create({ operationsPerMinute: 1_200, burst: 300 });
    const somebody = { caller: anonymous, clientAddress: "10.0.0.1" };
    for (let i = 0; i < 30; i++) limits.charge(somebody, true);
    expect(() => limits.charge(somebody, true)).toThrow(/new operations.*120 .*Log in/);
    for (let i = 0; i < 300; i++) limits.charge(ada, true);
    pass(500);
    limits.charge(somebody, true);
    expect(() => limits.charge(somebody, true)).toThrow();
    pass(500);
    for (let i = 0; i < 10; i++) limits.charge(somebody);
  });

  test("does not hold for services", () => {
    const { limits } = create({ burst: 1 });
    const service = { caller: createServiceCaller("proxy", []) };
    for (let i = 0; i < 100; i++) limits.charge(service);
    for (let i = 0; i < 100; i++) limits.enter("operation", service);
  });
});

test("as many run at once as may; one that ends, even twice, makes room for one", () => {
  const { limits } = create();
  const leave = limits.enter("operation", ada);
  limits.enter("operation", ada);
  limits.enter("subscription", ada);
  limits.enter("operation", bob);
  expect(() => limits.enter("operation", ada)).toThrow(
    expect.objectContaining({ extensions: expect.objectContaining({ max: 2, found: 3 }) }),
  );
  expect(() => limits.enter("subscription", ada)).toThrow(/subscriptions run at once: 1/);
  leave();
  leave();
  limits.enter("operation", ada);
  expect(() => limits.enter("operation", ada)).toThrow();
});

describe("callers from ever more addresses", () => {
  const stranger = (index: number) => ({
    caller: anonymous,
    clientAddress: `2001:db8:${(index >> 16).toString(16)}:${(index & 0xffff).toString(16)}::1`,
  });

  test("make those forgotten who have not called for longest", () => {
    const { limits } = create({ burst: 1 });
    limits.charge(ada);
    limits.charge(bob);
    for (let index = 0; index < 20_000; index++) {
      limits.charge(stranger(index));
      if (index % 1_000 === 0) expect(() => limits.charge(bob)).toThrow();
    }
    limits.charge(ada);
  });

  test("let nobody run more than they may", () => {
    const { limits } = create();
    const leave = limits.enter("subscription", ada);
    for (let index = 0; index < 20_001; index++) limits.charge(stranger(index));
    expect(() => limits.enter("subscription", ada)).toThrow();
    leave();
    limits.enter("subscription", ada);
  });
});
