import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ReplicaLogLine } from "@toolyard/runtimes/runtime.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLogArchive } from "./log-archive.ts";

const DAY_MS = 24 * 60 * 60 * 1_000;
let root: string;
let clock: number;
beforeEach(async () => {
  root = join(await mkdtemp(join(tmpdir(), "toolyard-logs-")), "logs");
  clock = 1_000_000_000;
});
afterEach(() => rm(join(root, ".."), { recursive: true }));

const open = (options: { retentionDays?: number; maxBytes?: number } = {}) =>
  createLogArchive({
    root,
    retentionMs: (options.retentionDays ?? 7) * DAY_MS,
    now: () => clock,
    ...(options.maxBytes !== undefined && { maxBytes: options.maxBytes }),
  });
const linesOf = (...texts: string[]): ReplicaLogLine[] => texts.map((text) => ({ at: clock, stream: "STDERR", text }));
const all = { last: 1_000, replicaId: null, except: new Set<string>() };
const processOf = (name: string, replicaId = "r1", deploymentId = "d1") => ({ deploymentId, replicaId, name });
const textsIn = async (archive: ReturnType<typeof open>, options: Partial<typeof all> & { of?: string } = {}) =>
  (await archive.readLast(options.of ?? "d1", { ...all, ...options })).map(({ text }) => text);

test("lines of ended processes are answered by time, as many as are asked for, of one replica or all, also after a restart", async () => {
  const archive = open();
  await archive.keep(processOf("a-0-1"), linesOf("one", "two"));
  clock += 10;
  await archive.keep(processOf("a-1-1", "r2"), linesOf("three"));
  clock += 10;
  await archive.keep(processOf("a-0-2"), linesOf("four"));
  await archive.keep(processOf("b-0-1", "r9", "d2"), linesOf("another's"));
  for (const each of [archive, open()]) {
    expect(await textsIn(each)).toEqual(["one", "two", "three", "four"]);
    expect(await textsIn(each, { last: 2 })).toEqual(["three", "four"]);
    expect(await textsIn(each, { last: 3 })).toEqual(["two", "three", "four"]);
    expect(await each.readLast("d1", { ...all, replicaId: "r2" })).toEqual([
      { at: 1_000_000_010, stream: "STDERR", text: "three", replicaId: "r2" },
    ]);
    expect(await textsIn(each, { except: new Set(["a-0-2"]) })).toEqual(["one", "two", "three"]);
    expect(await textsIn(each, { of: "never" })).toEqual([]);
  }
});

test("a process that is kept twice is there once; one that printed nothing leaves nothing", async () => {
  const archive = open();
  await archive.keep(processOf("a-0-1"), linesOf("one"));
  clock += 1;
  await archive.keep(processOf("a-0-1"), linesOf("one", "two"));
  await archive.keep(processOf("a-0-1"), []);
  await archive.keep(processOf("z-0-1", "r1", "d3"), []);
  expect(await textsIn(archive)).toEqual(["one", "two"]);
  expect(await readdir(root)).toEqual(["d1"]);
});

test("what is older than is wanted is not answered, and gone after a trim; what is kept for no time is not written", async () => {
  const archive = open({ retentionDays: 2 });
  await archive.keep(processOf("a-0-1"), linesOf("old"));
  clock += DAY_MS;
  await archive.keep(processOf("a-0-2"), linesOf("young"));
  clock += DAY_MS;
  expect(await textsIn(archive)).toEqual(["young"]);
  await archive.trim();
  expect(await readdir(join(root, "d1"))).toHaveLength(1);
  clock += DAY_MS;
  await archive.trim();
  expect(await readdir(root)).toEqual([]);
  await open({ retentionDays: 0 }).keep(processOf("a-0-3"), linesOf("never"));
  expect(await readdir(root)).toEqual([]);
});

test("a trim ends when it is told to, and the next one does all of it", async () => {
  const archive = open();
  for (const deploymentId of ["d1", "d2", "d3"])
    await archive.keep(processOf("a-0-1", "r1", deploymentId), linesOf("old"));
  clock += 8 * DAY_MS;
  await archive.trim(AbortSignal.abort());
  expect(await readdir(root)).toHaveLength(3);
  await archive.trim();
  expect(await readdir(root)).toEqual([]);
});

test("the disk it takes is bounded: of a process its newest lines, of a deployment its newest processes, of all the newest", async () => {
  const archive = open({ maxBytes: 3_000_000 });
  const long = "x".repeat(10_000);
  await archive.keep(processOf("a-0-1"), linesOf(...Array.from({ length: 200 }, (_, index) => `${index} ${long}`)));
  const kept = await textsIn(archive);
  expect(kept.length).toBeGreaterThan(90);
  expect(kept.length).toBeLessThan(110);
  expect(kept.at(-1)).toMatch(/^199 /);
  for (let process = 2; process < 80; process += 1) {
    clock += 1;
    await archive.keep(processOf(`a-0-${process}`), linesOf(`process ${process}`));
  }
  expect(await readdir(join(root, "d1"))).toHaveLength(64);
  expect((await textsIn(archive)).at(-1)).toBe("process 79");
  for (let deployment = 2; deployment < 8; deployment += 1) {
    clock += 1;
    await archive.keep(processOf("b-0-1", "r1", `d${deployment}`), linesOf(...Array.from({ length: 90 }, () => long)));
  }
  expect(await textsIn(archive, { of: "d2" })).toEqual([]);
  expect(await textsIn(archive, { of: "d7" })).toHaveLength(90);
  let bytes = 0;
  for (const folder of await readdir(root))
    for (const file of await readdir(join(root, folder))) bytes += (await stat(join(root, folder, file))).size;
  expect(bytes).toBeLessThanOrEqual(3_000_000);
});

test("files are for Toolyard's user only, and others that lie there harm nothing", async () => {
  const archive = open();
  await archive.keep(processOf("a-0-1"), linesOf("one"));
  const [file = ""] = await readdir(join(root, "d1"));
  expect((await stat(join(root, "d1", file))).mode & 0o777).toBe(0o600);
  expect((await stat(join(root, "d1"))).mode & 0o777).toBe(0o700);
  await writeFile(join(root, "d1", "notes.txt"), "mine");
  await writeFile(join(root, "stray"), "mine");
  await archive.trim();
  expect(await textsIn(archive)).toEqual(["one"]);
});
