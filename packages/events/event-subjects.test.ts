import { expect, test, vi } from "vitest";
import { createEventSubjects } from "./event-subjects.ts";

const event = (sequence: number, subjectId: string) => ({ sequence, subjectId });

/** Subjects whose state is the newest sequence that has happened when they are read. */
function createWorld() {
  const reads: (readonly string[])[] = [];
  const world = { now: 0, reads, isDown: false };
  const subjects = createEventSubjects({
    async read(ids) {
      reads.push(ids);
      if (world.isDown) throw new Error("down");
      return ids.map((id) => (id === "gone" ? null : { id, asOf: world.now }));
    },
  });
  return { world, subjects };
}

test("a thousand streams that are told of an event read its subject once", async () => {
  const { world, subjects } = createWorld();
  world.now = 7;
  const told = await Promise.all(Array.from({ length: 1_000 }, () => subjects.forStream().of(event(7, "a"))));
  expect(new Set(told)).toEqual(new Set([{ id: "a", asOf: 7 }]));
  expect(world.reads).toEqual([["a"]]);
});

test("a subject is never older than the event that it is asked for", async () => {
  const { world, subjects } = createWorld();
  const stream = subjects.forStream();
  for (world.now = 1; world.now <= 5; world.now += 1)
    expect(await stream.of(event(world.now, "a"))).toEqual({ id: "a", asOf: world.now });
  expect(world.reads).toHaveLength(5);
});

test("a page that is replayed reads each subject once, fifty at a time", async () => {
  const { world, subjects } = createWorld();
  world.now = 500;
  const page = Array.from({ length: 500 }, (_, index) => event(index + 1, `subject-${index % 120}`));
  const stream = subjects.forStream();
  stream.expect(page);
  for (const each of page) expect(await stream.of(each)).toEqual({ id: each.subjectId, asOf: 500 });
  expect(world.reads.map(({ length }) => length)).toEqual([50, 50, 20]);
});

test("what was read is forgotten after a second, so that an old event tells of a subject as it is now", async () => {
  vi.useFakeTimers();
  try {
    const { world, subjects } = createWorld();
    const stream = subjects.forStream();
    world.now = 5;
    await stream.of(event(5, "a"));
    await stream.of(event(1, "a"));
    expect(world.reads).toHaveLength(1);
    world.now = 6;
    vi.advanceTimersByTime(1_000);
    expect(await stream.of(event(1, "a"))).toEqual({ id: "a", asOf: 6 });
    expect(vi.getTimerCount()).toBe(1);
  } finally {
    vi.useRealTimers();
  }
});

test("a subject that is gone is null; one that could not be read is read again", async () => {
  const { world, subjects } = createWorld();
  const stream = subjects.forStream();
  expect(await stream.of(event(1, "gone"))).toBeNull();
  world.isDown = true;
  await expect(stream.of(event(1, "a"))).rejects.toThrow("down");
  world.isDown = false;
  expect(await stream.of(event(1, "a"))).toEqual({ id: "a", asOf: 0 });
});
