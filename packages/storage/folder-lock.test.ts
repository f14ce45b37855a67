import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockFolder } from "./folder-lock.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-lock-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("a folder that another process has is refused with a word on what to do, and is free once that process was killed", async () => {
  const holder = spawn(process.execPath, [join(import.meta.dirname, "fixtures/lock-holder.ts"), folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(holder, "exit");
  try {
    await once(holder.stdout, "data");
    await expect(lockFolder(folder, { waitMs: 0 })).rejects.toMatchObject({
      code: "CONFLICT",
      message: expect.stringMatching(/in use by another Toolyard.*DATA_DIR/),
    });
  } finally {
    holder.kill("SIGKILL");
    await ended;
  }
  const lock = await lockFolder(folder, { waitMs: 0 });
  lock.release();
});

test("whoever comes while it is let go waits for it", async () => {
  const first = await lockFolder(folder);
  const second = lockFolder(folder, { waitMs: 10_000 });
  first.release();
  (await second).release();
});
