import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

test("a promise that is rejected and that nobody waits for is told, and does not end the process", async () => {
  const main = join(import.meta.dirname, "fixtures", "rejecting-main.ts");
  // It would fail with the exit code 1 and without the output.
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [main]);
  expect(stdout).toBe("still here\n");
  expect(stderr).toContain("nobody waited for it: Error: forgotten");
});
