import { createHash } from "node:crypto";
import type {
  V1ConfigMap,
  V1Container,
  V1Deployment,
  V1EnvVar,
  V1PodSecurityContext,
  V1Secret,
  V1Service,
} from "@kubernetes/client-node";
import type { ContainerLaunch } from "../container/container-launch.ts";
import { TRUST_FOLDER } from "../container/passed-on.ts";
import type { Trust } from "../host/trust.ts";
import { allowanceOf } from "../resources.ts";
import type { ReplicaSpec } from "../runtime.ts";
import { egressManifests, egressName, PROXY_HOST, type EgressManifests } from "./egress-manifests.ts";
import { CONTAINER } from "./pod-state.ts";
import { probesOf } from "./probes.ts";

/** Where pods may run, and what they are given of the cluster. */
export interface PodPlacement {
  nodeSelector: Record<string, string>;
  tolerations: object[];
  /** Names of Secrets in the namespace. */
  pullSecrets: string[];
  /** The user of images' processes; null: each image's own. */
  runAsUser: number | null;
}

/** By these a replica's objects are found again, whoever asks. */
export const LABELS = {
  managedBy: "app.kubernetes.io/managed-by",
  /** The name of its objects. */
  instance: "app.kubernetes.io/instance",
  owner: "toolyard.dev/owner",
  replica: "toolyard.dev/replica",
  deployment: "toolyard.dev/deployment",
  /** Of a replica that reaches the hosts of its launch's list only: there is one. Policies that let others out except it. */
  egress: "toolyard.dev/egress",
  /** Of that one's forward proxy: the name of the replica's objects. */
  egressOf: "toolyard.dev/egress-of",
} as const;
export const ANNOTATIONS = {
  name: "toolyard.dev/name",
  endpoint: "toolyard.dev/endpoint",
  logKey: "toolyard.dev/log-key",
  /** How the replica ended, and when: JSON. */
  ended: "toolyard.dev/ended",
} as const;

/** How long a server may take to end after SIGTERM; a stop that has less time says so. */
export const GRACE_SECONDS = 10;
/** Of launches that are commands: the user of Toolyard's own image, in which they run. */
const RUNNER_USER = 1_000;
const CONFINED = {
  allowPrivilegeEscalation: false,
  privileged: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"] },
};
const DISK = "ephemeral-storage";
const LONGEST_NAME = 40;
const HASH_LETTERS = 10;
const DEFAULT_REQUEST = { memoryMb: 128, cpus: 0.05 };
/** Beside what a launch may keep: the output that a node keeps of a container, 5 files of 10 MiB unless it is set up otherwise. */
const LOGS_MB = 64;

export const ownLabels = (ownerId: string): Record<string, string> => ({
  [LABELS.managedBy]: "toolyard",
  [LABELS.owner]: ownerId,
});

/** Of all objects of a replica: a DNS label of at most 63 letters. */
export function objectName(ownerId: string, name: string): string {
  const hash = createHash("sha256").update(`${ownerId}/${name}`).digest("hex").slice(0, HASH_LETTERS);
  return `mcp-${name.slice(0, LONGEST_NAME).replace(/-+$/, "")}-${hash}`;
}

export interface Manifests {
  /** All others belong to it. `endpoint`: where the replica answers, and `proxy`: the address of its forward proxy; null while that is not known. */
  deployment: (scale: { replicas: 0 | 1; endpoint: string | null; proxy?: string | null }) => V1Deployment;
  /** Of all. */
  name: string;
  service: V1Service;
  /** Null where there is nothing to keep in one. */
  configMap: V1ConfigMap | null;
  secret: V1Secret | null;
  /** Null where the replica may reach any host. */
  egress: EgressManifests | null;
}

export function manifestsOf(
  spec: ReplicaSpec,
  launch: ContainerLaunch,
  own: {
    ownerId: string;
    namespace: string;
    placement: PodPlacement;
    trust: Trust | null;
    /** Of the forward proxy of a launch with an egress list. */
    proxyImage?: string | null;
  },
): Manifests {
  const { ownerId, namespace, placement, trust, proxyImage = null } = own;
  const allow = proxyImage === null ? null : (spec.options?.egress?.allow ?? null);
  const name = objectName(ownerId, spec.name);
  const whose = { [LABELS.replica]: spec.replicaId, [LABELS.deployment]: spec.deploymentId };
  const labels = {
    ...ownLabels(ownerId),
    [LABELS.instance]: name,
    ...whose,
    ...(allow !== null && { [LABELS.egress]: "listed" }),
  };
  const metadata = { name, namespace, labels };
  const variables = { PORT: String(launch.port), HOST: "0.0.0.0", ...launch.env };
  const isSecret = secretFinder(spec.secrets);
  const isHidden = ([, value]: [string, string]): boolean =>
    launch.logKey !== null || isSecret(value) || HAS_PASSWORD.test(value);
  const entries = Object.entries(variables);
  const hidden = Object.fromEntries(entries.filter(isHidden));
  const shown = Object.fromEntries(entries.filter((entry) => !isHidden(entry)));
  const args = launch.args.map((arg, index) => {
    if (!isSecret(arg)) return escaped(arg);
    hidden[argumentName(index)] = arg;
    return `$(${argumentName(index)})`;
  });
  const env: V1EnvVar[] = [
    ...Object.keys(shown).map((key) => ({ name: key, valueFrom: { configMapKeyRef: { name, key } } })),
    ...Object.keys(hidden).map((key) => ({ name: key, valueFrom: { secretKeyRef: { name, key } } })),
  ];
  const { cpus, memoryMb, diskMb } = allowanceOf(spec.resources);
  const writable = ["/tmp", ...launch.writablePaths].map((mountPath, index) => ({
    name: index === 0 ? "tmp" : `writable-${index}`,
    mountPath,
  }));
  const container: V1Container = {
    name: CONTAINER,
    image: launch.image,
    imagePullPolicy: "IfNotPresent",
    ...(launch.entrypoint !== null && { command: launch.entrypoint.map(escaped) }),
    ...(args.length > 0 && { args }),
    ...(launch.workingDirectory !== null && { workingDir: launch.workingDirectory }),
    env,
    ports: [{ name: "mcp", containerPort: launch.port, protocol: "TCP" }],
    resources: {
      limits: {
        memory: `${memoryMb}Mi`,
        ...(cpus !== null && { cpu: cpuOf(cpus) }),
        [DISK]: `${diskMb + LOGS_MB}Mi`,
      },
      requests: {
        // What a launch asks for is its own; what it leaves open is bounded, and not set aside.
        memory: `${spec.resources.memoryMb ?? Math.min(memoryMb, DEFAULT_REQUEST.memoryMb)}Mi`,
        cpu: cpuOf(Math.min(cpus ?? Infinity, DEFAULT_REQUEST.cpus)),
        // Left out, it would be the limit.
        [DISK]: "0",
      },
    },
    securityContext: CONFINED,
    ...probesOf(spec, launch),
    volumeMounts: [
      ...writable,
      ...(trust === null ? [] : [{ name: "trust", mountPath: TRUST_FOLDER, readOnly: true }]),
    ],
  };
  const files = Object.keys(trust?.files ?? {});
  const data = { ...shown, ...trust?.files };
  const runner = placement.runAsUser ?? RUNNER_USER;
  const user = spec.launch.kind === "image" ? placement.runAsUser : runner;
  const confined = (as: number | null): V1PodSecurityContext => ({
    seccompProfile: { type: "RuntimeDefault" },
    ...(as !== null && { runAsNonRoot: true, runAsUser: as, runAsGroup: as }),
  });
  const placed = {
    nodeSelector: placement.nodeSelector,
    // The library has a class of its own for them; the API takes them as they are given.
    tolerations: placement.tolerations,
    imagePullSecrets: placement.pullSecrets.map((secret) => ({ name: secret })),
  };
  return {
    name,
    deployment: ({ replicas, endpoint, proxy = null }) => ({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: {
        ...metadata,
        annotations: {
          [ANNOTATIONS.name]: spec.name,
          ...(endpoint !== null && { [ANNOTATIONS.endpoint]: endpoint }),
          ...(launch.logKey !== null && { [ANNOTATIONS.logKey]: launch.logKey }),
        },
      },
      spec: {
        replicas,
        revisionHistoryLimit: 0,
        strategy: { type: "Recreate" },
        selector: { matchLabels: { ...ownLabels(ownerId), [LABELS.instance]: name } },
        template: {
          metadata: { labels },
          spec: {
            containers: [container],
            automountServiceAccountToken: false,
            enableServiceLinks: false,
            terminationGracePeriodSeconds: GRACE_SECONDS,
            // The server is not the first process: SIGTERM ends it unless it says otherwise, and somebody reaps its children.
            shareProcessNamespace: true,
            securityContext: confined(user),
            volumes: [
              ...writable.map((volume) => ({ name: volume.name, emptyDir: { sizeLimit: `${diskMb}Mi` } })),
              ...(trust === null
                ? []
                : [{ name: "trust", configMap: { name, items: files.map((file) => ({ key: file, path: file })) } }]),
            ],
            ...(proxy !== null && { hostAliases: [{ ip: proxy, hostnames: [PROXY_HOST] }] }),
            ...placed,
          },
        },
      },
    }),
    service: {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: {
        type: "ClusterIP",
        selector: { ...ownLabels(ownerId), [LABELS.instance]: name },
        ports: [{ name: "mcp", port: launch.port, targetPort: launch.port, protocol: "TCP" }],
        // Toolyard routes by its own probes, which tell why a server is not ready.
        publishNotReadyAddresses: true,
      },
    },
    configMap: Object.keys(data).length === 0 ? null : { apiVersion: "v1", kind: "ConfigMap", metadata, data },
    secret:
      Object.keys(hidden).length === 0
        ? null
        : { apiVersion: "v1", kind: "Secret", metadata, type: "Opaque", data: encoded(hidden) },
    egress:
      allow === null || proxyImage === null
        ? null
        : egressManifests({
            name,
            namespace,
            labels: {
              replica: labels,
              proxy: {
                ...ownLabels(ownerId),
                [LABELS.instance]: egressName(name),
                ...whose,
                [LABELS.egressOf]: name,
              },
            },
            image: proxyImage,
            allow,
            placed,
            confined: { pod: confined(runner), container: CONFINED },
          }),
  };
}

/** In commands and arguments Kubernetes makes the variable's value of `$(NAME)`, and one dollar of each `$$`. */
const escaped = (text: string): string => text.replaceAll("$", "$$$$");
/** As a registry's URL may have one. */
const HAS_PASSWORD = /:\/\/[^\s/@]*@/;
const argumentName = (index: number): string => `TOOLYARD_ARGUMENT_${index}`;
const cpuOf = (cpus: number): string => `${Math.max(1, Math.round(cpus * 1_000))}m`;

function encoded(values: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, Buffer.from(value).toString("base64")]));
}

/** Whether a text has any of the secrets, as they are or in JSON. */
function secretFinder(secrets: readonly string[]): (text: string) => boolean {
  const known = secrets
    .filter((secret) => secret !== "")
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]);
  return (text) => known.some((secret) => text.includes(secret));
}
