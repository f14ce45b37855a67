import { expect, test } from "vitest";
import { createGatewayMetrics } from "./metrics.ts";

test("replaced plans are counted by planner, reason and hash, and no client makes more series than operations are told apart", async () => {
  const metrics = createGatewayMetrics({
    gauges: () => [],
    subscriptions: () => 0,
    droppedEvents: () => 0,
    maxOperations: 2,
  });
  for (const hash of ["a", "b", "c", "d", "a"])
    metrics.planReplaced({ planner: "hive", reason: hash === "b" ? "died" : "wrong", hash });
  const counted = await metrics.registry.getSingleMetricAsString("query_plans_replaced_total");
  expect(counted).toContain('query_plans_replaced_total{planner="hive",reason="wrong",hash="a"} 2');
  expect(counted).toContain('query_plans_replaced_total{planner="hive",reason="died",hash="b"} 1');
  expect(counted).toContain('query_plans_replaced_total{planner="hive",reason="wrong",hash="others"} 2');
  expect(counted).not.toContain('hash="c"');
});
