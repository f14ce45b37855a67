import { ToolyardError } from "@toolyard/service-kit";
import { describe, expect, test } from "vitest";
import { createLoginLimiter } from "./login-limiter.ts";

function start() {
  let time = 1_000_000;
  const limiter = createLoginLimiter({ enabled: true, now: () => time });
  return {
    limiter,
    advance: (ms: number) => void (time += ms),
    /** Seconds to wait; 0 when the attempt is allowed. */
    attempt(username: string, client: string | null = null): number {
      try {
        limiter.attempt(username, client);
        return 0;
      } catch (error) {
        if (!(error instanceof ToolyardError)) throw error;
        return Number(error.extensions.retryAfterSeconds);
      }
    },
  };
}

describe("the login limiter", () => {
  test("allows ten failures, then one each half minute", () => {
    const { attempt, advance } = start();
    for (let n = 0; n < 10; n++) expect(attempt("ada")).toBe(0);
    expect(attempt("ADA")).toBe(30);
    advance(29_000);
    expect(attempt("ada")).toBe(1);
    advance(1_000);
    expect(attempt("ada")).toBe(0);
    expect(attempt("ada")).toBe(30);
    advance(300_000);
    for (let n = 0; n < 10; n++) expect(attempt("ada")).toBe(0);
  });

  test("counts attempts before they end, so that many at once do not pass together", () => {
    const { attempt } = start();
    expect(Array.from({ length: 1000 }, () => attempt("ada")).filter((wait) => wait === 0)).toHaveLength(10);
  });

  test("does not keep a user out for what somebody else does elsewhere", () => {
    const { attempt } = start();
    for (let n = 0; n < 50; n++) attempt("ada", "192.0.2.1");
    expect(attempt("ada", "192.0.2.1")).toBeGreaterThan(0);
    expect(attempt("ada", "198.51.100.7")).toBe(0);
  });

  test("bounds what a crowd guesses of one username to a hundred, and never waits longer than seconds then", () => {
    const { attempt } = start();
    const crowd = Array.from({ length: 1000 }, (_, n) => attempt("ada", `192.0.2.${n}`));
    expect(crowd.filter((wait) => wait === 0)).toHaveLength(100);
    expect(Math.max(...crowd)).toBe(3);
    expect(attempt("grace", "192.0.2.1")).toBe(0);
  });

  test("bounds what one client tries over many usernames, and what everybody tries", () => {
    const { attempt, advance } = start();
    const spray = (client: string | null) =>
      Array.from({ length: 1000 }, (_, n) => attempt(`user${n}`, client)).filter((wait) => wait === 0).length;
    expect(spray("192.0.2.1")).toBe(50);
    expect(spray("192.0.2.2")).toBe(50);
    expect(spray(null)).toBe(400);
    expect(attempt("ada", "198.51.100.7")).toBe(1);
    advance(1_000);
    expect(attempt("ada", "198.51.100.7")).toBe(0);
  });

  test("forgets failures once the password was right", () => {
    const { limiter, attempt } = start();
    for (let n = 0; n < 9; n++) attempt("ada");
    limiter.attempt("ada", null).succeeded();
    for (let n = 0; n < 10; n++) expect(attempt("ada")).toBe(0);
  });
});
