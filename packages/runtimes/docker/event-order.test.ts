import type { ServerResponse } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { eventually } from "@toolyard/testing";
import { expect, onTestFinished, test } from "vitest";
import { startFakeEngine } from "../fixtures/fake-engine.ts";
import type { ReplicaSpec } from "../runtime.ts";
import { LABELS } from "./container-options.ts";
import { createDockerRuntime } from "./docker-runtime.ts";

const spec: ReplicaSpec = {
  replicaId: "replica",
  deploymentId: "deployment",
  userId: "user",
  name: "weather-1",
  launch: { kind: "image", image: "weather:1", args: [], env: {}, writablePaths: [], port: 80 },
  host: "127.0.0.1",
  port: null,
  token: "token",
  secrets: [],
  resources: { cpus: null, memoryMb: null, processes: null, diskMb: null },
};

/** An engine with one container, whose end is told the moment that the test says, and what it lists of before. */
async function openWorld(listed: object[] = []) {
  let labels: Record<string, string> | null = null;
  let alive = true;
  let stream: ServerResponse | null = null;
  const removed: string[] = [];
  /** What happens before the engine answers. */
  const before = {
    inspect: () => undefined as unknown,
    inspectOld: () => undefined as unknown,
    kill: () => undefined as unknown,
  };
  const die = async (): Promise<void> => {
    alive = false;
    const events = await eventually("it is watched", () => stream);
    await new Promise<void>((written) => events.write(`{"Action":"die","id":"c1"}\n`, () => written()));
    // Read before any answer that is written after it: another call has gone round meanwhile.
    await runtime.problem?.();
  };
  const engine = await startFakeEngine((request, response) => {
    const route = `${request.method} ${request.url?.split("?")[0]}`;
    const end = (status: number, body: unknown = {}) => void response.writeHead(status).end(JSON.stringify(body));
    const then = (first: () => unknown, answer: () => void) => void Promise.resolve(first()).then(answer);
    if (route === "GET /events") {
      stream = response.writeHead(200);
      stream.flushHeaders();
    } else if (route === "GET /containers/json") end(200, listed);
    else if (route === "POST /containers/create") {
      request.setEncoding("utf8").on("data", (text: string) => {
        ({ Labels: labels } = JSON.parse(text) as { Labels: Record<string, string> });
      });
      request.on("end", () => end(201, { Id: "c1" }));
    } else if (route === "GET /containers/old/json")
      then(before.inspectOld, () => end(200, { Id: "old", State: { FinishedAt: "2020-01-01T00:00:00Z" } }));
    else if (route.startsWith("DELETE /containers/")) {
      removed.push(route.slice("DELETE /containers/".length));
      end(204);
    } else if (route.startsWith("GET /containers/")) {
      if (!labels) return end(404);
      const [State, Ports] = [{ Running: alive, ExitCode: 0 }, { "80/tcp": [{ HostPort: "5000" }] }];
      const info = { Id: "c1", Config: { Labels: labels }, State, NetworkSettings: { Ports }, HostConfig: {} };
      then(before.inspect, () => end(200, info));
    } else if (route.endsWith("kill")) then(before.kill, () => end(204));
    else end(200, { Config: {} });
  });
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-docker-"));
  const runtime = createDockerRuntime({
    engine: { url: engine.url, certificates: null },
    dataDir,
    imageRegistry: null,
    runnerImage: null,
    credentialsFile: join(dataDir, "config.json"),
    logger: createLogger({ level: "error", name: "runtime" }),
    keepEndedMs: 60_000,
  });
  onTestFinished(async () => {
    await runtime.close();
    await engine[Symbol.asyncDispose]();
    await rm(dataDir, { recursive: true });
  });
  const told: string[] = [];
  runtime.onExit(({ name }) => told.push(name));
  return { runtime, before, die, told, removed };
}

test("an end that the engine tells before the start knows its container is told", async () => {
  const { runtime, before, die, told } = await openWorld();
  before.inspect = () => {
    before.inspect = () => undefined;
    return die();
  };
  const handle = await runtime.start(spec);
  await expect.poll(() => told).toEqual(["weather-1"]);
  expect(handle.endpoint.url).toBe("http://127.0.0.1:5000");
});

test("an end that the engine tells before the stop has seen it is not told, since it was asked for", async () => {
  const { runtime, before, die, told } = await openWorld();
  const handle = await runtime.start(spec);
  before.kill = die;
  await runtime.stop(handle, 1_000);
  expect(told).toEqual([]);
});

test("what was left beside replicas is removed, but nothing of one whose start ended after it was listed", async () => {
  const beside = (of: string, side: string) => ({
    Id: `${side}-of-${of}`,
    Names: [`/toolyard-${of}-${side}`],
    State: "running",
    Labels: { [LABELS.companionOf]: of },
  });
  const old = { Id: "old", State: "exited", Ports: [], Labels: { [LABELS.name]: "old-1", [LABELS.egress]: "true" } };
  const { runtime, before, removed } = await openWorld([
    old,
    ...["gone-1", "old-1", spec.name].flatMap((name) => [beside(name, "outside"), beside(name, "inside")]),
  ]);
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  before.inspectOld = () => {
    asked.resolve();
    return answer.promise;
  };
  await asked.promise;
  await runtime.start(spec);
  answer.resolve();
  // Those that use the volumes of others first.
  await expect
    .poll(() => removed)
    .toEqual(["old", "inside-of-gone-1", "inside-of-old-1", "outside-of-gone-1", "outside-of-old-1"]);
});
