import type { CoreV1Event } from "@kubernetes/client-node";
import { expect, test } from "vitest";
import { probeFailure } from "./pod-events.ts";

const SECOND = 1_000;
const began = Date.parse("2026-01-02T03:04:05Z");
/** As a cluster of Kubernetes 1.34 says it: of a list, times are dates, whatever else is text. */
const event = (afterSeconds: number, reason: string, message: string): CoreV1Event =>
  ({ reason, message, lastTimestamp: new Date(began + afterSeconds * SECOND) }) as CoreV1Event;
const unhealthy = (after: number, why: string) => event(after, "Unhealthy", why);
const killing = (after: number, which = "liveness") =>
  event(after, "Killing", `Container server failed ${which} probe, will be restarted`);
const refused = "Liveness probe failed: dial tcp 10.42.0.9:3000: connect: connection refused";

test("a container that Kubernetes ended for its probe is said to be, with the last failure", () => {
  const events = [
    unhealthy(9, "Readiness probe failed: dial tcp 10.42.0.9:3000: connect: connection refused"),
    unhealthy(7, "Liveness probe failed: context deadline exceeded"),
    killing(9),
    unhealthy(8, refused),
  ];
  expect(probeFailure(events, began)).toBe(`Kubernetes ended it, since it did not answer. ${refused}.`);
  expect(probeFailure([killing(9, "startup")], began)).toBe("Kubernetes ended it, since it did not answer.");
});

test("what a probe did not end, or did in an earlier run, is not said to be", () => {
  expect(probeFailure([], began)).toBeNull();
  expect(probeFailure([unhealthy(8, refused)], began)).toBeNull();
  expect(probeFailure([event(9, "Killing", "Stopping container server")], began)).toBeNull();
  expect(probeFailure([unhealthy(-3, refused), killing(-2)], began)).toBeNull();
});
