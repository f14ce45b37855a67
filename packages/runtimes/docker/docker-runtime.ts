import { setTimeout as delay } from "node:timers/promises";
import { messageOf, ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { isLoopback } from "@toolyard/service-kit/http/hosts.ts";
import type { Logger } from "@toolyard/service-kit/process/log.ts";
import type { ContainerCreateOptions, ContainerInspectInfo } from "dockerode";
import { claimFolder } from "../process/ownership.ts";
import { httpUrl } from "../endpoint/http-url.ts";
import { joined } from "../joined.ts";
import { oneStart } from "../one-start.ts";
import type { LogsFrom, ReplicaHandle, ReplicaLogLine, ReplicaSpec, Runtime } from "../runtime.ts";
import { NOBODY_KNOWS } from "../container/exit-code.ts";
import { endOf } from "./container-end.ts";
import { watchContainers } from "./container-events.ts";
import { createCompanions } from "./companions.ts";
import { CANNOT_RUN } from "../container/cannot-run.ts";
import { containerLaunch } from "../container/container-launch.ts";
import { NOTHING_PASSED_ON, type PassedOn } from "../container/passed-on.ts";
import { containerOptions, LABELS, ownLabels } from "./container-options.ts";
import { createOutputReader, FOLLOWED } from "./container-output.ts";
import { createEngine, EngineRefusal, orNull, type EngineOptions } from "./engine.ts";
import { createImages } from "./images.ts";
import { credentialsFor } from "./registry-credentials.ts";

export interface DockerRuntimeOptions {
  engine: EngineOptions;
  /** Whose containers they are. This process' alone. */
  dataDir: string;
  /** Of short names of images; null: the engine completes them. */
  imageRegistry: string | null;
  /** In which launches that are commands run; null: they do not. */
  runnerImage: string | null;
  /** @default nothing */
  passedOn?: PassedOn;
  /** A file of the form of Docker's `config.json`. */
  credentialsFile: string;
  logger: Logger;
  /** How long what ended and was not forgotten is kept, its output among it. */
  keepEndedMs: number;
  /** How long a container may still be there after SIGKILL before `stop` gives up. @default 10000 */
  killTimeoutMs?: number;
  /** How often progress of a pull is told. @default 1000 */
  tellEveryMs?: number;
  now?: () => number;
}

/** A container that runs. */
interface Running {
  handle: ReplicaHandle;
  replicaId: string;
  deploymentId: string;
  /** Its end is nothing to tell. */
  stopping: boolean;
}

const OWNER_LETTERS = 8;
const FIRST_LOOK_MS = 25;
const LONGEST_LOOK_MS = 250;

/** Runs replicas as containers of an engine. They outlive this process and are found again by their labels. */
export function createDockerRuntime(options: DockerRuntimeOptions): Runtime {
  const {
    imageRegistry,
    runnerImage,
    passedOn = NOTHING_PASSED_ON,
    credentialsFile,
    logger,
    keepEndedMs,
    killTimeoutMs = 10_000,
    now = Date.now,
  } = options;
  const ownerId = claimFolder(options.dataDir);
  const engine = createEngine(options.engine);
  const images = createImages({
    engine,
    registry: imageRegistry,
    credentials: (registry) => credentialsFor(registry, credentialsFile),
    ...(options.tellEveryMs !== undefined && { tellEveryMs: options.tellEveryMs }),
  });
  const { trust } = passedOn;
  const labels = ownLabels(ownerId);
  const suffix = ownerId.slice(0, OWNER_LETTERS);
  const network = `toolyard-${suffix}`;
  const nameOf = (name: string): string => `toolyard-${name}-${suffix}`;

  const running = new Map<string, Running>();
  /** Containers that ended while a start was looking at them. */
  const ended = new Set<string>();
  const starts = new Map<string, Promise<ReplicaHandle>>();
  const stops = new Map<string, { deadline: number; done: Promise<void> }>();
  const listeners = new Set<(handle: ReplicaHandle, deploymentId: string) => void>();
  /** Its last change; it is made and removed one after the other. */
  let networkChange: Promise<void> = Promise.resolve();

  const companions = createCompanions({ engine, labels, network, nameOf, logger });

  const idOf = ({ identity }: ReplicaHandle): string => String(identity["id"]);
  const isOwn = ({ identity }: ReplicaHandle): boolean => identity["owner"] === ownerId;
  const inspected = (idOrName: string): Promise<ContainerInspectInfo | null> =>
    orNull(engine.ask((docker, abortSignal) => docker.getContainer(idOrName).inspect({ abortSignal })));
  const labelsOf = async (handle: ReplicaHandle): Promise<Record<string, string>> =>
    (await inspected(idOf(handle)))?.Config.Labels ?? {};
  const remove = (id: string): Promise<unknown> =>
    orNull(engine.ask((docker, abortSignal) => docker.getContainer(id).remove({ force: true, v: true, abortSignal })));

  function toRunning(id: string, its: Record<string, string>, hostPort: number): Running {
    const { [LABELS.name]: name = "", [LABELS.replica]: replicaId = "", [LABELS.deployment]: deploymentId = "" } = its;
    // A container that has ended has no port; nothing answers at this one either.
    const endpoint = { url: httpUrl(its[LABELS.host] ?? "", hostPort), owner: null };
    const handle = { runtime: "DOCKER", name, identity: { owner: ownerId, id, replicaId }, endpoint };
    if (LABELS.egress in its) companions.watch(name, deploymentId);
    return { handle, replicaId, deploymentId, stopping: false };
  }

  function tell(id: string): void {
    const gone = running.get(id);
    running.delete(id);
    if (gone) companions.unwatch(gone.handle.name);
    if (gone?.stopping === false) for (const listener of listeners) listener(gone.handle, gone.deploymentId);
  }

  /** All that there are of this owner, whatever their state; remembers those that run. */
  async function survey() {
    const found = await engine.ask((docker, abortSignal) =>
      docker.listContainers({
        all: true,
        filters: { label: Object.entries(labels).map(([name, value]) => `${name}=${value}`) },
        abortSignal,
      }),
    );
    const replicas = found.filter(({ Labels }) => !(LABELS.companionOf in Labels));
    for (const { Id, Labels, State, Ports } of replicas) {
      const known = running.get(Id);
      if (known && LABELS.egress in Labels) companions.watch(known.handle.name, known.deploymentId);
      if (!isRunning(State) || known) continue;
      const port =
        LABELS.egress in Labels
          ? await companions.publishedPort(Labels[LABELS.name] ?? "")
          : Ports.find(({ PrivatePort, PublicPort }) => PublicPort && PrivatePort === Number(Labels[LABELS.port]))
              ?.PublicPort;
      running.set(Id, toRunning(Id, Labels, port ?? 0));
    }
    return { replicas, companionsFound: found.filter(({ Labels }) => LABELS.companionOf in Labels) };
  }

  /** What happened while nobody watched: ends are told, and what a killed process left half made or unneeded is removed. */
  async function catchUp(): Promise<void> {
    const knownBefore = [...running.keys()];
    const { replicas: found, companionsFound } = await survey();
    const kept = new Set(found.map(({ Labels }) => Labels[LABELS.name]));
    const alive = new Set(found.flatMap(({ Id, State }) => (isRunning(State) ? Id : [])));
    for (const id of knownBefore) if (!alive.has(id)) tell(id);
    for (const { Id, Labels, State } of found) {
      if (isRunning(State) || starts.has(Labels[LABELS.name] ?? "")) continue;
      // One that never ran ended in the year 1.
      const info = await inspected(Id);
      if (info === null || now() - Date.parse(info.State.FinishedAt) <= keepEndedMs) continue;
      await remove(Id);
      kept.delete(Labels[LABELS.name]);
    }
    // A start may have made them, and ended meanwhile.
    const started = new Set([...starts.keys(), ...[...running.values()].map(({ handle }) => handle.name)]);
    const isUsed = (name = ""): boolean => kept.has(name) || started.has(name);
    await companions.removeFound(companionsFound.filter(({ Labels }) => !isUsed(Labels[LABELS.companionOf])));
    await leaveNetwork();
  }

  function changeNetwork(change: () => Promise<void>): Promise<void> {
    networkChange = networkChange.catch(() => undefined).then(change); // Whose change failed has been told.
    return networkChange;
  }
  const joinNetwork = () =>
    changeNetwork(async () => {
      if (await orNull(engine.ask((docker) => docker.getNetwork(network).inspect()))) return;
      await engine.ask((docker, abortSignal) =>
        docker.createNetwork({
          Name: network,
          Driver: "bridge",
          Labels: labels,
          // Replicas do not reach each other.
          Options: { "com.docker.network.bridge.enable_icc": "false" },
          abortSignal,
        }),
      );
    });
  const leaveNetwork = () =>
    changeNetwork(async () => {
      if (starts.size > 0 || running.size > 0) return;
      // It stays where a container of it does; the last one's end is followed by this again.
      await engine.ask((docker) => docker.getNetwork(network).remove()).catch(passRefusal);
    });

  /** After a start. */
  function tidyUp(): void {
    if (starts.size === 0) ended.clear();
    if (running.size === 0) leaveNetwork().catch(() => undefined); // It is tried again with the next one.
  }

  async function begin(
    spec: ReplicaSpec,
    signal: AbortSignal | undefined,
    progress: (reason: string) => void,
  ): Promise<ReplicaHandle> {
    const plain = containerLaunch(spec, runnerImage);
    const egress = spec.options?.egress ?? null;
    if (egress !== null && runnerImage === null)
      throw new ToolyardError(
        "BAD_USER_INPUT",
        "An egress list needs MCP_RUNNER_IMAGE, whose image has the forward proxy.",
      );
    signal?.throwIfAborted();
    if (!engine.isHere && isLocalOnly(spec.host))
      throw new ToolyardError(
        "UPSTREAM_UNAVAILABLE",
        "The container engine is on another host: REPLICA_ADVERTISE_HOST must be an address of that one.",
      );
    await stops.get(spec.name)?.done;
    const name = nameOf(spec.name);
    const existing = await inspected(name);
    if (existing?.State.Running) return (await remember(existing)).handle;
    if (existing) await remove(existing.Id);
    const image = await images.ensure(plain.image, signal, progress);
    const companionImage =
      egress === null || runnerImage === null ? null : await images.ensure(runnerImage, signal, progress);
    signal?.throwIfAborted();
    await joinNetwork();
    const { networkMode, environment } =
      egress === null || companionImage === null
        ? { networkMode: network, environment: {} }
        : await companions.start({ ...spec, port: plain.port, allow: egress.allow }, companionImage);
    try {
      const set = await images.settingsOf(image);
      const passed = Object.entries(passedOn.environment).map(([key, value]) => [key, set.environment[key] ?? value]);
      const given = { ...Object.fromEntries(passed), ...environment };
      const launch = { ...containerLaunch(spec, runnerImage, given), image };
      const trustFrom = trust === null ? null : await companions.keep(spec, image, trust.files);
      const { volumes } = set;
      const own = { name, ownerId, network: networkMode, isHeld: egress !== null, trustFrom, volumes };
      return await run(await containerOptions(spec, launch, own), signal);
    } catch (error) {
      await companions.remove(spec.name);
      throw error;
    }
  }

  async function run(wanted: ContainerCreateOptions, signal: AbortSignal | undefined): Promise<ReplicaHandle> {
    const container = await engine.ask((docker, abortSignal) => docker.createContainer({ ...wanted, abortSignal }));
    try {
      signal?.throwIfAborted();
      await engine.ask((_, abortSignal) => container.start({ abortSignal }));
      const info = await inspected(container.id);
      if (info === null) throw new ToolyardError("UPSTREAM_UNAVAILABLE", "Its container was removed by somebody else.");
      const started = await remember(info);
      // Told once its caller has the handle.
      if (!info.State.Running || ended.has(info.Id)) setImmediate(tell, info.Id);
      return started.handle;
    } catch (error) {
      await remove(container.id);
      throw error;
    }
  }

  async function remember({ Id, Config, NetworkSettings }: ContainerInspectInfo): Promise<Running> {
    const { Labels } = Config;
    const port =
      LABELS.egress in Labels
        ? await companions.publishedPort(Labels[LABELS.name] ?? "")
        : Number(NetworkSettings.Ports[`${Labels[LABELS.port]}/tcp`]?.[0]?.HostPort ?? 0);
    const entry = running.get(Id) ?? toRunning(Id, Labels, port);
    running.set(Id, entry);
    return entry;
  }

  async function end(handle: ReplicaHandle, deadline: () => number): Promise<void> {
    if (!isOwn(handle)) return;
    await starts.get(handle.name)?.catch(() => undefined); // Its caller has the error.
    const id = idOf(handle);
    const entry = running.get(id);
    if (entry) entry.stopping = true;
    const kill = (signal: string) =>
      // It may have ended meanwhile, which is looked at.
      engine.ask((docker, abortSignal) => docker.getContainer(id).kill({ signal, abortSignal })).catch(passRefusal);
    const isOver = async (until: () => number): Promise<boolean> => {
      for (let lookMs = FIRST_LOOK_MS; ; lookMs = Math.min(LONGEST_LOOK_MS, lookMs * 2)) {
        if ((await inspected(id))?.State.Running !== true) return true;
        const left = until() - now();
        if (left <= 0) return false;
        await delay(Math.min(lookMs, left));
      }
    };
    try {
      const info = await inspected(id);
      if (info?.State.Running) {
        await kill((info.Config as { StopSignal?: string }).StopSignal || "SIGTERM");
        if (!(await isOver(deadline))) {
          await kill("SIGKILL");
          const giveUp = now() + killTimeoutMs;
          if (!(await isOver(() => giveUp)))
            throw new ToolyardError("UPSTREAM_UNAVAILABLE", `The engine does not end the container of ${handle.name}.`);
        }
      }
      running.delete(id);
      companions.unwatch(handle.name);
      if (info !== null && LABELS.egress in info.Config.Labels) await companions.end(handle.name);
    } finally {
      if (entry) entry.stopping = false;
    }
  }

  const watch = watchContainers({
    engine,
    labels,
    onConnected: catchUp,
    onDeath(id) {
      if (running.has(id)) tell(id);
      else if (starts.size > 0) ended.add(id);
    },
    logger,
  });

  return {
    kind: "DOCKER",
    capabilities: {
      launches: runnerImage === null ? ["image"] : ["stdio", "http", "image"],
      maxReplicas: null,
      location: "HOST",
      egress: runnerImage !== null,
      adopts: true,
      isolation: {
        isolated: true,
        detail: "Replicas are containers without capabilities, whose root is read-only.",
      },
    },
    needsPort: () => false,
    egressRefusals: () => companions.refusals,
    problem: () => engine.ask((docker) => docker.ping()).then(() => null, messageOf),

    start(spec, signal, progress = () => undefined) {
      const started = oneStart(starts, spec.name, async () => {
        try {
          return await begin(spec, signal, progress);
        } catch (error) {
          throw error instanceof EngineRefusal ? startFailure(error) : error;
        }
      });
      started.then(tidyUp, tidyUp);
      return started;
    },
    async list() {
      const { replicas } = await survey();
      return replicas.flatMap(({ Id, State }) => {
        const entry = isRunning(State) ? running.get(Id) : undefined;
        if (!entry) return [];
        const { handle, replicaId, deploymentId } = entry;
        return { handle, replicaId, deploymentId };
      });
    },
    recognize: async (handle) => (isOwn(handle) ? handle : null),
    async inspect(handle) {
      const info = isOwn(handle) ? await inspected(idOf(handle)) : null;
      if (info === null) return NOBODY_KNOWS;
      return info.State.Running ? { alive: true, startedAt: Date.parse(info.State.StartedAt) } : endOf(info);
    },
    async logs(handle, last) {
      if (last <= 0) return [];
      const output = await orNull(
        engine.ask((docker, abortSignal) =>
          docker
            .getContainer(idOf(handle))
            .logs({ stdout: true, stderr: true, timestamps: true, tail: last, abortSignal }),
        ),
      );
      if (output === null) return [];
      const its = await labelsOf(handle);
      const reader = createOutputReader(its[LABELS.logKey] ?? null);
      const refused = LABELS.egress in its ? await companions.logs(handle.name, last) : [];
      return [...reader.read(output), ...reader.end(), ...refused].toSorted((a, b) => a.at - b.at).slice(-last);
    },
    async *followLogs(handle, signal, from = "NOW") {
      const its = await labelsOf(handle);
      const own = (until: AbortSignal) => follow(handle, its[LABELS.logKey] ?? null, until, from);
      if (LABELS.egress in its) yield* joined(own, (until) => companions.followLogs(handle.name, until, from), signal);
      else yield* own(signal);
    },
    stop(handle, graceMs) {
      const deadline = now() + graceMs;
      const current = stops.get(handle.name);
      if (current) {
        current.deadline = Math.min(current.deadline, deadline);
        return current.done;
      }
      const stop = { deadline, done: Promise.resolve() };
      stop.done = end(handle, () => stop.deadline).finally(() => stops.delete(handle.name));
      stops.set(handle.name, stop);
      return stop.done;
    },
    async forget(handle) {
      if (!isOwn(handle)) return;
      await stops.get(handle.name)?.done;
      const info = await inspected(idOf(handle));
      if (info?.State.Running) throw new ToolyardError("CONFLICT", `Replica ${handle.name} still runs.`);
      if (info) await remove(info.Id);
      await companions.remove(handle.name);
      await leaveNetwork();
    },
    onExit(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: () => watch.close(),
  };

  async function* follow(
    handle: ReplicaHandle,
    logKey: string | null,
    signal: AbortSignal,
    from: LogsFrom,
  ): AsyncGenerator<ReplicaLogLine> {
    const stream = await orNull(
      engine.open(
        (docker, abortSignal) =>
          docker.getContainer(idOf(handle)).logs({ ...FOLLOWED, ...(from === "NOW" && { tail: 0 }), abortSignal }),
        signal,
      ),
    ).catch((error: unknown) => {
      if (signal.aborted) return null;
      throw error;
    });
    if (stream === null) return;
    const reader = createOutputReader(logKey);
    try {
      for await (const chunk of stream) yield* reader.read(chunk as Buffer);
      yield* reader.end();
    } catch (error) {
      if (!signal.aborted) logger.debug({ err: error, replica: handle.name }, "following a container's output ended");
    }
  }
}

const isRunning = (state: string): boolean => state === "running" || state === "paused";

function isLocalOnly(host: string): boolean {
  return host === "localhost" || isLoopback(host);
}

function passRefusal(error: unknown): void {
  if (!(error instanceof EngineRefusal)) throw error;
}

function startFailure(refusal: EngineRefusal): ToolyardError {
  const said = refusal.message.replace(/\s+/g, " ").slice(0, 500);
  return CANNOT_RUN.test(said)
    ? new ToolyardError("BAD_USER_INPUT", `The image's command cannot be run. The engine said: ${said}`, {
        cause: refusal,
      })
    : new ToolyardError("UPSTREAM_UNAVAILABLE", `The engine does not start the container. It said: ${said}`, {
        cause: refusal,
      });
}
