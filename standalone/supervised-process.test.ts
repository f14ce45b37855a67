import { ConfigError } from "@toolyard/service-kit";
import { fork, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
// oxlint-disable-next-line no-restricted-imports -- the program's own waits are watched
import { setTimeout as delay } from "node:timers/promises";
import { holdSockets } from "@toolyard/service-kit/process/held-sockets.ts";
import { OVER } from "@toolyard/service-kit/process/supervision.ts";
import { freePort } from "@toolyard/testing";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { superviseProcess, type SupervisedProcess } from "./supervised-process.ts";

vi.mock("node:child_process", { spy: true });
// How long the supervisor waits before it starts a proxy again is looked at, not waited for.
vi.mock("node:timers/promises", { spy: true });

const NEVER = new Promise<never>(() => undefined);
const running: SupervisedProcess[] = [];
beforeEach(() => {
  vi.mocked(delay).mockImplementation(async () => NEVER);
});
afterEach(async () => {
  vi.mocked(delay).mockImplementation(async (_ms, value) => value as never);
  await Promise.all(running.splice(0).map((proxy) => proxy.stop(1)));
  vi.resetAllMocks();
  vi.useRealTimers();
});

function start(env: Record<string, string> = {}, print?: (line: string) => void, socket?: number) {
  const logger = { warn: vi.fn<(fields: object) => void>() };
  const entry = join(import.meta.dirname, "fixtures", "part.mjs");
  const flags = ["--max-old-space-size=200"];
  const proxy = superviseProcess({ name: "the proxy", entry, flags, env, socket, logger, ...(print && { print }) });
  running.push(proxy);
  return {
    proxy,
    /** Why it was started again, and after how many ms. */
    restarts: () => logger.warn.mock.calls.map(([fields]) => fields as { reason: string; restart_in_ms: number }),
  };
}

/** Those started so far. */
const children = () => vi.mocked(spawn).mock.results.map(({ value }) => value as ChildProcess);

/** The one that was started as the n-th, once it listens. */
async function listening(n: number): Promise<ChildProcess> {
  await expect.poll(() => children().length).toBeGreaterThanOrEqual(n);
  const child = children()[n - 1] ?? expect.fail();
  await once(child, "message");
  return child;
}

async function killed(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  await once(child, "exit");
}

test("the proxy has the environment that it is given and no more, a bounded heap, and a process group of its own", async () => {
  const { proxy } = start({ PROXY_PORT: "1" });
  await proxy.ready;
  expect(vi.mocked(spawn)).toHaveBeenCalledExactlyOnceWith(
    process.execPath,
    expect.arrayContaining(["--max-old-space-size=200", expect.stringMatching(/part\.mjs$/)]),
    { env: { PROXY_PORT: "1" }, detached: true, stdio: ["ignore", "inherit", "inherit", "ipc"] },
  );
});

test("a proxy that ends is started again, after a pause that doubles up to a bound", async () => {
  vi.mocked(delay).mockImplementation(async (_ms, value) => value as never);
  const { restarts } = start();
  for (let n = 1; n <= 7; n += 1) await killed(await listening(n));
  await listening(8);
  expect(restarts()).toEqual(
    [200, 400, 800, 1_600, 3_200, 5_000, 5_000].map((ms) => ({ reason: "it was ended by SIGKILL", restart_in_ms: ms })),
  );
  expect(vi.mocked(delay).mock.calls.map(([ms]) => ms)).toEqual([200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
});

test("the pause is short again for a proxy that ran for long", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  vi.mocked(delay).mockImplementation(async (_ms, value) => value as never);
  const { restarts } = start();
  for (let n = 1; n <= 3; n += 1) await killed(await listening(n));
  const fourth = await listening(4);
  vi.advanceTimersByTime(10_001);
  await killed(fourth);
  await listening(5);
  expect(restarts().map(({ restart_in_ms }) => restart_in_ms)).toEqual([200, 400, 800, 200]);
});

test("connections to one that does not come back within two seconds are refused until it serves again", async () => {
  const port = await freePort();
  const [socket = 0] = await holdSockets([{ host: "127.0.0.1", port }]);
  const restarted = Promise.withResolvers<undefined>();
  vi.mocked(delay).mockImplementation(async () => restarted.promise as never);
  const { proxy } = start({}, undefined, socket);
  await proxy.ready;
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  await killed(children()[0] ?? expect.fail());
  const waiting = connect(port, "127.0.0.1");
  const end = once(waiting, "error");
  await once(waiting, "connect");
  // Of the maker of the socket.
  expect(vi.mocked(fork)).toHaveBeenCalledTimes(1);
  await vi.advanceTimersByTimeAsync(2_000);
  vi.useRealTimers();
  expect(await end).toMatchObject([{ code: "ECONNRESET" }]);
  const refuser = vi.mocked(fork).mock.results[1]?.value as ChildProcess;
  const refused = once(refuser, "exit");
  restarted.resolve(undefined);
  await listening(2);
  await refused;
});

test("a proxy that never serves is given up after five tries, with its reason", async () => {
  vi.mocked(delay).mockImplementation(async (_ms, value) => value as never);
  const { proxy } = start({ EXIT_CODE: "1" });
  await expect(proxy.ready).rejects.toThrow(
    expect.objectContaining({
      code: "UPSTREAM_UNAVAILABLE",
      message: "the proxy does not start: it exited with code 1. Its output above says why.",
    }),
  );
  expect(children().length).toBe(5);
});

test("a proxy that says that its configuration is wrong is given up at once", async () => {
  const { proxy } = start({ EXIT_CODE: "78" });
  await expect(proxy.ready).rejects.toThrow("the proxy does not start: it exited with code 78.");
  await expect(proxy.ready).rejects.toBeInstanceOf(ConfigError);
  expect(children().length).toBe(1);
});

test("what it tells when it serves is known, and each line that it prints is handed on", async () => {
  const lines: string[] = [];
  const { proxy } = start({ PRINTS: "one\ntwo\n" }, (line) => lines.push(line));
  await expect(proxy.ready).resolves.toEqual({ told: "listening" });
  await expect.poll(() => lines).toEqual(["one", "two"]);
});

test("a proxy that cannot even be spawned is tried again", async () => {
  vi.mocked(delay).mockImplementation(async (_ms, value) => value as never);
  vi.mocked(spawn)
    // As Node does where there is no memory for another process.
    .mockImplementationOnce(() => {
      throw new Error("spawn ENOMEM");
    });
  const { proxy, restarts } = start();
  await proxy.ready;
  expect(restarts().map(({ reason }) => reason)).toEqual(["spawn ENOMEM"]);
});

test("a proxy that is stopped gets SIGTERM, and is not started again", async () => {
  const { proxy, restarts } = start();
  const child = await listening(1);
  await proxy.stop(60_000);
  expect([child.exitCode, child.signalCode]).toEqual([null, "SIGTERM"]);
  expect(children().length).toBe(1);
  expect(restarts()).toEqual([]);
});

test("a proxy that is stopped is told before the signal that it is not started again", async () => {
  const { proxy } = start();
  const child = await listening(1);
  const send = vi.spyOn(child, "send");
  const kill = vi.spyOn(child, "kill");
  await proxy.stop(10_000);
  expect(send).toHaveBeenCalledExactlyOnceWith(OVER, expect.any(Function));
  expect(kill).toHaveBeenCalledAfter(send);
});

test("a proxy that does not end in time is killed", async () => {
  const { proxy } = start({ IGNORES_SIGTERM: "1" });
  const child = await listening(1);
  await proxy.stop(50);
  expect(child.signalCode).toBe("SIGKILL");
});

test("nothing is started once it is stopped, between two tries either", async () => {
  vi.mocked(delay).mockImplementation(async (_ms, _value, options) => {
    await once(options?.signal ?? new AbortController().signal, "abort");
    throw new Error("aborted");
  });
  const { proxy } = start();
  await killed(await listening(1));
  await expect.poll(() => vi.mocked(delay).mock.calls.length).toBeGreaterThan(0);
  await proxy.stop(60_000);
  expect(children().length).toBe(1);
});
