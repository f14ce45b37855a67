import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { posix } from "node:path";
import type { ContainerCreateOptions } from "dockerode";
import { allowanceOf } from "../resources.ts";
import type { ContainerLaunch } from "../container/container-launch.ts";
import { TRUST_FOLDER } from "../container/passed-on.ts";
import type { ReplicaSpec } from "../runtime.ts";

/** By these a container is found again, whoever asks. */
export const LABELS = {
  managedBy: "managed-by",
  owner: "dev.toolyard.owner",
  name: "dev.toolyard.name",
  replica: "dev.toolyard.replica",
  deployment: "dev.toolyard.deployment",
  /** Where the replica is reached, and its port in the container. */
  host: "dev.toolyard.host",
  port: "dev.toolyard.port",
  logKey: "dev.toolyard.log-key",
  /** Of a replica that reaches the hosts of its launch's list only: there is one. */
  egress: "dev.toolyard.egress",
  /** Of the containers beside it: its name. */
  companionOf: "dev.toolyard.companion-of",
} as const;

export const ownLabels = (ownerId: string): Record<string, string> => ({
  [LABELS.managedBy]: "toolyard",
  [LABELS.owner]: ownerId,
});

export const logConfig = { Type: "json-file", Config: { "max-size": "10m", "max-file": "2" } };
/** Of every container. */
export const CONFINED = {
  RestartPolicy: { Name: "no" },
  Init: true,
  ReadonlyRootfs: true,
  CapDrop: ["ALL"],
  SecurityOpt: ["no-new-privileges"],
};
/** Toolyard asks by itself. An image's own check would start a program in each container again and again. */
export const NO_HEALTH_CHECK = { Test: ["NONE"] };
const OPTIONS_OF_TMP = "rw,nosuid,nodev,exec,mode=1777";
const MEBIBYTE = 1_048_576;

export async function containerOptions(
  spec: ReplicaSpec,
  launch: ContainerLaunch,
  own: {
    name: string;
    ownerId: string;
    network: string;
    /** Where its companions are its network and have its port. */
    isHeld: boolean;
    /** The container whose volume has the certificates that it trusts, if it has any. */
    trustFrom: string | null;
    /** Paths of the volumes that its image declares. */
    volumes: readonly string[];
  },
): Promise<ContainerCreateOptions> {
  const { cpus, memoryMb, processes, diskMb } = allowanceOf(spec.resources);
  // As engines take them: another spelling would be another place, and the volume still be there.
  const declared = own.volumes.map((path) => posix.resolve("/", path));
  const volumes = declared.filter((path) => own.trustFrom === null || path !== TRUST_FOLDER);
  const env = { PORT: String(launch.port), HOST: "0.0.0.0", ...launch.env };
  return {
    name: own.name,
    Image: launch.image,
    Healthcheck: NO_HEALTH_CHECK,
    ...(launch.entrypoint !== null && { Entrypoint: launch.entrypoint }),
    ...(launch.args.length > 0 && { Cmd: launch.args }),
    ...(launch.workingDirectory !== null && { WorkingDir: launch.workingDirectory }),
    Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    Labels: {
      ...ownLabels(own.ownerId),
      [LABELS.name]: spec.name,
      [LABELS.replica]: spec.replicaId,
      [LABELS.deployment]: spec.deploymentId,
      [LABELS.host]: spec.host,
      [LABELS.port]: String(launch.port),
      ...(launch.logKey !== null && { [LABELS.logKey]: launch.logKey }),
      ...(own.isHeld && { [LABELS.egress]: "listed" }),
    },
    ...(!own.isHeld && { ExposedPorts: { [`${launch.port}/tcp`]: {} } }),
    HostConfig: {
      ...CONFINED,
      NetworkMode: own.network,
      ...(!own.isHeld && { PortBindings: await publishedAt(spec.host, launch.port) }),
      // A volume has no limit: in place of those that the image declares there is as much room as in /tmp, as in folders that the launch names.
      Tmpfs: Object.fromEntries(
        ["/tmp", ...volumes, ...launch.writablePaths].map((path) => [path, `${OPTIONS_OF_TMP},size=${diskMb}m`]),
      ),
      ...(own.trustFrom !== null && { VolumesFrom: [`${own.trustFrom}:ro`] }),
      Memory: memoryMb * MEBIBYTE,
      // As much as `Memory`: no swap.
      MemorySwap: memoryMb * MEBIBYTE,
      ...(cpus !== null && { NanoCpus: Math.round(cpus * 1e9) }),
      PidsLimit: processes,
      LogConfig: logConfig,
    },
  };
}

/** A port of a container, published at a free one of the host, which the engine chooses. */
export async function publishedAt(host: string, port: number) {
  return { [`${port}/tcp`]: [{ HostIp: await addressOf(host), HostPort: "" }] };
}

/** Engines publish at addresses, not at names. */
async function addressOf(host: string): Promise<string> {
  if (host === "localhost") return "127.0.0.1";
  return isIP(host) === 0 ? (await lookup(host)).address : host;
}
