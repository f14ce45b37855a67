import { Report } from "@apollo/usage-reporting-protobuf";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createDurationHistogram } from "./duration-histogram.ts";
import { createUsageReport } from "./usage-report.ts";

const header = {
  graphRef: "shop@test",
  hostname: "host",
  agentVersion: "agent",
  runtimeVersion: "node",
  uname: "os",
  executableSchemaId: "schema",
};

test("a report of ever more operations, clients and paths stays within its bound, and goes on counting what it knows", () => {
  const report = createUsageReport({ header, maxBytes: 20_000 });
  const request = (clientName: string, key: string) => ({
    request: { clientName, clientVersion: "", persisted: null },
    durationMs: 1,
    errors: [{ path: [key, 0, "name"], extensions: { service: "users" } }],
    isOperation: true,
  });
  const operation = (key: string) => ({ key, referencedFieldsByType: { Query: { fieldNames: [key] } } });
  for (let i = 0; i < 5_000; i++) {
    report.add(operation(`# Q${i}\n{q${i}}`), request(`client ${i}`, `k${i}`));
    report.add(operation("# Known\n{known}"), request(`client ${i}`, `k${i}`));
    report.add(operation("# Known\n{known}"), request("known", "known"));
  }
  const encoded = report.encode(1_700_000_000_123);
  expect(report.bytes).toBeLessThan(21_000);
  expect(encoded.length).toBeLessThan(21_000);
  const decoded = Report.decode(encoded);
  expect(decoded.operationCount).toBe(15_000);
  expect(decoded.endTime).toMatchObject({ seconds: 1_700_000_000, nanos: 123_000_000 });
  const stats = decoded.tracesPerQuery["# Known\n{known}"]?.statsWithContext as {
    context: { clientName: string };
    queryLatencyStats: { requestCount: number };
  }[];
  expect(stats.find(({ context }) => context.clientName === "known")?.queryLatencyStats.requestCount).toBe(5_000);
});

test("a field called like what objects have is one like any other", () => {
  const report = createUsageReport({ header, maxBytes: 20_000 });
  const request = { clientName: "__proto__", clientVersion: "constructor", persisted: null };
  const errors = [{ path: ["constructor", "toString"] }];
  report.add(
    { key: "# constructor", referencedFieldsByType: {} },
    { request, durationMs: 1, errors, isOperation: true },
  );
  const decoded = Report.decode(report.encode(0)).tracesPerQuery["# constructor"];
  expect(JSON.stringify(decoded)).toContain('"constructor":{"children":{"toString"');
});

test("a histogram packs runs of empty buckets, and every duration is in one bucket that it fits", () => {
  const histogram = createDurationHistogram();
  for (const milliseconds of [0, 0.001, 0.0011, 1, 1]) histogram.add(milliseconds);
  // Up to a microsecond; up to 1.1; 72 empty ones; up to 1.1^73 = 1051 microseconds.
  expect(histogram.toArray()).toEqual([2, 1, -71, 2]);
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1e12, noNaN: true }), { maxLength: 50 }), (durations) => {
      const filled = createDurationHistogram();
      for (const duration of durations) filled.add(duration);
      const packed = filled.toArray();
      expect(packed.reduce((sum, count) => sum + Math.max(0, count), 0)).toBe(durations.length);
      const length = packed.reduce((sum, count) => sum + (count < 0 ? -count : 1), 0);
      expect(length).toBeLessThanOrEqual(384);
      const longest = Math.max(0, ...durations) * 1_000;
      if (longest > 1 && length < 384) {
        expect(1.1 ** (length - 1)).toBeGreaterThan(longest * 0.999);
        expect(1.1 ** (length - 2)).toBeLessThan(longest * 1.001);
      }
    }),
  );
});
