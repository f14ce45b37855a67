import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, openSync, closeSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const TALKS = join(import.meta.dirname, "fixtures/talks.ts");

test.skipIf(!existsSync("/dev/full"))("a full disk under the log does not end a process", async () => {
  const full = openSync("/dev/full", "w");
  const child = spawn(process.execPath, [TALKS], { stdio: ["ignore", full, "ignore"] });
  closeSync(full);
  expect(await once(child, "exit")).toEqual([7, null]);
});

test("a reader of the log that goes away does not end a process", async () => {
  const child = spawn(process.execPath, [TALKS], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  child.stderr.destroy();
  expect(await once(child, "exit")).toEqual([7, null]);
});
