import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import type { ContainerCreateOptions, ContainerInfo } from "dockerode";
import { TRUST_FOLDER } from "../container/passed-on.ts";
import { createRefusalCounts, type RefusalCounts } from "../egress/refusal-counts.ts";
import { EGRESS_PROGRAM, proxyVariables, toRefusedLine } from "../egress/replica-side.ts";
import type { LogsFrom, ReplicaLogLine } from "../runtime.ts";
import { archiveOf } from "./archive.ts";
import { CONFINED, LABELS, logConfig, NO_HEALTH_CHECK, publishedAt } from "./container-options.ts";
import { createOutputReader, FOLLOWED } from "./container-output.ts";
import { EngineRefusal, orNull, type Engine } from "./engine.ts";

/**
 * The containers beside a replica. Two of one that may reach some hosts only (`../egress/main.ts`). `inside` has no network but its loopback, which the replica shares:
 * there is the forward proxy, and nothing else to reach. `outside` is in the network and has the replica's published port. They go on when this process ends.
 */
export interface Companions {
  /**
   * Starts both, and is done once they take connections. Of what an earlier start left nothing remains.
   * @throws ToolyardError UPSTREAM_UNAVAILABLE where they do not start, after which nothing is left
   */
  start(
    spec: { name: string; deploymentId: string; host: string; port: number; allow: readonly string[] },
    image: string,
  ): Promise<Surroundings>;
  /**
   * A container that never runs, with files in a volume which the replica may read: a volume of its own it could fill. Answers the container's name.
   * @param image of the replica, which is there
   */
  keep(
    spec: { name: string; deploymentId: string },
    image: string,
    files: Readonly<Record<string, string>>,
  ): Promise<string>;
  /** Where a replica is published; 0 where it is not. */
  publishedPort(name: string): Promise<number>;
  /** Counts and logs what is refused to a replica, until `unwatch`. */
  watch(name: string, deploymentId: string): void;
  unwatch(name: string): void;
  refusals: RefusalCounts["byDeployment"];
  /** Of what was refused to a replica, the last lines. */
  logs(name: string, last: number): Promise<ReplicaLogLine[]>;
  followLogs(name: string, signal: AbortSignal, from: LogsFrom): AsyncGenerator<ReplicaLogLine>;
  /** Ends both; what was refused is still told. */
  end(name: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Removes those of `found` that still are there, not those that have taken their names since. */
  removeFound(found: readonly ContainerInfo[]): Promise<void>;
}

/** What the replica's own container gets of it. */
interface Surroundings {
  networkMode: string;
  environment: Record<string, string>;
}

const SOCKETS = "/run/toolyard";
const PROXY_PORTS = [3128, 3129];
const MEMORY_BYTES = 128 * 1_048_576;
const PROCESSES = 64;
const READY_MS = 20_000;

export function createCompanions(options: {
  engine: Engine;
  labels: Record<string, string>;
  network: string;
  /** A container's name, of a replica's. */
  nameOf: (name: string) => string;
  logger: Logger;
}): Companions {
  const { engine, labels, network, nameOf, logger } = options;
  const refusals = createRefusalCounts(logger);
  const watched = new Map<string, AbortController>();
  const outsideOf = (name: string): string => `${nameOf(name)}-outside`;
  const trustOf = (name: string): string => `${nameOf(name)}-trust`;
  const insideOf = (name: string): string => `${nameOf(name)}-inside`;

  const removeContainer = (container: string): Promise<unknown> =>
    orNull(
      engine.ask((docker, abortSignal) => docker.getContainer(container).remove({ force: true, v: true, abortSignal })),
    );
  /** `inside` first, which uses the volume of the other. */
  async function removeContainers(containers: readonly string[]): Promise<void> {
    for (const container of containers) await removeContainer(container);
  }
  const remove = (name: string): Promise<void> => removeContainers([insideOf(name), outsideOf(name), trustOf(name)]);

  const create = (wanted: ContainerCreateOptions) =>
    engine.ask((docker, abortSignal) => docker.createContainer({ ...wanted, abortSignal }));

  /** What `outside` prints, from its start or from now on. */
  async function* output(name: string, from: LogsFrom, signal: AbortSignal): AsyncGenerator<ReplicaLogLine> {
    const stream = await orNull(
      engine.open(
        (docker, abortSignal) =>
          docker.getContainer(outsideOf(name)).logs({ ...FOLLOWED, ...(from === "NOW" && { tail: 0 }), abortSignal }),
        signal,
      ),
    );
    const reader = createOutputReader(null);
    for await (const chunk of stream ?? []) yield* reader.read(chunk as Buffer);
    yield* reader.end();
  }

  async function becomeReady(name: string): Promise<void> {
    const late = AbortSignal.timeout(READY_MS);
    let said = "";
    try {
      for await (const { text } of output(name, "START", late)) {
        if (text === READY) return;
        said ||= /\S.*Error.*/.exec(text)?.[0] ?? "";
      }
    } catch (error) {
      if (!late.aborted) throw error;
    }
    throw new ToolyardError(
      "UPSTREAM_UNAVAILABLE",
      `The forward proxy of its egress list does not start in MCP_RUNNER_IMAGE, which is to be Toolyard's own of this version, or made from it${said && `. It said: ${said.slice(0, 300)}`}.`,
    );
  }

  async function watch(name: string, deploymentId: string, signal: AbortSignal): Promise<void> {
    for await (const { text } of output(name, "NOW", signal)) refusals.note({ name, deploymentId }, text);
  }

  return {
    refusals: refusals.byDeployment,
    async start({ name, deploymentId, host, port, allow }, image) {
      await remove(name);
      const proxy = PROXY_PORTS.find((each) => each !== port) ?? 0;
      const confined = (side: "inside" | "outside", args: readonly string[]): ContainerCreateOptions => ({
        name: `${nameOf(name)}-${side}`,
        Image: image,
        Healthcheck: NO_HEALTH_CHECK,
        Entrypoint: ["node"],
        Cmd: [EGRESS_PROGRAM, side, `--folder=${SOCKETS}`, `--server=${port}`, ...args],
        WorkingDir: "/",
        Labels: { ...labels, [LABELS.companionOf]: name, [LABELS.deployment]: deploymentId },
      });
      const limits = {
        ...CONFINED,
        Memory: MEMORY_BYTES,
        MemorySwap: MEMORY_BYTES,
        PidsLimit: PROCESSES,
        LogConfig: logConfig,
      };
      try {
        const outside = await create({
          ...confined(
            "outside",
            allow.map((each) => `--allow=${each}`),
          ),
          Volumes: { [SOCKETS]: {} },
          ExposedPorts: { [`${port}/tcp`]: {} },
          HostConfig: { ...limits, NetworkMode: network, PortBindings: await publishedAt(host, port) },
        });
        const inside = await create({
          ...confined("inside", [`--proxy=${proxy}`]),
          HostConfig: { ...limits, NetworkMode: "none", VolumesFrom: [outsideOf(name)] },
        });
        await Promise.all([outside, inside].map((each) => engine.ask((_, abortSignal) => each.start({ abortSignal }))));
        await becomeReady(name);
      } catch (error) {
        await remove(name);
        throw error;
      }
      return { networkMode: `container:${insideOf(name)}`, environment: proxyVariables(`http://127.0.0.1:${proxy}`) };
    },
    async keep({ name, deploymentId }, image, files) {
      await removeContainer(trustOf(name));
      const container = await create({
        name: trustOf(name),
        Image: image,
        // Images without a command of their own want one.
        Cmd: ["nothing"],
        Labels: { ...labels, [LABELS.companionOf]: name, [LABELS.deployment]: deploymentId },
        Volumes: { [TRUST_FOLDER]: {} },
        HostConfig: { NetworkMode: "none" },
      });
      const archive = await archiveOf(files);
      await engine.ask((_, abortSignal) => container.putArchive(archive, { path: TRUST_FOLDER, abortSignal }));
      return trustOf(name);
    },
    async publishedPort(name) {
      const info = await orNull(
        engine.ask((docker, abortSignal) => docker.getContainer(outsideOf(name)).inspect({ abortSignal })),
      );
      const [published] = Object.values(info?.NetworkSettings.Ports ?? {}).flatMap((each) => each ?? []);
      return Number(published?.HostPort ?? 0);
    },
    watch(name, deploymentId) {
      if (watched.has(name)) return;
      const closing = new AbortController();
      watched.set(name, closing);
      watch(name, deploymentId, closing.signal)
        .catch((error: unknown) => {
          if (!closing.signal.aborted) logger.debug({ err: error, replica: name }, "an egress proxy is not watched");
        })
        .finally(() => {
          if (watched.get(name) === closing) watched.delete(name);
        });
    },
    unwatch(name) {
      watched.get(name)?.abort();
      watched.delete(name);
    },
    async logs(name, last) {
      const output = await orNull(
        engine.ask((docker, abortSignal) =>
          docker
            .getContainer(outsideOf(name))
            .logs({ stdout: true, stderr: true, timestamps: true, tail: last, abortSignal }),
        ),
      );
      const reader = createOutputReader(null);
      return output === null ? [] : [...reader.read(output), ...reader.end()].flatMap(toRefusedLine);
    },
    async *followLogs(name, signal, from) {
      try {
        for await (const line of output(name, from, signal)) yield* toRefusedLine(line);
      } catch (error) {
        if (!signal.aborted)
          logger.debug({ err: error, replica: name }, "following what is refused to a replica ended");
      }
    },
    async end(name) {
      for (const container of [insideOf(name), outsideOf(name)])
        await engine
          .ask((docker, abortSignal) => docker.getContainer(container).kill({ signal: "SIGKILL", abortSignal }))
          .catch((error: unknown) => {
            if (!(error instanceof EngineRefusal)) throw error; // It has ended, or is gone.
          });
    },
    remove,
    removeFound: (found) =>
      removeContainers(
        found.toSorted((one, other) => Number(isInside(other)) - Number(isInside(one))).map(({ Id }) => Id),
      ),
  };
}

const isInside = ({ Names }: ContainerInfo): boolean => Names.some((name) => name.endsWith("-inside"));
const READY = JSON.stringify({ ready: true });
