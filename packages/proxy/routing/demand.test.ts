import { expect, test, vi } from "vitest";
import { createDemands, type DeploymentLoad } from "./demand.ts";
import type { Replica } from "./replica.ts";

test("each second a proxy tells the average of concurrent calls, with replicas in use, and once that there are none; without calls it is silent", () => {
  vi.useFakeTimers();
  try {
    const told: DeploymentLoad[][] = [];
    const demands = createDemands({ report: (_proxyId, loads) => told.push(loads), now: () => Date.now() });
    const demand = demands.of("d");
    // Of a replica, only these are looked at.
    const replica = { id: "r", outstanding: 2 } as Replica;
    vi.advanceTimersByTime(10_000);
    expect(told).toEqual([]);
    demand.began();
    demand.uses(replica);
    vi.advanceTimersByTime(500);
    demand.began();
    vi.advanceTimersByTime(500);
    expect(told.splice(0)).toEqual([[{ deploymentId: "d", calls: 1.5, replicaIds: ["r"] }]]);
    demand.ended();
    demand.ended();
    // A stream goes on.
    replica.outstanding = 1;
    vi.advanceTimersByTime(1_000);
    expect(told.splice(0)).toEqual([[{ deploymentId: "d", calls: 0, replicaIds: ["r"] }]]);
    replica.outstanding = 0;
    vi.advanceTimersByTime(2_000);
    expect(told.splice(0)).toEqual([[{ deploymentId: "d", calls: 0, replicaIds: ["r"] }], []]);
    vi.advanceTimersByTime(60_000);
    expect(told).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
    demands.close();
  } finally {
    vi.useRealTimers();
  }
});

test("one user has a quarter of the calls that wait for all deployments, and room again when they do not wait any more", () => {
  const demands = createDemands({ report: () => undefined });
  const all = Array.from({ length: 20 }, (_, index) => demands.of(`d${index}`));
  const holdAll = (subject: string): number =>
    all.reduce((sum, demand) => sum + Array.from({ length: 30 }, () => demand.hold(subject)).filter(Boolean).length, 0);
  expect(["ada", "bob", "cleo", "dan", "eve"].map(holdAll)).toEqual([250, 250, 250, 250, 0]);
  all[0]?.letGo("ada");
  expect([all[15]?.hold("bob"), all[15]?.hold("eve"), all[15]?.hold("eve")]).toEqual([false, true, false]);
  demands.close();
});
