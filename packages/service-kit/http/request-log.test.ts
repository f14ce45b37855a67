import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { createRequestLog } from "./request-log.ts";

let child: ChildProcess | undefined;
afterEach(() => void child?.kill("SIGKILL"));

const start = (output: number | "pipe") =>
  fork(join(import.meta.dirname, "fixtures", "logs-requests.ts"), [], {
    stdio: ["ignore", output, "inherit", "ipc"],
    execArgv: [],
  });

test("each line is written, in its order, at the latest by a flush", () => {
  const folder = mkdtempSync(join(tmpdir(), "toolyard-log-"));
  const file = join(folder, "log");
  const fd = openSync(file, "w");
  const log = createRequestLog({ enabled: true, level: "info", name: "test", fd });
  for (let n = 0; n < 2_000; n++) log.write({ n, text: "x".repeat(n % 97) }, "asked");
  log.flush();
  const lines = readFileSync(file, "utf8").trim().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { n: number }).n)).toEqual(
    Array.from({ length: 2_000 }, (_, n) => n),
  );
  closeSync(fd);
  rmSync(folder, { recursive: true });
});

test("a reader that goes away holds up nothing", async () => {
  child = start("pipe");
  child.stdout?.destroy();
  for (let n = 0; n < 3; n++) {
    child.send("ask");
    expect(await once(child, "message")).toEqual(["done", undefined]);
  }
});

test.skipIf(!existsSync("/dev/full"))("a full disk holds up nothing", async () => {
  const full = openSync("/dev/full", "w");
  child = start(full);
  closeSync(full);
  // More than may wait.
  for (let n = 0; n < 300; n++) {
    child.send("ask");
    expect(await once(child, "message")).toEqual(["done", undefined]);
  }
});
