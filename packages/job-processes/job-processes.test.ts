import { fork } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createLogger } from "@toolyard/service-kit";
import { eventually } from "@toolyard/testing";
import { expect, onTestFinished, test } from "vitest";
import type { jobs } from "./fixtures/jobs.ts";
import { createJobProcesses, type JobProcessesOptions } from "./job-processes.ts";

type Jobs = typeof jobs;
const module = new URL("./fixtures/jobs.ts", import.meta.url);

function make(options: Partial<JobProcessesOptions> = {}) {
  const processes = createJobProcesses<Jobs>({
    name: "test",
    module,
    logger: createLogger({ level: "silent", name: "test" }),
    ...options,
  });
  onTestFinished(() => processes.close("now"));
  return processes;
}

/** Whether there is such a process that has not ended: one that nobody has waited for yet has. */
async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "State:\tX");
  return !/^State:\s+[XZ]/m.test(status);
}

test("a job is answered from a process of its own, which is told its data and nothing of the environment", async () => {
  const processes = make({ data: { file: "x" } });
  const answer = await processes.run("echo", { value: new Map([[1, undefined]]) }, "a");
  expect(answer).toMatchObject({ value: new Map([[1, undefined]]), data: { file: "x" } });
  expect(answer.pid).not.toBe(process.pid);
  expect(await processes.run("environment", undefined, "a")).toEqual({});
});

test("a job that throws or nests too deeply fails alone, and the next has the same process", async () => {
  const processes = make({ processes: 1 });
  const { pid } = await processes.run("echo", { value: 1 }, "a");
  await expect(processes.run("fail", { message: "of no use" }, "a")).rejects.toThrow("of no use");
  await expect(processes.run("recurse", undefined, "a")).rejects.toThrow("call stack");
  expect(await processes.run("echo", { value: 2 }, "a")).toMatchObject({ value: 2, pid });
});

test("a job that does not end is killed with its process at the deadline, and the next is done", async () => {
  const processes = make({ processes: 1, deadlineMs: 500 });
  const { pid } = await processes.run("echo", { value: 1 }, "a");
  await expect(processes.run("loop", undefined, "a")).rejects.toMatchObject({ code: "TIMEOUT" });
  await eventually("its end", async () => !(await isRunning(pid)));
  expect(await processes.run("echo", { value: 2 }, "a")).toMatchObject({ value: 2 });
});

test("a job that takes all memory, or ends its process, fails alone", async () => {
  const processes = make({ processes: 1, memoryMb: 32, deadlineMs: 60_000 });
  await expect(processes.run("fill", undefined, "a")).rejects.toMatchObject({ code: "CAPACITY_EXHAUSTED" });
  await expect(processes.run("end", undefined, "a")).rejects.toThrow("ended during a job");
  expect(await processes.run("echo", { value: 2 }, "a")).toMatchObject({ value: 2 });
});

test("one caller's jobs never keep another's waiting, and only so many wait", async () => {
  const processes = make({ processes: 2, deadlineMs: 60_000 });
  const loops = (caller: string, count: number) =>
    Array.from({ length: count }, () => processes.run("loop", undefined, caller));
  // One of them runs.
  const slow = loops("slow", 33);
  await expect(processes.run("echo", { value: 0 }, "slow")).rejects.toMatchObject({ code: "RATE_LIMITED" });
  expect(await processes.run("echo", { value: 1 }, "quick")).toMatchObject({ value: 1 });
  const quick = Array.from({ length: 3 }, (_, value) => processes.run("echo", { value }, "quick"));
  expect((await Promise.all(quick)).map(({ value }) => value)).toEqual([0, 1, 2]);
  // One more runs: 1,000 wait.
  const others = Array.from({ length: 31 }, (_, caller) => loops(`other ${caller}`, caller === 0 ? 9 : 32)).flat();
  await expect(processes.run("echo", { value: 9 }, "third")).rejects.toMatchObject({ code: "CAPACITY_EXHAUSTED" });
  const ends = Promise.allSettled([...slow, ...others]);
  await processes.close("now");
  expect(new Set((await ends).map(({ status }) => status))).toEqual(new Set(["rejected"]));
});

test("closing lets jobs end that were taken, or kills them at once, and leaves no process", async () => {
  const patient = make({ processes: 1 });
  const jobs = [1, 2, 3].map((value) => patient.run("echo", { value }, "a"));
  await patient.close("finish");
  const answers = await Promise.all(jobs);
  expect(answers.map(({ value }) => value)).toEqual([1, 2, 3]);
  expect(await isRunning(answers[0]?.pid ?? 0)).toBe(false);
  await expect(patient.run("echo", { value: 4 }, "a")).rejects.toThrow("stopping");

  const hasty = make({ processes: 1, deadlineMs: 600_000 });
  const { pid } = await hasty.run("echo", { value: 1 }, "a");
  const endless = expect(hasty.run("loop", undefined, "a")).rejects.toThrow("stopping");
  await hasty.close("now");
  await endless;
  expect(await isRunning(pid)).toBe(false);
});

test("once Toolyard stops, jobs have a little longer, not their whole deadline", async () => {
  const stopping = new AbortController();
  const processes = make({ processes: 1, deadlineMs: 600_000, signal: stopping.signal, stopMs: 100 });
  const { pid } = await processes.run("echo", { value: 1 }, "a");
  const endless = [processes.run("loop", undefined, "a"), processes.run("loop", undefined, "a")];
  stopping.abort();
  const closed = processes.close("finish");
  expect((await Promise.allSettled(endless)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  await closed;
  expect(await isRunning(pid)).toBe(false);
});

test("a process without work ends by itself after a while", async () => {
  const processes = make({ idleMs: 50 });
  const { pid } = await processes.run("echo", { value: 1 }, "a");
  await eventually("its end", async () => !(await isRunning(pid)));
});

test("a process in an endless job ends with its parent, however that ends", async () => {
  const parent = fork(new URL("./fixtures/parent.ts", import.meta.url), {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const [pid] = (await once(parent, "message")) as [number];
  expect(await isRunning(pid)).toBe(true);
  parent.kill("SIGKILL");
  await eventually("its end", async () => !(await isRunning(pid)));
});
