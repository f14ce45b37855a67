import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { ContainerCreateOptions } from "dockerode";
import { allowanceOf } from "../resources.ts";
import type { ContainerLaunch } from "../container/container-launch.ts";
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
} as const;

export const ownLabels = (ownerId: string): Record<string, string> => ({
  [LABELS.managedBy]: "toolyard",
  [LABELS.owner]: ownerId,
});

const LOG_FILE = { "max-size": "10m", "max-file": "2" };
const MEBIBYTE = 1_048_576;

export async function containerOptions(
  spec: ReplicaSpec,
  launch: ContainerLaunch,
  own: { name: string; ownerId: string; network: string },
): Promise<ContainerCreateOptions> {
  const { cpus, memoryMb, processes, diskMb } = allowanceOf(spec.resources);
  const port = `${launch.port}/tcp`;
  const env = { PORT: String(launch.port), HOST: "0.0.0.0", ...launch.env };
  return {
    name: own.name,
    Image: launch.image,
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
    },
    ExposedPorts: { [port]: {} },
    HostConfig: {
      NetworkMode: own.network,
      // The engine chooses one that is free.
      PortBindings: { [port]: [{ HostIp: await addressOf(spec.host), HostPort: "" }] },
      RestartPolicy: { Name: "no" },
      Init: true,
      ReadonlyRootfs: true,
      Tmpfs: { "/tmp": `rw,nosuid,nodev,exec,mode=1777,size=${diskMb}m` },
      CapDrop: ["ALL"],
      SecurityOpt: ["no-new-privileges"],
      Memory: memoryMb * MEBIBYTE,
      // As much as `Memory`: no swap.
      MemorySwap: memoryMb * MEBIBYTE,
      ...(cpus !== null && { NanoCpus: Math.round(cpus * 1e9) }),
      PidsLimit: processes,
      LogConfig: { Type: "json-file", Config: LOG_FILE },
    },
  };
}

/** Engines publish at addresses, not at names. */
async function addressOf(host: string): Promise<string> {
  if (host === "localhost") return "127.0.0.1";
  return isIP(host) === 0 ? (await lookup(host)).address : host;
}
