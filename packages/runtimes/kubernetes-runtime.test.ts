import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEFAULT_OPTIONS } from "@toolyard/launch/launch.ts";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { noCluster, openClusterNamespace, openWayToCluster } from "@toolyard/testing/cluster.ts";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { stopAll } from "./fixtures/stop-all.ts";
import {
  clusterTests,
  openKubernetesHarness,
  SERVES,
  useNamespace,
  type KubernetesHarness,
} from "./kubernetes-runtime.harness.ts";
import { kubernetes } from "./kubernetes/index.ts";
import type { KubernetesRuntimeOptions } from "./kubernetes/kubernetes-runtime.ts";
import type { ReplicaHandle, ReplicaSpec, Runtime } from "./runtime.ts";

describe.skipIf(noCluster !== null)(clusterTests, () => {
  const namespace = useNamespace();
  let harness: KubernetesHarness;
  beforeEach(async () => {
    harness = await openKubernetesHarness(await namespace());
  });
  afterEach(async () => {
    await stopAll(harness.runtime, 0);
    await harness.runtime.close();
    await harness.close();
  });
  const open = (options: Partial<KubernetesRuntimeOptions>): Runtime => {
    const runtime = harness.another(options);
    onTestFinished(async () => {
      await stopAll(runtime, 0);
      await runtime.close();
    });
    return runtime;
  };
  /** Once all watches have begun again. */
  const livesOn = async (runtime: Runtime, handle: ReplicaHandle): Promise<void> => {
    const liveness = () => runtime.inspect(handle).catch((error: unknown) => error);
    await expect.poll(liveness).toMatchObject({ alive: true });
  };
  /** Starts it until the cluster has said why it does not run. */
  const heard = async (runtime: Runtime, spec: ReplicaSpec, words: string): Promise<void> => {
    const abort = new AbortController();
    const told: string[] = [];
    const starting = runtime.start(spec, abort.signal, (reason) => told.push(reason));
    starting.catch(() => undefined); // It is looked at below.
    await expect.poll(() => told).toContainEqual(expect.stringContaining(words));
    abort.abort();
    await expect(starting).rejects.toThrow();
    expect(await harness.remains(spec)).toEqual([]);
  };

  test("a replica has its environment and limits, no powers, no token of the cluster, a read-only root and a /tmp", async () => {
    const spec = harness.image("confined", SERVES);
    const env = { GREETING: "hello $(PORT)", KEY: "a-secret" };
    const launch = { ...spec.launch, env, writablePaths: ["/opt/notes"] } as ReplicaSpec["launch"];
    const resources = { cpus: 0.5, memoryMb: 200, processes: null, diskMb: 16 };
    const handle = await harness.runtime.start({ ...spec, launch, secrets: ["a-secret"], resources });
    const ask = (question: string) => harness.ask(handle, question);
    const expected = { PORT: "3000", HOST: "0.0.0.0", GREETING: "hello $(PORT)", KEY: "a-secret" };
    expect(await ask("/environment")).toMatchObject(expected);
    const status = await ask("/read?of=/proc/self/status");
    expect(status).toMatch(/^CapEff:\t0+$/m);
    expect(status).toMatch(/^CapBnd:\t0+$/m);
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(status).toMatch(/^Seccomp:\t2$/m);
    expect(await ask("/write?of=/here")).toEqual({ error: "EROFS" });
    expect(await ask("/write?of=/opt/here")).toEqual({ error: "EROFS" });
    for (const folder of ["/tmp", "/opt/notes"]) expect(await ask(`/write?of=${folder}/here`)).toBe("written");
    expect(await ask("/list?of=/var/run/secrets/kubernetes.io")).toEqual({ error: "ENOENT" });
    const limit = async (...files: string[]) => {
      for (const file of files) {
        const read = await ask(`/read?of=/sys/fs/cgroup/${file}`);
        if (typeof read === "string") return read.trim();
      }
      return null;
    };
    expect(await limit("memory.max", "memory/memory.limit_in_bytes")).toBe(String(200 * 1_048_576));
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
      why: "It ran out of memory, of which it may use 64 MB (resources.memoryMb in the launch).",
    });
  });

  test("an end is one, whatever Kubernetes does next: what it starts in its place is taken away", async () => {
    const told: string[] = [];
    harness.runtime.onExit(({ name }) => told.push(name));
    const [killed, deleted] = await Promise.all(
      ["killed", "deleted"].map((name) => harness.runtime.start(harness.image(name, SERVES))),
    );
    if (!killed || !deleted) throw new Error("not started");
    await harness.killFromOutside(killed);
    await harness.namespace.kubectl("delete", "pod", await harness.podOf(deleted), "--wait=false");
    await expect.poll(() => told.toSorted()).toEqual(["deleted", "killed"]);
    expect(await harness.runtime.list()).toEqual([]);
    const own = `toolyard.dev/owner=${String(killed.identity["owner"])}`;
    const pods = () => harness.namespace.objects("pods", own);
    await expect.poll(async () => (await pods()).length).toBe(0);
    expect(await harness.runtime.inspect(killed)).toMatchObject({ alive: false, signal: "SIGKILL" });
    expect(await harness.runtime.inspect(deleted)).toMatchObject({ why: expect.stringContaining("deleted") });
    // As kept in the cluster, for the next control plane.
    await harness.runtime.close();
    const next = open({ dataDir: harness.dataDir });
    expect(await next.inspect(killed)).toMatchObject({ alive: false, signal: "SIGKILL" });
    for (const handle of [killed, deleted]) await next.forget(handle);
    expect(await harness.namespace.objects("all,configmaps,secrets", own)).toEqual([]);
  });

  test("a server that takes no more connections is ended by Kubernetes' own probe, which is said", async () => {
    const health = { ...DEFAULT_OPTIONS.health, intervalSeconds: 1, timeoutSeconds: 1, failureThreshold: 1 };
    const options = { ...DEFAULT_OPTIONS, timeoutSeconds: 1, health };
    const told = new Promise((tell) => void harness.runtime.onExit(tell));
    const handle = await harness.runtime.start({ ...harness.image("deaf", SERVES), options });
    await harness.ask(handle, "/directory");
    await fetch(`${handle.endpoint.url}/deafen`).catch(() => null); // Its connection may be closed before the answer.
    expect(await told).toEqual(handle);
    const why = expect.stringMatching(
      /^Kubernetes ended it, since it did not answer\. Liveness probe failed: .*refused\.$/,
    );
    expect(await harness.runtime.inspect(handle)).toMatchObject({ alive: false, signal: "SIGTERM", why });
    // As kept in the cluster, for the next control plane.
    const its = `toolyard.dev/replica=${String(handle.identity["replicaId"])}`;
    await expect.poll(() => harness.namespace.objects("pods", its)).toEqual([]);
    await harness.runtime.close();
    expect(await open({ dataDir: harness.dataDir }).inspect(handle)).toMatchObject({ signal: "SIGTERM", why });
  });

  test("what a server prints as it ends is kept until it is forgotten", async () => {
    const handle = await harness.runtime.start(await harness.spec("talkative", "IGNORES_SIGTERM"));
    await expect.poll(async () => (await harness.runtime.logs(handle, 1)).length).toBe(1);
    await harness.runtime.stop(handle, 0);
    const texts = async () => (await harness.runtime.logs(handle, 10)).map(({ text }) => text);
    expect(await texts()).toEqual(["ready", "SIGTERM ignored"]);
    await harness.runtime.forget(handle);
    expect(await texts()).toEqual([]);
  });

  test("why a pod does not run is told while it waits, and nothing is left of a start that was given up", async () => {
    const spec = harness.image("waiting", SERVES);
    const nowhere = { nodeSelector: { disk: "none" }, tolerations: [], pullSecrets: [], runAsUser: null };
    await heard(open({ placement: nowhere }), spec, "No node of the cluster can take it.");
    const quota = {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { name: "none" },
      spec: { hard: { pods: "0" } },
    };
    await harness.namespace.apply(quota);
    try {
      await heard(harness.runtime, { ...spec, name: "excessive" }, "The quota of its namespace has no room for it.");
    } finally {
      await harness.namespace.kubectl("delete", "resourcequota", "none");
    }
    const late = open({ placement: nowhere, startTimeoutMs: 1_000 });
    await expect(late.start({ ...spec, name: "late" })).rejects.toMatchObject({
      code: "UPSTREAM_UNAVAILABLE",
      message: expect.stringMatching(/^Its pod did not run within 1 s\. No node of the cluster can take it\./),
    });
  });

  test("what the cluster's rules refuse is refused in its words, and can run as the user that they want", async () => {
    const label = (level: string) =>
      harness.namespace.kubectl(
        "label",
        "namespace",
        harness.namespace.name,
        "--overwrite",
        `pod-security.kubernetes.io/enforce=${level}`,
      );
    await label("restricted");
    try {
      const spec = harness.image("rooted", SERVES);
      await expect(harness.runtime.start(spec)).rejects.toMatchObject({
        code: "BAD_USER_INPUT",
        message: expect.stringContaining("runAsNonRoot"),
      });
      expect(await harness.remains(spec)).toEqual([]);
      const placement = { nodeSelector: {}, tolerations: [], pullSecrets: [], runAsUser: 1_234 };
      const handle = await open({ placement }).start({ ...spec, name: "unrooted" });
      expect(await harness.ask(handle, "/read?of=/proc/self/status")).toMatch(/^Uid:\t1234\t/m);
    } finally {
      await label("baseline");
    }
  });

  test("an image that cannot be had is refused as such", async () => {
    const spec = harness.image("unreachable", [], "127.0.0.1:1/nobody/nothing:1");
    await expect(harness.runtime.start(spec)).rejects.toMatchObject({
      code: "UPSTREAM_UNAVAILABLE",
      message: expect.stringContaining("The image 127.0.0.1:1/nobody/nothing:1 cannot be pulled now"),
    });
    expect(await harness.remains(spec)).toEqual([]);
  });

  test("replicas of the DATA_DIR that this one is a copy of are neither stopped nor known; those of an owner are known wherever it runs", async () => {
    const original = harness.runtime;
    const handle = await original.start(harness.image("original", SERVES));
    const folder = await mkdtemp(join(tmpdir(), "toolyard-copy-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    await cp(harness.dataDir, folder, { recursive: true });
    const copy = open({ dataDir: folder });
    expect(await copy.list()).toEqual([]);
    expect(await copy.recognize(handle)).toBeNull();
    await copy.stop(handle, 0);
    await copy.forget(handle);
    expect(await copy.inspect(handle)).toMatchObject({ alive: false });
    expect((await original.inspect(handle)).alive).toBe(true);

    const owner = `owner-${harness.namespace.name}`;
    const one = open({ owner });
    const other = open({ owner, dataDir: folder });
    const shared = await one.start(harness.image("shared", SERVES));
    expect(other.capabilities.location).toBe("ELSEWHERE");
    await expect.poll(async () => (await other.list()).map((each) => each.handle)).toEqual([shared]);
    await other.stop(shared, 0);
    await expect.poll(() => one.list()).toEqual([]);
  });

  test("replicas go with the ConfigMap that they belong to, and without it none starts", async () => {
    const { kubectl, name, objects } = harness.namespace;
    await kubectl("create", "role", "anchor", "--verb=get", "--resource=configmaps", "--resource-name=anchor");
    await kubectl("create", "rolebinding", "anchor", "--role=anchor", `--group=system:serviceaccounts:${name}`);
    const runtime = open({ anchor: "anchor" });
    const refused = runtime.start(harness.image("adrift", SERVES));
    await expect(refused).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    await kubectl("create", "configmap", "anchor");
    const { identity } = await runtime.start(harness.image("anchored", SERVES));
    const label = `toolyard.dev/replica=${String(identity["replicaId"])}`;
    expect(await objects("deployments", label)).toHaveLength(1);
    await kubectl("delete", "configmap", "anchor");
    await expect.poll(() => objects("deployments,services,pods", label)).toEqual([]);
  });

  test("while the cluster is away all says so and replicas serve; who ended meanwhile is told when it is back", async () => {
    const { credentials } = harness.namespace;
    const way = await openWayToCluster(credentials);
    onTestFinished(() => way.close());
    const token = () => credentials.token;
    const runtime = open({ credentials: { kind: "token", ...credentials, token, endpoint: way.endpoint } });
    const [serving, ending, removed] = await Promise.all(
      ["serving", "ending", "removed"].map((name) => runtime.start(harness.image(name, SERVES))),
    );
    if (!serving || !ending || !removed) throw new Error("not started");
    const told: string[] = [];
    runtime.onExit(({ name }) => told.push(name));
    expect(await runtime.problem?.()).toBeNull();

    await way.close();
    const away = { code: "UPSTREAM_UNAVAILABLE" };
    expect(await runtime.problem?.()).toMatch(/^The cluster does not answer \(\w+\)\.$/);
    await expect.poll(() => runtime.list().catch((error: unknown) => error)).toMatchObject(away);
    await expect(runtime.inspect(serving)).rejects.toMatchObject(away);
    await expect(runtime.start(harness.image("late", SERVES))).rejects.toMatchObject(away);
    expect(await runtime.recognize(serving)).toEqual(serving);
    expect(await harness.ask(serving, "/directory")).toBeDefined();
    await harness.killFromOutside(ending);
    const its = `toolyard.dev/replica=${String(removed.identity["replicaId"])}`;
    await harness.namespace.kubectl("delete", "deployments", "-l", its);
    expect(told).toEqual([]);

    await way.open();
    await expect.poll(() => told.toSorted()).toEqual(["ending", "removed"]);
    await livesOn(runtime, serving);
  });

  test("credentials that end are told as such, and new ones are taken from their file", async () => {
    const own = await openClusterNamespace();
    onTestFinished(() => own.close());
    const file = join(harness.dataDir, "kubeconfig");
    const write = (token: string) =>
      writeFile(
        file,
        JSON.stringify({
          clusters: [
            {
              name: "c",
              cluster: { server: own.credentials.endpoint, "certificate-authority": own.credentials.caFile },
            },
          ],
          users: [{ name: "u", user: { token } }],
          contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
          "current-context": "x",
        }),
      );
    await write(own.credentials.token);
    const runtime = open({ credentials: { kind: "kubeconfig", files: file }, namespace: own.name });
    const tokenFile = join(harness.dataDir, "token");
    await writeFile(tokenFile, own.credentials.token);
    const configured =
      kubernetes.configure?.({
        MCP_NAMESPACE: own.name,
        KUBERNETES_CLUSTER_ENDPOINT: own.credentials.endpoint,
        KUBERNETES_SERVICE_ACCOUNT_TOKEN_FILE: tokenFile,
        KUBERNETES_CA_FILE: own.credentials.caFile,
      }) ?? expect.fail();
    const byToken = await configured.create({
      dataDir: await mkdtemp(join(harness.dataDir, "token-")),
      env: {},
      logger: createLogger({ level: "silent", name: "test" }),
      hiddenPaths: [],
      reachable: false,
      keepEndedMs: 60_000,
    });
    onTestFinished(() => byToken.close());
    const handle = await runtime.start(harness.image("lasting", SERVES));
    expect(await runtime.problem?.()).toBeNull();
    // With it all of its tokens end.
    await own.kubectl("delete", "serviceaccount", "toolyard");
    for (const each of [runtime, byToken])
      await expect.poll(() => each.problem?.()).toMatch(/does not accept Toolyard's credentials/);
    await expect(runtime.start(harness.image("late", SERVES))).rejects.toMatchObject({
      code: "UPSTREAM_UNAVAILABLE",
    });
    expect(await harness.ask(handle, "/directory")).toBeDefined();
    await own.kubectl("create", "serviceaccount", "toolyard");
    const renewed = (await own.kubectl("create", "token", "toolyard")).trim();
    await write(renewed);
    await writeFile(tokenFile, `${renewed}\n`);
    for (const each of [runtime, byToken]) await expect.poll(() => each.problem?.()).toBeNull();
    await livesOn(runtime, handle);
  });

  test("Toolyard's ServiceAccount has rights in its namespace only, and reads no Secret there; what it may not is said", async () => {
    const { name, kubectl } = harness.namespace;
    const can = (...what: string[]) =>
      kubectl("auth", "can-i", ...what, "--as", `system:serviceaccount:${name}:toolyard`).catch(
        (error: { stdout: string }) => error.stdout,
      );
    expect(await can("patch", "secrets")).toBe("yes\n");
    for (const what of [
      ["get", "secrets"],
      ["list", "secrets"],
      ["create", "pods/exec"],
      ["list", "nodes"],
    ])
      expect(await can(...what)).toBe("no\n");
    expect(await can("list", "pods", "--namespace", "default")).toBe("no\n");
    const stranger = open({ namespace: "default" });
    expect(await stranger.problem?.()).toMatch(/^Toolyard has no right to do this in the namespace default \(scripts/);
    await expect(stranger.start(harness.image("nowhere", SERVES))).rejects.toMatchObject({
      code: "UPSTREAM_UNAVAILABLE",
      message: expect.stringContaining("has no right"),
    });
    // None of these can be stopped there.
    stranger.list = async () => [];
  });
});
