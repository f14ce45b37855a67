import { createMetrics } from "@toolyard/service-kit/process/metrics.ts";
import { expect, test } from "vitest";
import { createCacheMeter } from "./cache-meter.ts";
import { cacheContract } from "./cache.contract.ts";
import { createMemoryCache } from "./cache.memory.ts";

cacheContract("memory", async () => {
  let time = 1_800_000_000_000;
  return {
    cache: createMemoryCache<object>({ maxEntries: 200, now: () => time }),
    advance: async (ms) => void (time += ms),
    close: async () => undefined,
  };
});

test("what was used least goes first, by number and by size", async () => {
  const few = createMemoryCache<string>({ maxEntries: 2 });
  for (const key of ["a", "b"]) await few.set(key, key);
  await few.get("a");
  await few.set("c", "c");
  expect(await Promise.all(["a", "b", "c"].map((key) => few.get(key)))).toEqual(["a", undefined, "c"]);

  const small = createMemoryCache<string>({ maxEntries: 1_000, maxSize: 160, sizeOf: (text) => text.length });
  for (let n = 0; n < 50; n += 1) await small.set(String(n), "x".repeat(10));
  await small.set("large", "x".repeat(11));
  expect(await small.get("large")).toBeUndefined();
  expect(await small.get("33")).toBeUndefined();
  expect(await small.get("34")).toBeDefined();
});

test("hits and misses are counted by cache, also where two have the same name, and make the rate", async () => {
  const metrics = createMetrics();
  const meter = createCacheMeter(metrics);
  const [one, same] = [1, 2].map(() => createMemoryCache<string>({ maxEntries: 10, count: meter.of("texts") }));
  await one?.set("a", "a");
  await one?.get("a");
  await one?.wrap("a", async () => "b");
  await one?.get("none");
  await same?.get("a");
  meter.of("unused");
  const text = await metrics.registry.metrics();
  for (const line of [
    'cache_hits_total{cache="texts"} 2',
    'cache_misses_total{cache="texts"} 2',
    'cache_hit_rate{cache="texts"} 0.5',
    'cache_hit_rate{cache="unused"} 0',
  ])
    expect(text).toContain(`${line}\n`);
});
