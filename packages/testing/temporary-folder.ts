import { chmod, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { eventually } from "./eventually.ts";

/** Short: paths of sockets have 108 characters at most. */
const PREFIX = "ty-";
/** Node's, of programs such as npm that keep there what they have compiled. */
const COMPILED = "node-compile-cache";
/** What a test file leaves to its process's end is removed a moment after the file. */
const LATE_MS = 10_000;

/** For Vitest's `globalSetup`: gives the run a temporary folder of its own, and says what tests leave there. */
export default async function useOwnTemporaryFolder(): Promise<(() => Promise<void>) | undefined> {
  const outer = tmpdir();
  // That of the run, which Vitest sets up once for each of its projects.
  if (basename(outer).startsWith(PREFIX)) return undefined;
  const folder = await mkdtemp(join(outer, PREFIX));
  // Other users, as whom tests start programs, reach what is theirs.
  await chmod(folder, 0o711);
  process.env["TMPDIR"] = folder;
  return async () => {
    const leftNow = async () => (await readdir(folder)).filter((name) => name !== COMPILED);
    try {
      await eventually("an empty folder", async () => (await leftNow()).length === 0, LATE_MS);
    } catch {
      const left = await readdir(folder, { recursive: true });
      process.stderr.write(`Tests have left in ${folder}: ${left.slice(0, 20).join(", ")}\n`);
    }
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
  };
}
