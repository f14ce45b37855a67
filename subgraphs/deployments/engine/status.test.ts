import { expect, test } from "vitest";
import type { ReplicaState } from "../deployment.ts";
import { deriveStatus } from "./status.ts";

const READY: ReplicaState = { phase: "READY", since: 0 };
const FAILED: ReplicaState = { phase: "FAILED", reason: "It exited.", words: null };
const STARTING: ReplicaState = { phase: "STARTING", since: 0 };
const BACKOFF: ReplicaState = { phase: "BACKOFF", until: 9, reason: "It exited.", words: null };
const LEAVING: ReplicaState = { phase: "STOPPING", since: 0, then: "REMOVE", reason: "asked", words: null };

/** The table of deployments.md, row by row. */
test.each<
  [
    string,
    { desired?: "RUN" | "STOP"; wanted: number; everReady?: boolean; scales?: boolean; states: ReplicaState[] },
    string,
    string,
    boolean,
  ]
>([
  ["none READY yet", { wanted: 1, states: [STARTING] }, "STARTING", "UNKNOWN", true],
  ["all READY", { wanted: 2, everReady: true, states: [READY, READY] }, "RUNNING", "HEALTHY", false],
  ["some READY", { wanted: 2, everReady: true, states: [READY, STARTING] }, "RUNNING", "DEGRADED", true],
  ["none READY, was RUNNING", { wanted: 1, everReady: true, states: [STARTING] }, "RUNNING", "UNHEALTHY", true],
  ["never READY", { wanted: 2, states: [FAILED, FAILED] }, "FAILED", "UNHEALTHY", true],
  ["restarts used up", { wanted: 1, everReady: true, states: [FAILED] }, "FAILED", "UNHEALTHY", true],
  ["scaled to zero", { wanted: 0, everReady: true, states: [] }, "RUNNING", "UNKNOWN", true],
  ["going to zero", { wanted: 0, everReady: true, scales: true, states: [READY] }, "RUNNING", "UNKNOWN", true],
  ["idle at zero", { wanted: 0, everReady: true, scales: true, states: [] }, "RUNNING", "UNKNOWN", true],
  ["waking up", { wanted: 1, everReady: true, scales: true, states: [STARTING] }, "RUNNING", "UNKNOWN", true],
  ["failing to wake up", { wanted: 1, everReady: true, scales: true, states: [BACKOFF] }, "RUNNING", "UNHEALTHY", true],
  ["scaled to zero, one still stopping", { wanted: 0, everReady: true, states: [LEAVING] }, "RUNNING", "UNKNOWN", true],
  [
    "stop asked, some left",
    { desired: "STOP", wanted: 1, everReady: true, states: [LEAVING] },
    "STOPPING",
    "UNKNOWN",
    true,
  ],
  ["stop asked, none left", { desired: "STOP", wanted: 1, everReady: true, states: [] }, "STOPPED", "UNKNOWN", false],
])("%s", (_name, { desired = "RUN", wanted, everReady = false, scales = false, states }, status, health, hasReason) => {
  const replicas = states.map((state, ordinal) => ({ ordinal, state, attempts: 0 }));
  const autoscale = scales ? { min: 0, max: 3, targetConcurrentCalls: 8, idleSeconds: 300 } : null;
  const derived = deriveStatus({ desired, desiredReplicas: wanted, autoscale, everReady, deployedAt: null }, replicas);
  expect(derived).toMatchObject({ status, health });
  expect(derived.reason !== null).toBe(hasReason);
});

test("a deployment that goes to zero is idle once its last sessions have ended, not before", () => {
  const autoscale = { min: 0, max: 3, targetConcurrentCalls: 8, idleSeconds: 300 };
  const deployment = { desired: "RUN", desiredReplicas: 0, autoscale, everReady: true, deployedAt: null } as const;
  const retiring = { ordinal: 0, state: { ...READY, retiringSince: 1 }, attempts: 0 };
  expect(deriveStatus(deployment, [retiring]).reason).toContain("once their calls and sessions have ended");
  expect(deriveStatus(deployment, []).reason).toContain("idle at zero");
});
