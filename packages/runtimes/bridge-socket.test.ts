import { existsSync, mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pool } from "undici";
import { afterEach, describe, expect, test } from "vitest";
import { connectorTo, originOf } from "./endpoint/connector.ts";
import { withShortPath } from "@toolyard/service-kit/process/presence.mjs";
import { freePort } from "@toolyard/testing/ports.ts";
import { socketPathOf } from "./endpoint/socket-path.ts";
import { openProcessHarness, whyNoBubblewrap, type ProcessHarness } from "./process-runtime.harness.ts";
import type { ReplicaHandle, ReplicaSpec, Runtime } from "./runtime.ts";
import { stopAll } from "./fixtures/stop-all.ts";

const problem = await whyNoBubblewrap();
/** Longer than a socket's path may be. */
const DEEP = join("a-folder-that-is-deep".repeat(4), "b".repeat(60));

let harness: ProcessHarness;
let runtime: Runtime;
let root: string | null = null;
afterEach(async () => {
  await stopAll(runtime, 0);
  await runtime.close();
  await harness.close();
  if (root !== null) await rm(root, { recursive: true, force: true });
  root = null;
});

/** A server on stdio under a real bridge. */
async function specOf(name: string, port: number | null): Promise<ReplicaSpec> {
  const launch: ReplicaSpec["launch"] = {
    kind: "stdio",
    command: "cat",
    args: [],
    env: {},
    workingDirectory: null,
    writablePaths: [],
    sessions: "ISOLATED",
    timeoutSeconds: 30,
    startTimeoutSeconds: 30,
    maxSessions: null,
    idleSeconds: null,
    maxMessageBytes: null,
  };
  return { ...(await harness.fixture(name, "")), launch, port };
}

/** What the bridge says of itself to who has its token. */
async function statusOf({ endpoint }: ReplicaHandle, token: string): Promise<unknown> {
  const callee = { ...endpoint, token };
  const pool = new Pool(originOf(callee), { connect: connectorTo(callee) });
  try {
    const headers = { authorization: `Bearer ${token}` };
    return await (await pool.request({ path: "/status", method: "GET", headers })).body.json();
  } finally {
    await pool.destroy();
  }
}

describe.each([
  { isolation: "none", possible: true },
  { isolation: "bubblewrap", possible: problem === null },
] as const)("with PROCESS_ISOLATION=$isolation", ({ isolation, possible }) => {
  test.skipIf(!possible)(
    "a bridge's socket answers at once, outlives the control plane, is known to the next one, and ends with the replica",
    async () => {
      root = await mkdtemp(join(tmpdir(), "toolyard-socket-"));
      harness = await openProcessHarness({ isolation, dataDir: join(root, DEEP) });
      runtime = harness.runtime;
      const spec = await specOf("stdio", null);
      const handle = await runtime.start(spec);
      const path = socketPathOf(handle.endpoint.url) ?? "";
      expect(path.length).toBeGreaterThan(150);
      // It listened before the bridge was there: who comes early waits and is not refused.
      expect(await statusOf(handle, spec.token)).toMatchObject({ sessions: 0 });
      await expect(statusOf(handle, "another token")).rejects.toThrow("does not prove");

      await runtime.close();
      runtime = await harness.successor();
      expect((await runtime.list()).map((entry) => entry.handle)).toEqual([handle]);
      expect(await statusOf(handle, spec.token)).toMatchObject({ sessions: 0 });

      await runtime.stop(handle, 5_000);
      expect(existsSync(path)).toBe(false);
      await expect(statusOf(handle, spec.token)).rejects.toMatchObject({ code: "ENOENT" });
    },
  );
});

test.skipIf(process.platform !== "linux")(
  "a bridge on a port answers by the address that others are told",
  async () => {
    harness = await openProcessHarness({ isolation: "none" });
    runtime = harness.runtime;
    const spec = { ...(await specOf("stdio", await freePort())), host: "127.0.0.2" };
    const handle = await runtime.start(spec);
    expect(handle.endpoint.url).toBe(`http://127.0.0.2:${spec.port}`);
    expect(await statusOf(handle, spec.token)).toMatchObject({ sessions: 0 });
  },
);

test("the socket of a bridge that is killed is gone, and what a start left that was cut short is in nobody's way", async () => {
  harness = await openProcessHarness({ isolation: "none" });
  runtime = harness.runtime;
  const folder = join(harness.dataDir, "replicas", "stdio");
  mkdirSync(folder, { recursive: true });
  // As a process leaves it that is killed between making the socket and naming it.
  const stale = createServer();
  await new Promise<void>((resolve) =>
    withShortPath(join(folder, "bridge.sock.new"), (path) => void stale.listen(path, resolve)),
  );
  const spec = await specOf("stdio", null);
  const handle = await runtime.start(spec);
  stale.close();
  expect(await statusOf(handle, spec.token)).toMatchObject({ sessions: 0 });
  await harness.killFromOutside(handle);
  await expect
    .poll(() => statusOf(handle, spec.token).catch((error: unknown) => error))
    .toMatchObject({ code: "ENOENT" });
});

test("where replicas are reached from other hosts a bridge has a port, which Toolyard bound; a taken one is said to be", async () => {
  harness = await openProcessHarness({ isolation: "none" });
  runtime = harness.runtime;
  expect(
    ["127.0.0.1", "::1", "localhost", "10.0.0.7", "toolyard.internal"].map((host) => runtime.needsPort("stdio", host)),
  ).toEqual([false, false, false, true, true]);
  expect(runtime.needsPort("http", "127.0.0.1")).toBe(true);
  const { port } = await harness.fixture("any", "");
  const spec = await specOf("stdio", port);
  const handle = await runtime.start(spec);
  expect(handle.endpoint.url).toBe(`http://127.0.0.1:${port}`);
  expect(await statusOf(handle, spec.token)).toMatchObject({ sessions: 0 });
  await expect(statusOf(handle, "another token")).rejects.toThrow("does not prove");
  await expect(runtime.start({ ...(await specOf("second", port)) })).rejects.toMatchObject({
    code: "UPSTREAM_UNAVAILABLE",
    message: "Its port was taken by another process.",
  });
  expect(existsSync(join(harness.dataDir, "replicas", "second"))).toBe(false);
});
