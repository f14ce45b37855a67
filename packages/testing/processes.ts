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
