import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createMemory } from "./memory.ts";

const GiB = 1024 ** 3;

test("the kernel's kills for want of memory are counted where either version of control groups counts them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "bridge-memory-"));
  try {
    const [events, absent] = [join(folder, "memory.events"), join(folder, "memory.oom_control")];
    await writeFile(events, "low 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n");
    const killsOf = (killCounts: string[]) =>
      createMemory({ now: () => 0, limitBytes: null, limitTasks: null, killCounts }).kills?.();
    expect(killsOf([events, absent])).toBe(2);
    expect(killsOf([absent])).toBe(0);
    await writeFile(absent, "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
    expect(killsOf([join(folder, "nothing"), absent])).toBe(4);
  } finally {
    await rm(folder, { recursive: true });
  }
});

describe("room for another child", () => {
  test("is as much as the machine has to give", () => {
    let free = 4 * GiB;
    let time = 0;
    const memory = createMemory({ now: () => time, limitBytes: null, limitTasks: null, available: () => free });
    expect(memory.room([])).toBeGreaterThan(10);
    free = 50 * 1024 ** 2;
    expect(memory.room([])).toBe(0);
  });

  test("is reckoned for those that were started since it was looked, too", () => {
    const memory = createMemory({ now: () => 0, limitBytes: 2 * GiB, limitTasks: null, available: () => 64 * GiB });
    // Process groups that are not there.
    const groups = (count: number) => Array.from({ length: count }, (_, n) => 2 ** 22 + 1 + n);
    const room = memory.room(groups(0));
    expect(room).toBeGreaterThan(8);
    expect(memory.room(groups(8))).toBe(room - 8);
    expect(memory.room(groups(80))).toBe(0);
    expect(memory.room(groups(8))).toBe(room - 8);
  });

  test.runIf(process.platform === "linux")("ends where processes and threads do", async () => {
    const child = spawn(process.execPath, ["-e", "console.log('up'); setInterval(() => {}, 1000)"], {
      detached: true,
      stdio: ["ignore", "pipe", "ignore"],
    });
    try {
      await once(child.stdout, "data");
      const memoryOf = (limitTasks: number) =>
        createMemory({ now: () => 0, limitBytes: null, limitTasks, available: () => 64 * GiB });
      expect(memoryOf(10_000).room([child.pid ?? 0])).toBeGreaterThan(1);
      expect(memoryOf(10).room([child.pid ?? 0])).toBe(0);
    } finally {
      child.kill("SIGKILL");
    }
  });
});
