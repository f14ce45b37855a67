import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createProcessTable, createPsProcessTable, MARKS } from "./process-table.ts";

const hasPs = spawnSync("ps", ["-p", String(process.pid)]).status === 0;
/** procps shows environments by `e`, the `ps` of macOS by `-E`. */
const psFlags = process.platform === "linux" ? ["axeww"] : ["-A", "-E", "-ww"];

let child: ChildProcess;
let pid: number;
const marks = { owner: "owner-1", replicaId: crypto.randomUUID(), deploymentId: "deployment-1", name: "name-1" };
beforeEach(async () => {
  const env = {
    [MARKS.owner]: marks.owner,
    [MARKS.replica]: marks.replicaId,
    [MARKS.deployment]: marks.deploymentId,
    [MARKS.name]: marks.name,
  };
  child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { env, detached: true, stdio: "ignore" });
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
  ...(hasPs ? [{ name: "ps", create: () => createPsProcessTable(psFlags) }] : []),
])("the table of $name finds a process by pid and by its marks, and no longer once it is gone", async ({ create }) => {
  const table = create();
  const found = table.find([pid, process.pid]);
  expect(found.size).toBe(2);
  const entry = found.get(pid);
  expect(entry).toMatchObject({ pid, parentPid: process.pid, groupId: pid, sessionId: pid });
  expect(Math.abs((entry?.startedAt ?? 0) - Date.now())).toBeLessThan(10_000);
  expect(table.find([pid]).get(pid)?.startToken).toBe(entry?.startToken);
  const marked = (await table.scan()).find((each) => each.marks?.replicaId === marks.replicaId);
  expect(marked).toMatchObject({ pid, startToken: entry?.startToken, marks });

  child.kill("SIGKILL");
  await once(child, "exit");
  expect(table.find([pid]).size).toBe(0);
  expect((await table.scan()).filter((each) => each.marks?.replicaId === marks.replicaId)).toEqual([]);
});
