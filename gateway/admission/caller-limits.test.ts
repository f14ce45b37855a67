import { anonymous, createServiceCaller, createUserCaller } from "@toolyard/service-kit";
import { describe, expect, test } from "vitest";
import { createCallerLimits, type CallerLimitsOptions } from "./caller-limits.ts";
import { quotaHeaders, type Quota } from "./quotas.ts";

const ada = { caller: createUserCaller("ada", "VIEWER") };
const bob = { caller: createUserCaller("bob", "VIEWER") };

function create(options: Partial<CallerLimitsOptions> = {}) {
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

describe("the rate of single fields", () => {
  const login = (count: number) => Array.from({ length: count }, () => "login");

  test("is counted for each field and caller, as often as it is there, beside that of operations", () => {
    const { limits, pass } = create({ fieldsPerMinute: { login: 12, register: 60 } });
    limits.chargeFields(ada, ["me", ...login(2)]);
    limits.chargeFields(ada, login(1));
    expect(() => limits.chargeFields(ada, login(1))).toThrow(
      expect.objectContaining({
        code: "RATE_LIMITED",
        message: 'Too many of "login": 12 a minute are allowed. Try again in 5 s.',
        extensions: expect.objectContaining({ retryAfterSeconds: 5, max: 12 }),
      }),
    );
    limits.chargeFields(bob, login(1));
    limits.chargeFields(ada, ["register", "unlimited"]);
    pass(5_000);
    limits.chargeFields(ada, login(1));
    // More than may ever come at once take all there is.
    pass(60_000);
    limits.chargeFields(ada, login(50));
    expect(() => limits.chargeFields(ada, login(1))).toThrow();
    for (let i = 0; i < 9; i++) limits.chargeFields({ caller: createServiceCaller("proxy", []) }, login(1));
  });

  test("is told with what is left and when all of it is there again, also to those who are refused", () => {
    const { limits } = create({ fieldsPerMinute: { login: 12 } });
    const quotas: Quota[] = [];
    limits.charge({ ...ada, quotas });
    limits.chargeFields({ ...ada, quotas }, login(2));
    expect(quotaHeaders({ ...ada, requestId: "r1", quotas })).toEqual({
      "ratelimit-policy": '"operations";q=3;w=3, "login";q=3;w=15',
      ratelimit: '"operations";r=2;t=1, "login";r=1;t=10',
      "ratelimit-limit": "3",
      "ratelimit-remaining": "1",
      "ratelimit-reset": "10",
    });
    limits.chargeFields(ada, login(1));
    quotas.length = 0;
    expect(() => limits.chargeFields({ ...ada, quotas }, login(1))).toThrow();
    expect(quotas).toEqual([{ name: "login", limit: 3, windowSeconds: 15, remaining: 0, resetSeconds: 15 }]);
    expect(quotaHeaders({ ...ada, requestId: "r1", quotas: [] })).toEqual({});
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
