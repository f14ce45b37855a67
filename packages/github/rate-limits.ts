import { ToolyardError } from "@toolyard/service-kit";

/** The least time that GitHub wants its secondary limits to be left alone for; doubled each time that it answers so again. */
const SECONDARY_MS = 60_000;
/** GitHub's limits are for an hour. */
const LONGEST_MS = 3_900_000;

/**
 * Keeps requests with one credential back while GitHub does not want them, which it punishes.
 * https://docs.github.com/en/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api
 */
export interface RateLimits {
  /** `fetch`, which fails at once while GitHub wants none. @throws ToolyardError RATE_LIMITED with `retryAfterSeconds` */
  readonly fetch: typeof fetch;
  /** For an answer whose body alone says that a limit was reached. */
  refusal(): ToolyardError;
}

export function createRateLimits(options: { now: () => number; fetch: typeof fetch }): RateLimits {
  const { now } = options;
  let until = 0;
  let strikes = 0;

  const pause = (time: number) => (until = Math.max(until, Math.min(time, now() + LONGEST_MS)));
  const secondary = () => pause(now() + SECONDARY_MS * 2 ** strikes++);

  function refusal(): ToolyardError {
    if (until <= now()) secondary();
    const retryAfterSeconds = Math.ceil((until - now()) / 1_000);
    return new ToolyardError(
      "RATE_LIMITED",
      `GitHub takes no more requests of Toolyard's credential for ${retryAfterSeconds} s. What was begun goes on by itself then.`,
      { retryAfterSeconds },
    );
  }

  return {
    async fetch(input, init) {
      if (until > now()) throw refusal();
      const response = await options.fetch(input, init);
      const { headers, status } = response;
      const after = Number(headers.get("retry-after") ?? NaN);
      if (after >= 0) pause(now() + after * 1_000);
      else if (headers.get("x-ratelimit-remaining") === "0")
        pause(Math.max(Number(headers.get("x-ratelimit-reset") ?? 0) * 1_000, now() + 1_000));
      else if (status === 429 || (status === 403 && /secondary rate|abuse/i.test(await response.clone().text())))
        secondary();
      else {
        if (response.ok) strikes = 0;
        return response;
      }
      if (response.ok) return response;
      await response.body?.cancel();
      throw refusal();
    },
    refusal,
  };
}
