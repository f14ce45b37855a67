import { readFile, readdir } from "node:fs/promises";

/**
 * The pids of processes whose environment or command line holds `text`, such as a DATA_DIR: what a Toolyard has left behind. Linux only.
 */
export async function processesWith(text: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const found = await Promise.all(
    pids.map(async (pid) => {
      if (pid === process.pid) return null;
      const texts = await Promise.all(
        ["environ", "cmdline"].map((file) => readFile(`/proc/${pid}/${file}`, "utf8").catch(() => "")), // ended meanwhile, or another user's
      );
      return texts.some((content) => content.includes(text)) ? pid : null;
    }),
  );
  return found.filter((pid) => pid !== null);
}

/**
 * The CPU time of a process's main thread, its event loop, in ms: how much it works on, which a busy machine does not change.
 * Linux only; 0 elsewhere.
 */
async function loopWorkOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/task/${pid}/stat`, "utf8").catch(() => "");
  // proc_pid_stat(5): the 14th and 15th, in ticks of 10 ms. A name before them may hold spaces and parentheses.
  const [utime = 0, stime = 0] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .slice(11, 13)
    .map(Number);
  return (utime + stime) * 10;
}

/** The most that one of these processes' event loops worked on before `ask` was answered, in ms of its CPU time, while `work` was under way. */
export async function mostLoopWork<Result>(
  pids: readonly number[],
  ask: () => Promise<unknown>,
  work: Promise<Result>,
): Promise<{ result: Result; most: number }> {
  const workNow = () => Promise.all(pids.map(loopWorkOf));
  let most = 0;
  let running = true;
  const asking = (async () => {
    while (running) {
      const before = await workNow();
      await ask();
      most = Math.max(most, ...(await workNow()).map((now, n) => now - (before[n] ?? 0)));
    }
  })();
  try {
    return { result: await work, most };
  } finally {
    running = false;
    await asking;
  }
}

/** How often the threads of these processes have gone to sleep since they were started. Linux only. */
export async function sleepsOf(pids: readonly number[]): Promise<number> {
  const counts = pids.map(async (pid) => {
    const threads = await readdir(`/proc/${pid}/task`).catch(() => []); // ended meanwhile
    const texts = threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/status`, "utf8").catch(() => ""));
    return (await Promise.all(texts)).reduce(
      (sum, text) => sum + Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(text)?.[1] ?? 0),
      0,
    );
  });
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}
