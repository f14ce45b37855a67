import { expect, test } from "vitest";
import { PortTakenError } from "../store/deployment-store.ts";
import { createPortAllocator } from "./ports.ts";

/** An allocator over rows of a host, which are looked at `reads` times. */
function createFixture({ last = 9_003, rows = new Set<number>(), strangers = new Set<number>() } = {}) {
  const fixture = { rows, strangers, reads: 0 };
  const ports = createPortAllocator({
    hostId: "host-1",
    range: { first: 9_000, last },
    address: "127.0.0.1",
    async portsInUse() {
      fixture.reads += 1;
      return new Set(rows);
    },
    isPortFree: async (_address, port) => !strangers.has(port),
  });
  const take = (count = 1) =>
    ports.reserve(count, async (chosen) => {
      if (chosen.some((port) => rows.has(port))) throw new PortTakenError("host-1", { cause: null });
      for (const port of chosen) rows.add(port);
      return chosen;
    });
  const free = (port: number) => {
    rows.delete(port);
    ports.released(port);
  };
  return { fixture, ports, take, free };
}

test("however many ports are taken one after the other, the rows are looked at once", async () => {
  const { fixture, take } = createFixture({ last: 9_499, rows: new Set([9_001]) });
  const taken = await Promise.all(Array.from({ length: 200 }, () => take()));
  for (let more = 0; more < 200; more += 1) taken.push(await take());
  expect(new Set(taken.flat()).size).toBe(400);
  expect(taken.flat()).not.toContain(9_001);
  expect(fixture.reads).toBe(1);
});

test("ports that were never given back come first, then those that were longest ago", async () => {
  const { take, free } = createFixture();
  expect(await take(2)).toEqual([9_000, 9_001]);
  free(9_001);
  free(9_000);
  expect(await take(4)).toEqual([9_002, 9_003, 9_001, 9_000]);
});

test("a port that another process took meanwhile is passed over, and one that a row gave up unsaid is found again", async () => {
  const { fixture, take } = createFixture();
  await take();
  fixture.rows.add(9_001);
  expect(await take(2)).toEqual([9_002, 9_003]);
  fixture.rows.delete(9_000);
  expect(await take()).toEqual([9_000]);
  await expect(take()).rejects.toMatchObject({ code: "CAPACITY_EXHAUSTED" });
});

test("a stranger's port is not given, and is once the stranger is gone", async () => {
  const { fixture, take } = createFixture({ strangers: new Set([9_000]) });
  expect(await take(3)).toEqual([9_001, 9_002, 9_003]);
  await expect(take()).rejects.toMatchObject({ code: "CAPACITY_EXHAUSTED" });
  fixture.strangers.clear();
  expect(await take()).toEqual([9_000]);
});

test("what fails gives its ports back", async () => {
  const { ports, take } = createFixture();
  const failing = ports.reserve(4, async () => Promise.reject(new Error("rolled back")));
  await expect(failing).rejects.toThrow("rolled back");
  expect(await take(4)).toHaveLength(4);
});
