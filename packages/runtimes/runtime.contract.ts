import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ReplicaHandle, ReplicaLogLine, ReplicaSpec, Runtime } from "./runtime.ts";
import { stopAll } from "./fixtures/stop-all.ts";

/** What a replica of the contract suite does. */
export type Behaviour =
  /** Serves until it is told to end. */
  | "SERVES"
  /** Ends by SIGKILL only. */
  | "IGNORES_SIGTERM"
  /** Ends at once with status 3, having said "there is no configuration". */
  | "EXITS_AT_ONCE"
  /** Cannot be started: BAD_USER_INPUT. */
  | "CANNOT_RUN";

/** One adapter, with a world of its own to run in. */
export interface RuntimeHarness {
  runtime: Runtime;
  spec(name: string, behaviour: Behaviour): Promise<ReplicaSpec>;
  /** A runtime as the next control plane has it, in the same world, after this one's `close`. */
  successor(): Promise<Runtime>;
  /** The replica's main process is killed by somebody else. */
  killFromOutside(handle: ReplicaHandle): Promise<void>;
  /** Has the replica, which SERVES, print this. */
  print(spec: ReplicaSpec, text: string): Promise<void>;
  /** Processes, files and open ports of the replica that are there now; none once it is forgotten. */
  remains(spec: ReplicaSpec): Promise<string[]>;
  close(): Promise<void>;
}

const GRACE_MS = 300;
const LONG_MS = 8_000;

/** What a runtime keeps to whose replicas others run. */
export function remoteContract(name: string, open: () => Runtime): void {
  describe(`runtime contract: ${name}`, () => {
    const spec: ReplicaSpec = {
      replicaId: "replica",
      deploymentId: "deployment",
      userId: "user",
      name: "elsewhere",
      launch: { kind: "remote", url: "https://mcp.example.com" },
      host: "127.0.0.1",
      port: null,
      token: "token",
      secrets: [],
      resources: { cpus: null, memoryMb: null, processes: null, diskMb: null },
    };

    test("says where its replica answers, takes no port, and has nothing to list, stop or leave", async () => {
      const runtime = open();
      const handle = await runtime.start(spec);
      expect(JSON.parse(JSON.stringify(handle))).toEqual(handle);
      expect(handle).toMatchObject({ name: spec.name, endpoint: { url: "https://mcp.example.com", owner: null } });
      expect(runtime.needsPort("remote", spec.host)).toBe(false);
      expect(await runtime.list()).toEqual([]);
      await runtime.stop(handle, 0);
      await runtime.stop(handle, 0);
      await runtime.forget(handle);
      expect(await runtime.logs(handle, 10)).toEqual([]);
      for await (const line of runtime.followLogs(handle, AbortSignal.timeout(LONG_MS))) expect(line).toBeUndefined();
      await runtime.close();
      // The next one, on whatever host, knows it.
      const next = open();
      expect(await next.recognize(handle)).toEqual(handle);
      expect((await next.inspect(handle)).alive).toBe(true);
      await next.close();
    });

    test("refuses what it would have to start", async () => {
      const launch = { kind: "image" as const, image: "image", args: [], env: {}, writablePaths: [], port: 80 };
      await expect(open().start({ ...spec, launch })).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
    });
  });
}

/** What every runtime keeps to that starts replicas. */
export function runtimeContract(name: string, open: () => Promise<RuntimeHarness>): void {
  describe(`runtime contract: ${name}`, () => {
    let harness: RuntimeHarness;
    let runtime: Runtime;
    beforeEach(async () => {
      harness = await open();
      runtime = harness.runtime;
    });
    afterEach(async () => {
      await stopAll(runtime, 0);
      await runtime.close();
      await harness.close();
    });

    test("a started replica runs, is listed with its ids, and is gone without a trace once stopped and forgotten", async () => {
      const spec = await harness.spec("one", "SERVES");
      const before = Date.now();
      const handle = await runtime.start(spec);
      const liveness = await runtime.inspect(handle);
      expect(liveness.alive && Math.abs(liveness.startedAt - before)).toBeLessThan(5_000);
      const { replicaId, deploymentId } = spec;
      expect(await runtime.list()).toEqual([{ handle, replicaId, deploymentId }]);
      expect(JSON.parse(JSON.stringify(handle))).toEqual(handle);

      await runtime.stop(handle, LONG_MS);
      expect((await runtime.inspect(handle)).alive).toBe(false);
      expect(await runtime.list()).toEqual([]);
      await runtime.forget(handle);
      expect(await harness.remains(spec)).toEqual([]);
    });

    test("a repeated start finds the first", async () => {
      const spec = await harness.spec("repeated", "SERVES");
      const [one, other] = await Promise.all([runtime.start(spec), runtime.start(spec)]);
      expect(other).toEqual(one);
      expect(await runtime.start(spec)).toEqual(one);
      expect(await runtime.list()).toHaveLength(1);
    });

    test("a name whose replica has ended can be started anew", async () => {
      const spec = await harness.spec("anew", "SERVES");
      const first = await runtime.start(spec);
      await runtime.stop(first, LONG_MS);
      const second = await runtime.start(spec);
      expect(second).not.toEqual(first);
      expect((await runtime.inspect(second)).alive).toBe(true);
      expect((await runtime.inspect(first)).alive).toBe(false);
    });

    test("stopping twice, at the same time, and what never was, is no error", async () => {
      const handle = await runtime.start(await harness.spec("twice", "SERVES"));
      await Promise.all([runtime.stop(handle, LONG_MS), runtime.stop(handle, LONG_MS)]);
      await runtime.stop(handle, LONG_MS);
      await runtime.forget(handle);
      await runtime.stop(handle, 0);
      await runtime.forget(handle);
      expect((await runtime.inspect(handle)).alive).toBe(false);
      expect(await runtime.logs(handle, 10)).toEqual([]);
    });

    test("a replica that ignores SIGTERM is killed after the grace period, or at once when a second stop says so", async () => {
      const patient = await harness.spec("patient", "IGNORES_SIGTERM");
      const hasty = await harness.spec("hasty", "IGNORES_SIGTERM");
      const [first, second] = await Promise.all([runtime.start(patient), runtime.start(hasty)]);
      // They have said something once they are deaf to SIGTERM.
      for (const handle of [first, second]) {
        await expect.poll(async () => (await runtime.logs(handle, 1)).length).toBe(1);
      }
      // oxlint-disable-next-line no-restricted-properties -- the time is the system's, and a busy machine only adds to it
      const begun = performance.now();
      await runtime.stop(first, GRACE_MS);
      // oxlint-disable-next-line no-restricted-properties -- as above
      expect(performance.now() - begun).toBeGreaterThan(GRACE_MS * 0.9);
      const slow = runtime.stop(second, 60_000);
      await runtime.stop(second, 0);
      await slow;
      expect(await runtime.list()).toEqual([]);
      for (const handle of [first, second]) await runtime.forget(handle);
      for (const spec of [patient, hasty]) expect(await harness.remains(spec)).toEqual([]);
    });

    test("a replica that ends by itself is told once, with its status and last words, and its log stays until it is forgotten", async () => {
      const told: Parameters<Parameters<Runtime["onExit"]>[0]>[] = [];
      runtime.onExit((...end) => told.push(end));
      const spec = await harness.spec("ending", "EXITS_AT_ONCE");
      const handle = await runtime.start(spec);
      await expect.poll(() => told).toEqual([[handle, spec.deploymentId]]);
      expect(await runtime.inspect(handle)).toMatchObject({ alive: false, exitCode: 3, signal: null });
      const said = expect.objectContaining({ text: "there is no configuration" });
      expect(await runtime.logs(handle, 10)).toContainEqual(said);
      await runtime.stop(handle, LONG_MS);
      await runtime.forget(handle);
      expect(await runtime.logs(handle, 10)).toEqual([]);
      expect(await harness.remains(spec)).toEqual([]);
      expect(told).toHaveLength(1);
    });

    test("a replica that is killed from outside is told; one that is stopped is not, nor is one after unsubscribing", async () => {
      const told: string[] = [];
      const unsubscribe = runtime.onExit((handle) => told.push(handle.name));
      const [killed, stopped, later] = await Promise.all(
        ["killed", "stopped", "later"].map(async (each) => runtime.start(await harness.spec(each, "SERVES"))),
      );
      if (!killed || !stopped || !later) throw new Error("not started");
      await runtime.stop(stopped, LONG_MS);
      await harness.killFromOutside(killed);
      await expect.poll(() => told).toEqual(["killed"]);
      unsubscribe();
      await harness.killFromOutside(later);
      await expect.poll(async () => (await runtime.inspect(later)).alive).toBe(false);
      expect(told).toEqual(["killed"]);
    });

    test("a launch that cannot be run is refused in words, and nothing is left of it", async () => {
      const spec = await harness.spec("refused", "CANNOT_RUN");
      await expect(runtime.start(spec)).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
      expect(await runtime.list()).toEqual([]);
      expect(await harness.remains(spec)).toEqual([]);
    });

    test("an aborted start starts nothing", async () => {
      const spec = await harness.spec("aborted", "SERVES");
      await expect(runtime.start(spec, AbortSignal.abort())).rejects.toThrow();
      expect(await runtime.list()).toEqual([]);
      expect(await harness.remains(spec)).toEqual([]);
    });

    test("a replica that runs is not forgotten", async () => {
      const handle = await runtime.start(await harness.spec("kept", "SERVES"));
      await expect(runtime.forget(handle)).rejects.toMatchObject({ code: "CONFLICT" });
      expect((await runtime.inspect(handle)).alive).toBe(true);
    });

    test("new log lines are followed until the replica is gone", async () => {
      const spec = await harness.spec("followed", "SERVES");
      const handle = await runtime.start(spec);
      const lines: ReplicaLogLine[] = [];
      const followed = (async () => {
        for await (const line of runtime.followLogs(handle, AbortSignal.timeout(LONG_MS))) lines.push(line);
      })();
      const said = expect.objectContaining({ text: "hello there", stream: "STDOUT", at: expect.any(Number) });
      // Again: what was printed before an engine had begun to follow is not new.
      const printed = async () => {
        await harness.print(spec, "hello there");
        return lines;
      };
      await expect.poll(printed).toContainEqual(said);
      expect(await runtime.logs(handle, 100)).toContainEqual(said);
      const whole: ReplicaLogLine[] = [];
      for await (const line of runtime.followLogs(handle, AbortSignal.timeout(LONG_MS), "START"))
        if (whole.push(line) > 0 && line.text === "hello there") break;
      expect(whole).toContainEqual(said);
      expect((await runtime.logs(handle, 1)).length).toBe(1);
      expect(await runtime.logs(handle, 0)).toEqual([]);
      await runtime.stop(handle, LONG_MS);
      await followed;
    });

    test("following ends when its signal aborts", async () => {
      const handle = await runtime.start(await harness.spec("aborted-follower", "SERVES"));
      const controller = new AbortController();
      const following = (async () => {
        for await (const line of runtime.followLogs(handle, controller.signal)) expect(line).toBeDefined();
      })();
      controller.abort();
      await following;
    });

    test("replicas outlive the control plane; the next one finds them, is told of their end, and can stop them", async () => {
      const specs = [await harness.spec("adopted", "SERVES"), await harness.spec("dying", "SERVES")];
      const [adopted, dying] = await Promise.all(specs.map((spec) => runtime.start(spec)));
      if (!adopted || !dying) throw new Error("not started");
      await runtime.close();
      runtime = await harness.successor();
      const told: ReplicaHandle[] = [];
      runtime.onExit((handle) => told.push(handle));

      expect((await runtime.list()).map(({ handle }) => handle.name).toSorted()).toEqual(["adopted", "dying"]);
      expect((await runtime.inspect(adopted)).alive).toBe(true);
      const [first] = specs;
      expect(first && (await runtime.start(first))).toEqual(adopted);
      await harness.killFromOutside(dying);
      await expect.poll(() => told).toEqual([dying]);
      await runtime.stop(adopted, LONG_MS);
      expect(await runtime.list()).toEqual([]);
      for (const handle of [adopted, dying]) await runtime.forget(handle);
      for (const spec of specs) expect(await harness.remains(spec)).toEqual([]);
    });

    test("all replicas are stopped side by side", async () => {
      const specs = await Promise.all(["a", "b", "c"].map((each) => harness.spec(each, "IGNORES_SIGTERM")));
      for (const spec of specs) await runtime.start(spec);
      await stopAll(runtime, GRACE_MS);
      expect(await runtime.list()).toEqual([]);
    });
  });
}
