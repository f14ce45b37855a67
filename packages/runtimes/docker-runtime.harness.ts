import { randomUUID } from "node:crypto";
import { globSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { librariesOf, noContainers, openContainerEngine, type ContainerEngine } from "@toolyard/testing/containers.ts";
import { expect } from "vitest";
import { createDockerRuntime, type DockerRuntimeOptions } from "./docker/docker-runtime.ts";
import type { Behaviour, RuntimeHarness } from "./runtime.contract.ts";
import type { ReplicaHandle, ReplicaSpec, Runtime } from "./runtime.ts";

const FIXTURES = join(import.meta.dirname, "fixtures");
const PACKAGES = join(import.meta.dirname, "..");
const IMAGE = "localhost/toolyard-runtime-test:1";
const RUNNER_IMAGE = "localhost/toolyard-runner-test:1";
const ARGS: Record<Behaviour, string[]> = {
  SERVES: ["node", "/http-server.mjs"],
  IGNORES_SIGTERM: ["node", "/ignores-sigterm.mjs"],
  EXITS_AT_ONCE: ["node", "/exits-at-once.mjs"],
  CANNOT_RUN: [],
};

/** Of the describe of tests that need the engine. */
export const engineTests = `container engine${noContainers === null ? "" : ` (skipped: ${noContainers})`}`;

let built: Promise<void> | undefined;

const fixtures = Object.fromEntries(
  ["http-server.mjs", "ignores-sigterm.mjs", "exits-at-once.mjs"].map((file) => [`/${file}`, join(FIXTURES, file)]),
);

/** Builds the image of the fixtures, once for each file of tests. */
function buildFixtureImage(engine: ContainerEngine): Promise<void> {
  built ??= engine.buildOfFiles(IMAGE, fixtures);
  return built;
}

/** Builds an image of the fixtures, of this process's Node, and of Toolyard what runs beside replicas with an egress list. */
export async function buildRunnerImage(engine: ContainerEngine): Promise<string> {
  const program = globSync(
    ["launch/{egress-list.ts,package.json}", "runtimes/egress/*.ts", "service-kit/{package.json,{errors,http}/*.ts}"],
    { cwd: PACKAGES },
  );
  const files = {
    ...fixtures,
    ...librariesOf(process.execPath),
    "/usr/local/bin/node": process.execPath,
    ...Object.fromEntries(program.map((file) => [`/opt/toolyard/packages/${file}`, join(PACKAGES, file)])),
  };
  const links = ["launch", "service-kit"].map((name) => [
    `/opt/toolyard/node_modules/@toolyard/${name}`,
    `../../packages/${name}`,
  ]);
  await engine.buildOfFiles(RUNNER_IMAGE, files, Object.fromEntries(links));
  return RUNNER_IMAGE;
}

export interface DockerHarness extends RuntimeHarness {
  engine: ContainerEngine;
  dataDir: string;
  /** A runtime of another DATA_DIR. */
  successorAt(dataDir: string): Runtime;
  /** A launch of the fixtures' image, or of another. */
  image(name: string, args: string[], image?: string): ReplicaSpec;
  /** The ids of the containers that a replica has besides its own. */
  containersBeside(spec: ReplicaSpec): Promise<string[]>;
  /** The answer of the fixture `http-server.mjs`, once it answers. */
  ask(handle: ReplicaHandle, question: string): Promise<unknown>;
}

export async function openDockerHarness(options: Partial<DockerRuntimeOptions> = {}): Promise<DockerHarness> {
  const engine = openContainerEngine();
  await buildFixtureImage(engine);
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-docker-"));
  const successorAt = (folder: string) =>
    createDockerRuntime({
      engine: { url: process.env["TEST_DOCKER_HOST"] ?? "", certificates: null },
      dataDir: folder,
      imageRegistry: null,
      runnerImage: null,
      credentialsFile: join(dataDir, "config.json"),
      logger: createLogger({ level: "error", name: "runtime" }),
      keepEndedMs: 60_000,
      ...options,
    });
  const runtime = successorAt(dataDir);
  const image = (name: string, args: string[], of = IMAGE): ReplicaSpec => ({
    replicaId: `${name}-${randomUUID()}`,
    deploymentId: "some-deployment",
    userId: "some-user",
    name,
    launch: { kind: "image", image: of, args, env: {}, writablePaths: [], port: 3_000 },
    host: "127.0.0.1",
    port: null,
    token: "a-secret-token",
    secrets: [],
    resources: { cpus: null, memoryMb: null, processes: null, diskMb: null },
  });
  const containersOf = async (filter: string) => {
    const filters = encodeURIComponent(JSON.stringify({ label: [filter] }));
    return engine.ask<{ Id: string; Labels: Record<string, string> }[]>(
      "GET",
      `/containers/json?all=1&filters=${filters}`,
    );
  };
  const ask = async ({ endpoint }: ReplicaHandle, question: string): Promise<unknown> => {
    let answer: unknown;
    await expect
      .poll(
        async () => {
          const response = await fetch(`${endpoint.url}${question}`).catch(() => null);
          answer = await response?.json();
          return response?.ok;
        },
        { timeout: 10_000, interval: 20 },
      )
      .toBe(true);
    return answer;
  };
  const beside = (labels: Record<string, string>) => Number("dev.toolyard.companion-of" in labels);
  const handles = new Map<string, ReplicaHandle>();
  const owners = new Set<string>();

  return {
    runtime: {
      ...runtime,
      async start(...given) {
        const handle = await runtime.start(...given);
        handles.set(given[0].name, handle);
        owners.add(String(handle.identity["owner"]));
        return handle;
      },
    },
    engine,
    image,
    ask,
    containersBeside: async ({ name }) => (await containersOf(`dev.toolyard.companion-of=${name}`)).map(({ Id }) => Id),
    // A file that cannot be executed is told by the container's init only, which then exits.
    spec: async (name, behaviour) =>
      image(name, ARGS[behaviour], behaviour === "CANNOT_RUN" ? "localhost/No-Image" : IMAGE),
    successor: async () => successorAt(dataDir),
    dataDir,
    successorAt,
    async killFromOutside({ identity }) {
      await engine.ask("POST", `/containers/${identity["id"]}/kill?signal=KILL`);
    },
    async print({ name }, text) {
      const handle = handles.get(name);
      if (!handle) throw new Error(`${name} was not started`);
      await ask(handle, `/print?of=${encodeURIComponent(text)}`);
    },
    remains: async ({ replicaId }) =>
      (await containersOf(`dev.toolyard.replica=${replicaId}`)).map(({ Id }) => `container ${Id}`),
    async close() {
      for (const owner of owners)
        // Replicas before their companions, whose network they use.
        for (const { Id } of (await containersOf(`dev.toolyard.owner=${owner}`)).toSorted(
          (one, other) => beside(one.Labels) - beside(other.Labels),
        ))
          await engine.ask("DELETE", `/containers/${Id}?force=1&v=1`);
      for (const owner of owners)
        await engine.ask("DELETE", `/networks/toolyard-${owner.slice(0, 8)}`).catch(() => undefined); // it is gone
      await engine.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
