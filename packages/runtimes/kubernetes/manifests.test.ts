import type { LaunchOptions } from "@toolyard/launch/launch.ts";
import { DEFAULT_OPTIONS } from "@toolyard/launch/launch.ts";
import { expect, test } from "vitest";
import { containerLaunch } from "../container/container-launch.ts";
import type { ReplicaLaunch, ReplicaSpec } from "../runtime.ts";
import { manifestsOf, objectName, type PodPlacement } from "./manifests.ts";

const image: ReplicaLaunch = { kind: "image", image: "weather:1", args: [], env: {}, writablePaths: [], port: 3_000 };
const stdio: ReplicaLaunch = {
  kind: "stdio",
  command: "server",
  args: [],
  env: { KEY: "hunter22" },
  workingDirectory: null,
  writablePaths: [],
  sessions: "SHARED",
  timeoutSeconds: 30,
  startTimeoutSeconds: 60,
  maxSessions: null,
  idleSeconds: null,
  maxMessageBytes: null,
};

function made(given: Partial<ReplicaSpec> = {}, placement: Partial<PodPlacement> = {}) {
  const spec: ReplicaSpec = {
    replicaId: "replica",
    deploymentId: "deployment",
    userId: "user",
    name: "weather-1-0",
    launch: image,
    host: "127.0.0.1",
    port: null,
    token: "the-token",
    secrets: [],
    resources: { cpus: null, memoryMb: null, processes: null, diskMb: null },
    ...given,
  };
  const whole = { nodeSelector: {}, tolerations: [], pullSecrets: [], runAsUser: null, ...placement };
  const own = { ownerId: "owner", namespace: "mcp-servers", placement: whole, trust: null };
  const manifests = manifestsOf(spec, containerLaunch(spec, "runner:1"), own);
  const deployment = manifests.deployment({ replicas: 1, endpoint: "http://10.0.0.1:3000" });
  const pod = deployment.spec?.template.spec;
  return { ...manifests, deployment, pod, container: pod?.containers[0] };
}
const text = (value: unknown): string => JSON.stringify(value);
/** As Kubernetes does it (third_party/forked/golang/expansion): `$$` is a dollar, `$(NAME)` the variable's value. */
const expanded = (arg: string, variables: Record<string, string>): string =>
  arg.replaceAll(/\$(?:\$|\(([^)]*)\))/g, (all, name?: string) =>
    name === undefined ? "$" : (variables[name] ?? all),
  );
const opened = (data: Record<string, string> | undefined) =>
  Object.fromEntries(Object.entries(data ?? {}).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]));

test("what is secret is in the Secret alone, all else in the ConfigMap", () => {
  const launch = {
    ...image,
    args: ["--key", "hunter22", "--cost", "$(PRICE)", "pa$$word", "$$(KEY)", "$"],
    env: { GREETING: "hello", KEY: "hunter22", CONFIG_JSON: '{"key":"say \\"so\\""}' },
  };
  const { deployment, service, configMap, secret, container } = made({ launch, secrets: ["hunter22", 'say "so"'] });
  expect(configMap?.data).toEqual({ PORT: "3000", HOST: "0.0.0.0", GREETING: "hello" });
  expect(opened(secret?.data)).toEqual({
    KEY: "hunter22",
    CONFIG_JSON: '{"key":"say \\"so\\""}',
    TOOLYARD_ARGUMENT_1: "hunter22",
  });
  for (const shown of [deployment, service, configMap]) expect(text(shown)).not.toMatch(/hunter22|so\\*"/);
  const variables = { TOOLYARD_ARGUMENT_1: "hunter22", PRICE: "1", KEY: "hunter22" };
  expect(container?.args?.map((arg) => expanded(arg, variables))).toEqual(launch.args);
});

test("a bridge is told all in the Secret, its token among it", () => {
  const { deployment, configMap, secret, container } = made({ launch: stdio, secrets: ["hunter22"] });
  expect(container?.image).toBe("runner:1");
  expect(configMap).toBeNull();
  expect(text(opened(secret?.data))).toContain("the-token");
  expect(text(deployment)).not.toMatch(/the-token|hunter22/);
});

test("a pod has no powers, no token of the cluster, and its own user where its image is Toolyard's", () => {
  const { pod, container } = made();
  expect(pod).toMatchObject({
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    securityContext: { seccompProfile: { type: "RuntimeDefault" } },
  });
  expect(pod?.securityContext).not.toHaveProperty("runAsUser");
  expect(container?.securityContext).toEqual({
    allowPrivilegeEscalation: false,
    privileged: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ["ALL"] },
  });
  expect(made({ launch: stdio }).pod?.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 1_000 });
  expect(made({}, { runAsUser: 7 }).pod?.securityContext).toMatchObject({ runAsNonRoot: true, runAsUser: 7 });
});

test("what a launch may use is limited, and what it asks for set aside", () => {
  const resources = { cpus: 1.5, memoryMb: 512, processes: null, diskMb: 64 };
  expect(made({ resources }).container?.resources).toEqual({
    limits: { memory: "512Mi", cpu: "1500m", "ephemeral-storage": "128Mi" },
    requests: { memory: "512Mi", cpu: "50m", "ephemeral-storage": "0" },
  });
  expect(made({ resources }).pod?.volumes).toEqual([{ name: "tmp", emptyDir: { sizeLimit: "64Mi" } }]);
  expect(made().container?.resources?.requests).toMatchObject({ memory: "128Mi", cpu: "50m" });
});

test("pods are placed where the operator says", () => {
  const placement = {
    nodeSelector: { disk: "ssd" },
    tolerations: [{ key: "mcp", operator: "Exists" }],
    pullSecrets: ["registry"],
  };
  expect(made({}, placement).pod).toMatchObject({
    nodeSelector: { disk: "ssd" },
    tolerations: [{ key: "mcp", operator: "Exists" }],
    imagePullSecrets: [{ name: "registry" }],
  });
});

test("an image has the folders that its launch names, each with as much room as /tmp", () => {
  const resources = { cpus: null, memoryMb: null, processes: null, diskMb: 64 };
  const { pod, container } = made({ launch: { ...image, writablePaths: ["/app", "/var/cache"] }, resources });
  expect(container?.volumeMounts?.map(({ mountPath }) => mountPath)).toEqual(["/tmp", "/app", "/var/cache"]);
  expect(pod?.volumes?.map(({ name }) => name)).toEqual(container?.volumeMounts?.map(({ name }) => name));
  for (const { emptyDir } of pod?.volumes ?? []) expect(emptyDir).toEqual({ sizeLimit: "64Mi" });
});

test("Kubernetes probes the launch's paths, later than Toolyard would give the server up; a path with keys is not told", () => {
  const health = { ...DEFAULT_OPTIONS.health, livenessPath: "/live", readinessPath: "/up" };
  const options: LaunchOptions = { ...DEFAULT_OPTIONS, health };
  expect(made({ options }).container).toMatchObject({
    startupProbe: { httpGet: { path: "/live", port: 3_000 }, periodSeconds: 1, failureThreshold: 69 },
    livenessProbe: { httpGet: { path: "/live" }, periodSeconds: 10, timeoutSeconds: 30, failureThreshold: 12 },
    readinessProbe: { httpGet: { path: "/up" }, failureThreshold: 3, successThreshold: 1 },
  });
  const keyed = { ...options, health: { ...health, livenessPath: "/live?key=1", readinessPath: null } };
  expect(text(made({ options: keyed }).container)).not.toContain("key=1");
  // Without a path, whether it takes connections.
  for (const container of [made({ options: DEFAULT_OPTIONS }).container, made({ options: keyed }).container])
    expect(container).toMatchObject({
      startupProbe: { tcpSocket: { port: 3_000 }, failureThreshold: 69 },
      livenessProbe: { tcpSocket: { port: 3_000 }, failureThreshold: 12 },
      readinessProbe: { tcpSocket: { port: 3_000 }, failureThreshold: 3 },
    });
  // A bridge lives also where its server does not, whatever paths its launch names.
  expect(made({ launch: stdio, options }).container).toMatchObject({
    startupProbe: { httpGet: { path: "/health", port: 8_080 } },
    livenessProbe: { httpGet: { path: "/health" }, failureThreshold: 12 },
    readinessProbe: { httpGet: { path: "/ready" } },
  });
});

test("objects have names that Kubernetes takes, each replica others", () => {
  const long = `${"weather-".repeat(20)}1`;
  expect(objectName("owner", long)).toMatch(/^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])$/);
  expect(objectName("owner", `${long}2`)).not.toBe(objectName("owner", long));
  expect(objectName("another", long)).not.toBe(objectName("owner", long));
});
