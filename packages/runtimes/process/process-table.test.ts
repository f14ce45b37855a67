import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createProcessTable, createPsProcessTable } from "./process-table.ts";

const hasPs = spawnSync("ps", ["-p", String(process.pid)]).status === 0;
let child: ChildProcess;
let pid: number;
beforeEach(async () => {
  child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { detached: true, stdio: "ignore" });
  await once(child, "spawn");
  pid = child.pid ?? 0;
});
afterEach(async () => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
});

if (!hasPs) test.skip("the table of ps: there is no ps here", () => undefined);

test.each([
  { name: "this host", create: createProcessTable },
  ...(hasPs ? [{ name: "ps", create: () => createPsProcessTable() }] : []),
])("the table of $name finds a process by pid and among all, and no longer once it is gone", async ({ create }) => {
  const table = create();
  const found = table.find([pid, process.pid]);
  expect(found.size).toBe(2);
  const entry = found.get(pid);
  expect(entry).toMatchObject({ pid, parentPid: process.pid, groupId: pid, sessionId: pid });
  expect(Math.abs((entry?.startedAt ?? 0) - Date.now())).toBeLessThan(10_000);
  expect(table.find([pid]).get(pid)?.startToken).toBe(entry?.startToken);
  expect((await table.scan()).find((each) => each.pid === pid)).toMatchObject({ pid, startToken: entry?.startToken });

  child.kill("SIGKILL");
  await once(child, "exit");
  expect(table.find([pid]).size).toBe(0);
  expect((await table.scan()).some((each) => each.pid === pid)).toBe(false);
});
