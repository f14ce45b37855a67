import { once } from "node:events";
import { randomUUID } from "node:crypto";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream";
import { noContainers } from "@toolyard/testing/containers.ts";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TRUST_FOLDER } from "./container/passed-on.ts";
import { engineTests, openDockerHarness, type DockerHarness } from "./docker-runtime.harness.ts";
import { stopAll } from "./fixtures/stop-all.ts";
import { createTrust } from "./host/trust.ts";
import type { ReplicaHandle, ReplicaSpec } from "./runtime.ts";

const SERVES = ["node", "/http-server.mjs"];

interface Inspected {
  Id: string;
  Config: { Labels: Record<string, string> };
  Mounts: { Type: string; Name: string; Destination: string }[];
  NetworkSettings: { Ports: Record<string, { HostIp: string; HostPort: string }[]> };
}

/** A Unix socket before the engine's, which can be cut. */
async function openRelay() {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-relay-"));
  const path = join(folder, "engine.sock");
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    const target = connect((process.env["TEST_DOCKER_HOST"] ?? "").slice("unix://".length));
    for (const each of [socket, target]) sockets.add(each.once("close", () => sockets.delete(each)));
    pipeline(socket, target, socket, () => undefined);
  });
  const open = () => once(server.listen(path), "listening");
  const cut = async (): Promise<void> => {
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  await open();
  return {
    url: `unix://${path}`,
    open,
    cut,
    async [Symbol.asyncDispose]() {
      if (server.listening) await cut();
      await rm(folder, { recursive: true });
    },
  };
}

describe.skipIf(noContainers !== null)(engineTests, () => {
  let harness: DockerHarness;
  beforeEach(async () => {
    harness = await openDockerHarness();
  });
  afterEach(async () => {
    await stopAll(harness.runtime, 0);
    await harness.runtime.close();
    await harness.close();
  });
  const look = ({ identity }: ReplicaHandle) =>
    harness.engine.ask<Inspected>("GET", `/containers/${identity["id"]}/json`);
  const networks = async ({ identity }: ReplicaHandle) => {
    const filters = encodeURIComponent(JSON.stringify({ label: [`dev.toolyard.owner=${identity["owner"]}`] }));
    return (await harness.engine.ask<unknown[]>("GET", `/networks?filters=${filters}`)).length;
  };

  test("a replica has its environment and limits, no powers, a read-only root and a /tmp, and is published on loopback only", async () => {
    const spec = harness.image("confined", SERVES);
    const resources = { cpus: 0.5, memoryMb: 200, processes: 40, diskMb: 16 };
    const env = { GREETING: "hello there=you" };
    const launch = { ...spec.launch, env, writablePaths: ["/opt/notes"] } as ReplicaSpec["launch"];
    const handle = await harness.runtime.start({ ...spec, launch, resources });
    const { Config, NetworkSettings } = await look(handle);
    expect(NetworkSettings.Ports["3000/tcp"]).toMatchObject([{ HostIp: "127.0.0.1" }]);
    expect(Config.Labels).toMatchObject({
      "managed-by": "toolyard",
      "dev.toolyard.name": "confined",
      "dev.toolyard.deployment": spec.deploymentId,
      "dev.toolyard.replica": spec.replicaId,
    });
    const ask = (question: string) => harness.ask(handle, question);
    expect(await ask("/environment")).toMatchObject({ PORT: "3000", GREETING: "hello there=you" });
    const status = await ask("/read?of=/proc/self/status");
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(status).toMatch(/^CapBnd:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(await ask("/write?of=/here")).toEqual({ error: "EROFS" });
    expect(await ask("/write?of=/opt/here")).toEqual({ error: "EROFS" });
    for (const folder of ["/tmp", "/opt/notes"]) expect(await ask(`/write?of=${folder}/here`)).toBe("written");
    expect(await ask("/read?of=/proc/mounts")).toMatch(/ \/opt\/notes tmpfs .*size=16384k/);
    const limit = async (...files: string[]) => {
      for (const file of files) {
        const read = await ask(`/read?of=/sys/fs/cgroup/${file}`);
        if (typeof read === "string") return read.trim();
      }
      return null;
    };
    expect(await limit("memory.max", "memory/memory.limit_in_bytes")).toBe(String(200 * 1_048_576));
    expect(await limit("pids.max", "pids/pids.max")).toBe("40");
    expect(await limit("cpu.max", "cpu/cpu.cfs_quota_us")).toMatch(/^50000\b/);
  });

  test("a replica that takes more memory than it may is killed, and said to have run out of it", async () => {
    const spec = harness.image("greedy", SERVES);
    const handle = await harness.runtime.start({ ...spec, resources: { ...spec.resources, memoryMb: 64 } });
    const told = new Promise((tell) => void harness.runtime.onExit(tell));
    await harness.ask(handle, "/directory");
    await fetch(`${handle.endpoint.url}/grow?of=200`).catch(() => null); // It is killed before it answers.
    expect(await told).toEqual(handle);
    expect(await harness.runtime.inspect(handle)).toMatchObject({
      alive: false,
      signal: "SIGKILL",
      why: expect.stringContaining("ran out of memory, of which it may use 64 MB"),
    });
  });

  test("nothing is left of a replica that ended at once with 0: no volume of its image, and no network with the last one", async () => {
    const told = new Promise((tell) => void harness.runtime.onExit(tell));
    const handle = await harness.runtime.start(harness.image("done", ["node", "-e", "0"]));
    expect(await told).toEqual(handle);
    expect(await harness.runtime.inspect(handle)).toEqual({ alive: false, exitCode: 0, signal: null, detail: null });
    expect(await networks(handle)).toBe(1);
    await harness.runtime.forget(handle);
    expect(await networks(handle)).toBe(0);
  });

  test("in place of a volume that its image declares a replica has as much room as in /tmp, and no more", async () => {
    const world = await openDockerHarness({ passedOn: { environment: {}, trust: createTrust([]) } });
    const tag = `localhost/toolyard-volume-${randomUUID()}`;
    try {
      const base = await world.runtime.start(world.image("base", SERVES));
      const changes = encodeURIComponent("VOLUME /data");
      await world.engine.ask("POST", `/commit?container=${base.identity["id"]}&repo=${tag}&changes=${changes}`, {});
      const spec = world.image("with-volume", SERVES, `${tag}:latest`);
      const handle = await world.runtime.start({ ...spec, resources: { ...spec.resources, diskMb: 16 } });
      expect(await world.ask(handle, "/write?of=/data/here")).toBe("written");
      expect(await world.ask(handle, "/read?of=/proc/mounts")).toMatch(/ \/data tmpfs .*size=16384k/);
      const { Mounts } = await look(handle);
      expect(Mounts.filter(({ Type }) => Type === "volume").map(({ Destination }) => Destination)).toEqual([
        TRUST_FOLDER,
      ]);
    } finally {
      await stopAll(world.runtime, 0);
      await world.runtime.close();
      await world.close();
      await harness.engine.ask("DELETE", `/images/${tag}`).catch(() => undefined); // It may not have been made.
    }
  });

  test("an image keeps its own values of variables that are passed on; the folder of issuers is not written to, and nothing is left of it", async () => {
    const passedOn = { environment: { PATH: "/nowhere", GREETING: "hello" }, trust: createTrust([]) };
    const world = await openDockerHarness({ passedOn });
    try {
      const handle = await world.runtime.start(world.image("passed-on", SERVES));
      expect(await world.ask(handle, "/environment")).toMatchObject({ PATH: "/usr/local/bin:/bin", GREETING: "hello" });
      expect(await world.ask(handle, `/write?of=${TRUST_FOLDER}/here`)).toEqual({ error: "EROFS" });
      const { Mounts } = await look(handle);
      const [{ Name } = { Name: "" }] = Mounts.filter(({ Type }) => Type === "volume");
      const volume = () => harness.engine.ask("GET", `/volumes/${Name}`).then(() => "there", String);
      expect(await volume()).toBe("there");
      await world.runtime.stop(handle, 0);
      await world.runtime.forget(handle);
      expect(await volume()).toMatch(/404/);
      expect(await world.containersBeside(world.image("passed-on", SERVES))).toEqual([]);
    } finally {
      await stopAll(world.runtime, 0);
      await world.runtime.close();
      await world.close();
    }
  });

  test("an image of a registry that cannot be reached is refused as such, and nothing is left", async () => {
    const spec = harness.image("unreachable", [], "127.0.0.1:1/nobody/nothing:1");
    await expect(harness.runtime.start(spec)).rejects.toMatchObject({
      code: "UPSTREAM_UNAVAILABLE",
      message: expect.stringContaining("127.0.0.1:1/nobody/nothing:1"),
    });
    expect(await harness.remains(spec)).toEqual([]);
  });

  test("replicas of the DATA_DIR that this one is a copy of are neither stopped nor known", async () => {
    const handle = await harness.runtime.start(harness.image("original", SERVES));
    await using copy = await copyOf(harness);
    expect(await copy.runtime.list()).toEqual([]);
    expect(await copy.runtime.recognize(handle)).toBeNull();
    await copy.runtime.stop(handle, 0);
    await copy.runtime.forget(handle);
    expect(await copy.runtime.inspect(handle)).toMatchObject({ alive: false });
    expect((await harness.runtime.inspect(handle)).alive).toBe(true);
  });

  test("while the engine is away all says so and replicas serve; who ended meanwhile is told when it is back", async () => {
    await using relay = await openRelay();
    const world = await openDockerHarness({ engine: { url: relay.url, certificates: null } });
    const { runtime } = world;
    try {
      const [serving, ending] = await Promise.all(
        ["serving", "ending"].map((name) => runtime.start(world.image(name, SERVES))),
      );
      if (!serving || !ending) throw new Error("not started");
      const told: string[] = [];
      runtime.onExit(({ name }) => told.push(name));
      expect(await runtime.problem?.()).toBeNull();

      await relay.cut();
      const away = { code: "UPSTREAM_UNAVAILABLE" };
      expect(await runtime.problem?.()).toMatch(/does not answer \((ENOENT|ECONNREFUSED)\)/);
      await expect(runtime.list()).rejects.toMatchObject(away);
      await expect(runtime.inspect(serving)).rejects.toMatchObject(away);
      await expect(runtime.start(world.image("late", SERVES))).rejects.toMatchObject(away);
      expect(await runtime.recognize(serving)).toEqual(serving);
      expect(await world.ask(serving, "/directory")).toBeDefined();
      await world.killFromOutside(ending);
      expect(told).toEqual([]);

      await relay.open();
      await expect.poll(() => told, { timeout: 15_000 }).toEqual(["ending"]);
      expect((await runtime.inspect(serving)).alive).toBe(true);
    } finally {
      await stopAll(runtime, 0);
      await runtime.close();
      await world.close();
    }
  });

  test("what a killed control plane left half made is removed by the next", async () => {
    const handle = await harness.runtime.start(harness.image("whole", SERVES));
    const { Config } = await look(handle);
    await harness.runtime.close();
    const labels = { ...Config.Labels, "dev.toolyard.name": "half", "dev.toolyard.replica": "half" };
    const half = { Image: "localhost/toolyard-runtime-test:1", Cmd: SERVES, Labels: labels };
    const { Id } = await harness.engine.ask<{ Id: string }>("POST", "/containers/create", half);
    const next = await harness.successor();
    try {
      await expect
        .poll(() =>
          harness.engine.ask("GET", `/containers/${Id}/json`).then(
            () => "there",
            () => "gone",
          ),
        )
        .toBe("gone");
      expect((await next.list()).map((each) => each.handle)).toEqual([handle]);
    } finally {
      await stopAll(next, 0);
      await next.close();
    }
  });
});

async function copyOf({ dataDir, successorAt }: DockerHarness) {
  const folder = await mkdtemp(join(tmpdir(), "toolyard-copy-"));
  await cp(dataDir, folder, { recursive: true });
  const runtime = successorAt(folder);
  return {
    runtime,
    async [Symbol.asyncDispose]() {
      await runtime.close();
      await rm(folder, { recursive: true });
    },
  };
}
