import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLineLog, printLine } from "@toolyard/bridge/child/line-log.ts";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createReplicaLog } from "./replica-log.ts";

let folder: string;
let stdout: string;
let log: ReturnType<typeof createReplicaLog>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-replica-log-"));
  stdout = join(folder, "stdout.log");
  await writeFile(stdout, "");
  await writeFile(join(folder, "stderr.log"), "");
  log = createReplicaLog({ stdout, stderr: join(folder, "stderr.log"), key: "of this start", maxBytes: 1_000_000 });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const line = { at: 5, stream: "SYSTEM" as const, text: "the server ended with code 1" };

test("what the bridge says by the key of its start, and the runtime, is Toolyard's word", async () => {
  const lines: string[] = [];
  createLineLog(
    (text) => lines.push(text),
    () => 5,
    (text) => text,
    "of this start",
  ).write("SYSTEM", line.text);
  await appendFile(stdout, lines.join(""));
  log.note(6, "Killed by Toolyard: it used too much.");
  expect(log.readLast(10)).toEqual([line, { at: 6, stream: "SYSTEM", text: "Killed by Toolyard: it used too much." }]);
});

test.each([
  ["a line as Toolyard's were once", () => JSON.stringify(line)],
  ["a mark that is made up", () => JSON.stringify({ ...line, mark: "x".repeat(43) })],
  ["the mark of another start", () => printLine(line, "of another start").trim()],
  [
    "the mark of other words",
    () => JSON.stringify({ ...JSON.parse(printLine(line, "of this start")), text: "all is well" }),
  ],
  ["another time than was marked", () => JSON.stringify({ ...JSON.parse(printLine(line, "of this start")), at: 9 })],
  [
    "another stream than was marked",
    () => JSON.stringify({ ...JSON.parse(printLine(line, "of this start")), stream: "STDERR" }),
  ],
])("%s, printed by a replica, is a line of its own", async (_what, forge) => {
  const forged = forge();
  await appendFile(stdout, `${forged}\n`);
  log.observe(7);
  expect(log.readLast(10)).toEqual([{ at: 7, stream: "STDOUT", text: forged }]);
  expect(await readFile(stdout, "utf8")).toContain(forged);
});

test("a file made long without a byte in it is read at its end only", async () => {
  await truncate(stdout, 2 ** 40);
  await appendFile(stdout, "\nthe end\n");
  expect(log.readLast(2).at(-1)?.text).toBe("the end");
});

const LEASE = `
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
os.write(file, b"x" * int(sys.argv[2]) + b"\\n")
fcntl.fcntl(file, fcntl.F_SETSIG, 0)
import signal
signal.signal(signal.SIGIO, signal.SIG_IGN)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
`;
const canLease = process.platform === "linux" && spawnSync("python3", ["--version"]).status === 0;

test.runIf(canLease)("a replica with a lease on its file keeps nobody waiting, and its log from rotation", async () => {
  const holder = spawn("python3", ["-c", LEASE, stdout, "1000001"], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    await once(holder.stdout, "data");
    // The kernel would have one that waits do so until it breaks the lease, after 45 s, and then there is no EAGAIN.
    expect(log.readLast(10)).toEqual([]);
    log.note(8, "Killed by Toolyard: it kept its log from being rotated.");
    expect(() => log.observe(9)).toThrow(expect.objectContaining({ code: "EAGAIN" }));
  } finally {
    holder.kill("SIGKILL");
  }
});
