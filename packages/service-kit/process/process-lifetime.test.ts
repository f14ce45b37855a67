import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ConfigError } from "./config.ts";
import { ToolyardError } from "../errors/errors.ts";
import { logLifetime, runProcess, type ProcessLifetime } from "./process-lifetime.ts";

test("a promise that is rejected and that nobody waits for is told, and does not end the process", async () => {
  const main = join(import.meta.dirname, "fixtures", "rejecting-main.ts");
  // It would fail with the exit code 1 and without the output.
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [main]);
  expect(stdout).toBe("still here\n");
  expect(stderr).toContain("nobody waited for it: Error: forgotten");
});

describe("a process", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
  afterEach(() => void vi.useRealTimers());

  const SIGNALS = ["SIGTERM", "SIGINT"] as const;

  /** Runs a main in this process; `signal` reaches it alone. */
  function run(main: (lifetime: ProcessLifetime) => Promise<void>) {
    const exits: number[] = [];
    let text = "";
    const before = new Map(SIGNALS.map((name) => [name, process.listeners(name)]));
    const ended = runProcess(main, {
      shutdownSeconds: 10,
      exit: (code) => void exits.push(code),
      stderr: (more) => void (text += more),
    });
    const added = new Map(
      SIGNALS.map((name) => [name, process.listeners(name).filter((one) => !before.get(name)?.includes(one))]),
    );
    return {
      ended,
      exits,
      told: () => text,
      /** Whether it still listens to signals. */
      listens: () => SIGNALS.some((name) => process.listenerCount(name) > (before.get(name)?.length ?? 0)),
      signal: (name: (typeof SIGNALS)[number] = "SIGTERM") => added.get(name)?.forEach((listener) => listener(name)),
    };
  }

  test("drains at SIGTERM for as long as it asked for, before it stops; at SIGINT it stops at once", async () => {
    const order: string[] = [];
    const start = () =>
      run(async (lifetime) => {
        lifetime.drainFor(5_000);
        lifetime.draining.addEventListener("abort", () => order.push("drains"));
        lifetime.signal.addEventListener("abort", () => order.push("stops"));
      });
    const first = start();
    first.signal("SIGTERM");
    await vi.advanceTimersByTimeAsync(4_999);
    expect(order).toEqual(["drains"]);
    await vi.advanceTimersByTimeAsync(1);
    await first.ended;
    expect([order, first.exits]).toEqual([["drains", "stops"], [0]]);
    const second = start();
    second.signal("SIGINT");
    await second.ended;
    expect(order.slice(2)).toEqual(["drains", "stops"]);
  });

  test.each(SIGNALS)("ends at %s: what was started is released in reverse order, and it exits with 0", async (name) => {
    const order: string[] = [];
    const { ended, exits, told, listens, signal } = run(async (lifetime) => {
      lifetime.signal.addEventListener("abort", () => order.push("aborted"));
      for (const part of ["stores", "gateway"])
        lifetime.onShutdown(part, async () => {
          order.push(`${part} ends`);
          await Promise.resolve();
          order.push(`${part} has ended`);
        });
    });
    signal(name);
    await ended;
    expect(order).toEqual(["aborted", "gateway ends", "gateway has ended", "stores ends", "stores has ended"]);
    expect([exits, told()]).toEqual([[0], ""]);
    expect(listens()).toBe(false);
  });

  test("stops by itself as by a signal, and then a first signal is not a second one", async () => {
    const released = Promise.withResolvers<void>();
    const { ended, exits, signal } = run(async (lifetime) => {
      lifetime.onShutdown("the calls", () => released.promise);
      lifetime.stop();
    });
    vi.advanceTimersByTime(5_000);
    signal();
    expect(exits).toEqual([]);
    released.resolve();
    await ended;
    expect(exits).toEqual([0]);
  });

  test("is ended by a second signal at once, unless that is the first one told twice", async () => {
    const released = Promise.withResolvers<void>();
    const { ended, exits, signal } = run(async (lifetime) => lifetime.onShutdown("the calls", () => released.promise));
    signal("SIGINT");
    vi.advanceTimersByTime(900);
    signal("SIGTERM");
    expect(exits).toEqual([]);
    vi.advanceTimersByTime(200);
    signal("SIGINT");
    expect(exits).toEqual([130]);
    released.resolve();
    await ended;
  });

  test("goes on releasing when one part fails, says which, and exits with 1", async () => {
    const release = vi.fn();
    const { ended, exits, told, signal } = run(async (lifetime) => {
      lifetime.onShutdown("stores", release);
      lifetime.onShutdown("the gateway", () => {
        throw new Error("it hangs");
      });
    });
    signal();
    await ended;
    expect(release).toHaveBeenCalledTimes(1);
    expect([exits, told()]).toEqual([[1], "Stopping the gateway failed: it hangs\n"]);
  });

  test.each([
    [
      "a part does not end",
      (lifetime: ProcessLifetime) => lifetime.onShutdown("a part", () => new Promise(() => undefined)),
    ],
    ["it still starts", () => new Promise<void>(() => undefined)],
  ])("exits with 1 within its time when %s", async (_when, main) => {
    const { exits, told, signal } = run(async (lifetime) => main(lifetime));
    vi.advanceTimersByTime(20_000); // no bound before the signal
    signal();
    vi.advanceTimersByTime(9_900);
    expect(exits).toEqual([]);
    vi.advanceTimersByTime(200);
    expect([exits, told()]).toEqual([[1], "Shutdown took longer than 10 s; ending anyway.\n"]);
  });

  test("exits with 1 within its time when its start failed and a part does not end", async () => {
    const { exits } = run(async (lifetime) => {
      lifetime.onShutdown("a part", () => new Promise(() => undefined));
      throw new Error("failed");
    });
    await expect.poll(() => vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(10_000);
    expect(exits).toEqual([1]);
  });

  test("has all its time from the signal on, and no timer left once it has ended", async () => {
    const { ended, exits, signal } = run(async () => undefined);
    signal();
    await ended;
    expect(vi.getTimerCount()).toBe(0);
    expect(exits).toEqual([0]);
  });

  test.each([
    ["a wrong configuration", new ConfigError("PORT: must be a number."), 78, /^PORT: must be a number\.\n$/],
    [
      "an error for people",
      new ToolyardError("CONFLICT", "The folder is in use."),
      1,
      /^Toolyard could not start: The folder is in use\.\n$/,
    ],
    ["a bug", new Error("bug"), 1, /^Toolyard could not start: Error: bug\n +at /],
    [
      "a port in use",
      Object.assign(new Error("listen"), { code: "EADDRINUSE", port: 4000 }),
      1,
      /port 4000 is in use\. Stop/,
    ],
    [
      "a full disk",
      Object.assign(new Error("write"), { code: "ENOSPC", path: "/data/x" }),
      1,
      /no space left on the disk for \/data\/x\. Make/,
    ],
    [
      "a full disk without a path",
      Object.assign(new Error("write"), { code: "EDQUOT" }),
      1,
      /no space left on the disk\. Make/,
    ],
    [
      "a folder of somebody else's",
      Object.assign(new Error("open"), { code: "EACCES", path: "/data/x" }),
      1,
      /may not use \/data\/x\. Give/,
    ],
  ])("that cannot start for %s releases what had started and says so", async (_why, error, code, message) => {
    const release = vi.fn();
    const { ended, exits, told } = run(async (lifetime) => {
      lifetime.onShutdown("stores", release);
      throw error;
    });
    await ended;
    expect(release).toHaveBeenCalledTimes(1);
    expect(told()).toMatch(message);
    expect(exits).toEqual([code]);
  });

  test("whose start a signal interrupts has not failed", async () => {
    const { ended, exits, told, signal } = run(async ({ signal: stopping }) => {
      await new Promise((resolve) => stopping.addEventListener("abort", resolve));
      throw new Error("interrupted");
    });
    signal();
    await ended;
    expect([exits, told()]).toEqual([[0], ""]);
  });

  test("logs that it stops, and that it has stopped once all after it has; of a failed start it says neither", async () => {
    const lines: string[] = [];
    const logger = { info: (line: unknown) => void lines.push(String(line)), warn: () => undefined };
    const { ended, signal } = run(async (lifetime) => {
      logLifetime(lifetime, logger, {});
      lifetime.onShutdown("the gateway", () => void lines.push("the gateway stops"));
    });
    signal();
    await ended;
    expect(lines.splice(0)).toEqual(["stopping", "the gateway stops", "stopped"]);
    await run(async (lifetime) => {
      logLifetime(lifetime, logger, {});
      throw new Error("failed");
    }).ended;
    expect(lines).toEqual([]);
  });
});
