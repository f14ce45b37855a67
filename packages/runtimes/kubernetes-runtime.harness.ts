import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { clusterImage, noCluster, openClusterNamespace, type ClusterNamespace } from "@toolyard/testing/cluster.ts";
import { PATIENCE } from "@toolyard/testing/patience.ts";
import { afterAll, expect } from "vitest";
import { createKubernetesRuntime, type KubernetesRuntimeOptions } from "./kubernetes/kubernetes-runtime.ts";
import type { Behaviour, RuntimeHarness } from "./runtime.contract.ts";
import type { ReplicaHandle, ReplicaSpec, Runtime } from "./runtime.ts";

const FIXTURES = join(import.meta.dirname, "fixtures");
const fixture = (file: string): string[] => [
  "node",
  "--input-type=module",
  "--eval",
  readFileSync(join(FIXTURES, file), "utf8"),
];
export const SERVES = fixture("http-server.mjs");
const ARGS: Record<Behaviour, string[]> = {
  SERVES,
  IGNORES_SIGTERM: fixture("ignores-sigterm.mjs"),
  EXITS_AT_ONCE: fixture("exits-at-once.mjs"),
  CANNOT_RUN: ["/no/such/program"],
};

/** Of the describe of tests that need the cluster. */
export const clusterTests = `kubernetes cluster${noCluster === null ? "" : ` (skipped: ${noCluster})`}`;

/** A namespace for the tests of a file. */
export function useNamespace(): () => Promise<ClusterNamespace> {
  let opened: Promise<ClusterNamespace> | undefined;
  afterAll(async () => (await opened)?.close());
  return () => (opened ??= openClusterNamespace());
}

export interface KubernetesHarness extends RuntimeHarness {
  namespace: ClusterNamespace;
  dataDir: string;
  /** A runtime of another DATA_DIR, unless one is given: two of the same would take away what the other is making. */
  another(options: Partial<KubernetesRuntimeOptions>): Runtime;
  /** A launch of the cluster's image, or of another. */
  image(name: string, args: string[], image?: string): ReplicaSpec;
  /** The answer of the fixture `http-server.mjs`, once it answers. */
  ask(handle: ReplicaHandle, question: string): Promise<unknown>;
  /** The name of the replica's pod. */
  podOf(handle: ReplicaHandle): Promise<string>;
}

export async function openKubernetesHarness(
  namespace: ClusterNamespace,
  options: Partial<KubernetesRuntimeOptions> = {},
): Promise<KubernetesHarness> {
  const dataDir = await mkdtemp(join(tmpdir(), "toolyard-kubernetes-"));
  const another = (more: Partial<KubernetesRuntimeOptions>) =>
    createKubernetesRuntime({
      credentials: { kind: "token", ...namespace.credentials, token: () => namespace.credentials.token },
      namespace: namespace.name,
      owner: null,
      anchor: null,
      dataDir: more.dataDir ?? mkdtempSync(join(dataDir, "another-")),
      imageRegistry: null,
      runnerImage: null,
      keepsPolicies: false,
      placement: { nodeSelector: {}, tolerations: [], pullSecrets: [], runAsUser: null },
      logger: createLogger({ level: "error", name: "runtime" }),
      keepEndedMs: 60_000,
      answerTimeoutMs: 30_000 * PATIENCE,
      ...options,
      ...more,
    });
  const runtime = another({ dataDir });
  const image = (name: string, args: string[], of = clusterImage): ReplicaSpec => ({
    replicaId: randomUUID(),
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
  const ask = async ({ endpoint }: ReplicaHandle, question: string): Promise<unknown> => {
    let answer: unknown;
    await expect
      .poll(
        async () => {
          const response = await fetch(`${endpoint.url}${question}`).catch(() => null);
          answer = await response?.json();
          return response?.ok;
        },
        { interval: 50 },
      )
      .toBe(true);
    return answer;
  };
  const podOf = async ({ identity }: ReplicaHandle): Promise<string> => {
    const [pod] = await namespace.objects("pods", `toolyard.dev/replica=${identity["replicaId"]}`);
    if (!pod) throw new Error("it has no pod");
    return pod.metadata.name;
  };
  const handles = new Map<string, ReplicaHandle>();
  return {
    runtime: {
      ...runtime,
      async start(...given) {
        const handle = await runtime.start(...given);
        handles.set(given[0].name, handle);
        return handle;
      },
    },
    namespace,
    dataDir,
    another,
    image,
    ask,
    podOf,
    spec: async (name, behaviour) => image(name, ARGS[behaviour]),
    successor: async () => another({ dataDir }),
    async killFromOutside(handle) {
      // All but the pod's first process, which holds its namespaces, and the shell itself.
      await namespace.kubectl("exec", await podOf(handle), "--", "sh", "-c", "kill -9 $(pidof node)");
    },
    async print({ name }, text) {
      const handle = handles.get(name);
      if (!handle) throw new Error(`${name} was not started`);
      await ask(handle, `/print?of=${encodeURIComponent(text)}`);
    },
    async remains({ replicaId }) {
      const kinds = "deployments,replicasets,pods,services,configmaps,secrets";
      const left = await namespace.objects(kinds, `toolyard.dev/replica=${replicaId}`);
      return left.map(({ kind, metadata }) => `${kind} ${metadata.name}`);
    },
    async close() {
      const owners = new Set([...handles.values()].map(({ identity }) => String(identity["owner"])));
      for (const owner of owners)
        await namespace.kubectl("delete", "deployments", "-l", `toolyard.dev/owner=${owner}`, "--wait=false");
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}
