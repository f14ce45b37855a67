import { createServiceCaller } from "@toolyard/service-kit";
import { expect, test } from "vitest";
import { admin, proxy } from "./deployments-fixture.ts";
import { createLoad } from "./load.ts";

const host = createServiceCaller("deployments", ["internal:hosts"]);

test("load is the sum of what proxies tell, each for some seconds; other hosts are told of what proxies say, not of what hosts say", () => {
  let now = 1_000;
  const told: string[] = [];
  const woken: string[] = [];
  const load = createLoad({
    now: () => now,
    tellOthers: (proxyId) => told.push(proxyId),
    onLoad: (id) => woken.push(id),
  });
  expect(() => load.note(admin, "p", [])).toThrow();
  expect(() => load.noteHere(proxy, "p", [])).toThrow();
  load.note(proxy, "p1", [{ deploymentId: "a", calls: 1.5, replicaIds: ["r1"] }]);
  load.noteHere(host, "p2", [{ deploymentId: "a", calls: 2, replicaIds: ["r2"] }]);
  expect(load.callsOf("a")).toBe(3.5);
  expect(told).toEqual(["p1"]);
  now += 3_000;
  load.note(proxy, "p1", [{ deploymentId: "b", calls: 4, replicaIds: ["r1"] }]);
  expect([load.callsOf("a"), load.callsOf("b")]).toEqual([2, 4]);
  expect([load.lastUsedAt("r1"), load.lastUsedAt("r2"), load.lastUsedAt("r3")]).toEqual([4_000, 1_000, 1_000]);
  // Its load has changed for a, too.
  expect(woken).toEqual(["a", "a", "b", "a"]);
  now += 3_000;
  expect([load.callsOf("a"), load.callsOf("b")]).toEqual([0, 4]);
  now += 3_000;
  expect(load.callsOf("b")).toBe(0);
});
