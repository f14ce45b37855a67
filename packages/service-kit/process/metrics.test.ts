import { expect, test } from "vitest";
import { createBoundedLabel, createMetrics, methodLabel } from "./metrics.ts";

const linesOf = async (metrics: ReturnType<typeof createMetrics>, name: string) =>
  (await metrics.registry.getSingleMetricAsString(name)).split("\n").filter((line) => !line.startsWith("#"));

test("a series is the same for all who ask for its labels", async () => {
  const metrics = createMetrics();
  const counter = metrics.counter({ name: "calls_total", help: "Calls.", labelNames: ["by"] });
  for (const by of ["a", "b", "a"]) counter.series({ by }).inc();
  expect(await linesOf(metrics, "calls_total")).toEqual(['calls_total{by="a"} 2', 'calls_total{by="b"} 1']);
  // Read again, nothing is counted twice.
  expect(await linesOf(metrics, "calls_total")).toEqual(['calls_total{by="a"} 2', 'calls_total{by="b"} 1']);
});

test("a histogram counts a value in the first bucket that has room for it, and buckets add up", async () => {
  const metrics = createMetrics();
  const histogram = metrics.histogram({ name: "took", help: "Time.", labelNames: ["by"], buckets: [1, 10] });
  const series = histogram.series({ by: "a" });
  histogram.series({ by: "never" });
  for (const value of [1, 2, 50]) series.observe(value);
  expect(await linesOf(metrics, "took")).toEqual([
    'took_bucket{le="1",by="a"} 1',
    'took_bucket{le="10",by="a"} 2',
    'took_bucket{le="+Inf",by="a"} 3',
    'took_sum{by="a"} 53',
    'took_count{by="a"} 3',
  ]);
});

test("without labels there is a histogram before there is a value; a summary has no buckets", async () => {
  const metrics = createMetrics();
  metrics.histogram({ name: "took", help: "Time.", buckets: [1] }).series({});
  metrics
    .summary({ name: "by_name", help: "Time.", labelNames: ["name"] })
    .series({ name: "a" })
    .observe(3);
  expect(await linesOf(metrics, "took")).toContain("took_count 0");
  expect(await linesOf(metrics, "by_name")).toEqual(['by_name_sum{name="a"} 3', 'by_name_count{name="a"} 1']);
});

test("a reading is read when metrics are, and is a counter by its name", async () => {
  const metrics = createMetrics();
  let value = 1;
  metrics.reading({ name: "open_now", help: "Open.", read: () => value });
  metrics.reading({ name: "dropped_total", help: "Dropped.", read: () => value });
  value = 2;
  const text = await metrics.registry.metrics();
  expect(text).toContain("# TYPE open_now gauge\nopen_now 2\n");
  expect(text).toContain("# TYPE dropped_total counter\ndropped_total 2\n");
  expect(text).toContain("nodejs_eventloop_utilization_ratio");
});

test("what comes from outside makes a bounded number of labels", () => {
  const labelOf = createBoundedLabel({ max: 2, rest: "others" });
  expect(["a", "b", "c", "a", "d"].map(labelOf)).toEqual(["a", "b", "others", "a", "others"]);
  expect(["GET", "PURGE"].map(methodLabel)).toEqual(["GET", "OTHER"]);
});
