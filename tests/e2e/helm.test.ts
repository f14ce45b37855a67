import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createRelay } from "@toolyard/runtimes/egress/relay.ts";
import { connectMcp, eventually, graphqlClient, logIn } from "@toolyard/testing";
import { noCluster } from "@toolyard/testing/cluster.ts";
import { dropServerData, serverDataOf } from "@toolyard/testing/server-data.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { keepDoing } from "./fixtures/keep-doing.ts";

/* deploy/helm/toolyard, by Helm at TEST_HELM, in the cluster of TEST_KUBECONFIG, which for an installation has Toolyard's image under the name TEST_KUBERNETES_RUNNER_IMAGE. */

const run = promisify(execFile);
const chart = join(import.meta.dirname, "../../deploy/helm/toolyard");
const {
  TEST_HELM: helmProgram = "",
  TEST_KUBERNETES_RUNNER_IMAGE: image = "",
  KUBECTL: kubectlProgram = "kubectl",
} = process.env;
const kubeconfig = process.env["TEST_KUBECONFIG"] ?? "";
const missing = noCluster ?? (helmProgram === "" ? "TEST_HELM is not set" : null);
/** Pods that start are for long runs. */
const notInstalled =
  missing ??
  ["OUTAGE_SECONDS", "TEST_KUBERNETES_RUNNER_IMAGE"].flatMap((name) =>
    process.env[name] ? [] : `${name} is not set`,
  )[0] ??
  null;
/** Where pods reach this machine. */
const here = process.env["TEST_KUBERNETES_HOST"] ?? "";
const noServers = ["TEST_MYSQL_URL", "TEST_REDIS_URL", "TEST_MONGODB_URL"].find((name) => !process.env[name]) ?? null;

const EVERYTHING = "/opt/toolyard/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
const KINDS =
  "all,secrets,configmaps,serviceaccounts,pvc,ingresses,networkpolicies,roles,rolebindings,poddisruptionbudgets,horizontalpodautoscalers";
/** As mode: distributed needs them. */
const SECRETS = ["SECRET_KEY", "ADMIN_PASSWORD", "DATABASE_URL", "REDIS_URL", "MONGODB_URL"];

/** Of the load: two cores have it beside ten pods that start. */
const PACE_MS = 100;
/** Of the distributed mode. */
const PARTS = ["gateway", "proxy", "identity", "tools", "knowledge", "analysis", "deployments", "worker"];

const helm = async (...args: string[]): Promise<string> =>
  (await run(helmProgram, ["--kubeconfig", kubeconfig, ...args], { maxBuffer: 64 * 1_048_576 })).stdout;
const kubectl = async (...args: string[]): Promise<string> =>
  (await run(kubectlProgram, ["--kubeconfig", kubeconfig, ...args], { maxBuffer: 64 * 1_048_576 })).stdout;
const set = (values: Record<string, string | number | boolean>): string[] =>
  Object.entries(values).flatMap(([name, value]) => [
    typeof value === "string" ? "--set-string" : "--set",
    `${name}=${String(value)}`,
  ]);
const [repository = "", tag = ""] = image.split(/:(?=[^:/]+$)/);
const common = {
  ...(image !== "" && { "image.repository": repository, "image.tag": tag }),
  "persistence.enabled": false,
};

const home = `test-${randomBytes(5).toString("hex")}`;
const servers = `${home}-mcp`;
let folder: string;
const relays: Server[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "toolyard-helm-"));
  for (const [name, level] of [
    [home, "restricted"],
    [servers, "baseline"],
  ] as const) {
    await kubectl("create", "namespace", name);
    await kubectl("label", "namespace", name, `pod-security.kubernetes.io/enforce=${level}`);
    await kubectl(
      "wait",
      "--for=create",
      "-n",
      name,
      "configmap/kube-root-ca.crt",
      "serviceaccount/default",
      "--timeout=60s",
    );
  }
});
afterAll(async () => {
  for (const relay of relays) relay.close();
  await kubectl("delete", "namespace", home, servers, "--wait=false");
  await dropServerData(folder);
  rmSync(folder, { recursive: true });
});

const left = async (): Promise<string[]> => {
  const found = await Promise.all(
    [home, servers].map((namespace) => kubectl("get", KINDS, "-n", namespace, "-o", "name", "--ignore-not-found")),
  );
  return found
    .join("\n")
    .split("\n")
    .filter((name) => name !== "" && !/^(configmap\/kube-root-ca\.crt|serviceaccount\/default)$/.test(name));
};
/** After that, there is nothing in the namespaces but what others than Helm have made. */
async function uninstall(kept: string[] = []): Promise<void> {
  await helm("uninstall", "toolyard", "--namespace", home, "--wait", "--timeout", "5m");
  await expect.poll(left, { timeout: 180_000 }).toEqual(kept);
}
/** Of a Service: this machine reaches those of the cluster. */
const addressOf = async (service: string, port: number): Promise<string> =>
  `http://${await kubectl("get", "service", service, "-n", home, "-o", "jsonpath={.spec.clusterIP}")}:${port}`;

/** Deploys a server on stdio, which runs in Toolyard's own image, and calls it. @returns how it is called again */
async function mainJob(password: string) {
  const gateway = await addressOf("toolyard-gateway", 4_000);
  const proxy = await addressOf("toolyard-proxy", 4_100);
  // A node without CPU to spare has it answer that it has too much to do, or that another part is away.
  const token = await eventually("logging in", () => logIn(gateway, "admin", password));
  const client = graphqlClient(gateway, token);
  const query: typeof client.query = (...given) => eventually("an answer", () => client.query(...given));
  const { createTool } = await query<{ createTool: { id: string } }>(
    "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
    {
      input: {
        name: "Echo",
        description: "in a pod",
        launch: { stdio: { command: "node", args: [EVERYTHING, "stdio"] } },
      },
    },
  );
  const { deployTool } = await query<{ deployTool: { id: string; runtime: string } }>(
    "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id runtime } }",
    { input: { toolId: createTool.id } },
  );
  expect(deployTool.runtime).toBe("KUBERNETES");
  await eventually("the server is healthy", async () => {
    const { deployment } = await query<{ deployment: { health: string; reason: string | null } }>(
      "query ($id: ID!) { deployment(id: $id) { health reason } }",
      { id: deployTool.id },
    );
    if (deployment.health !== "HEALTHY") throw new Error(deployment.reason ?? deployment.health);
    return true;
  });
  const url = `${proxy}/mcp/echo/v1/mcp`;
  const session = await connectMcp("v1", url, token);
  const call = async (message: string) => expect(await session.callTool("echo", { message })).toBe(`Echo: ${message}`);
  await call("from a pod");
  expect(await kubectl("get", "pods", "-n", servers, "-o", "name")).toMatch(/^pod\/mcp-echo-/m);
  return { call, query: client.query, url, token, close: () => session.close() };
}

/** An address of this machine that pods reach, of a server that listens on loopback. */
async function reachable(text: string): Promise<string> {
  const { hostname, port } = new URL(text);
  const relay = createRelay({ host: hostname, port: Number(port) }).listen(0, here);
  await once(relay, "listening");
  relays.push(relay);
  const url = new URL(text);
  url.host = `${here}:${(relay.address() as AddressInfo).port}`;
  return url.href;
}

interface Pod {
  name: string;
  uid: string;
  component: string;
}
async function podsOf(namespace: string): Promise<Pod[]> {
  const { items } = JSON.parse(
    await kubectl("get", "pods", "-n", namespace, "--field-selector=status.phase=Running", "-o", "json"),
  ) as { items: { metadata: { name: string; uid: string; labels: Record<string, string> } }[] };
  return items.map(({ metadata: { name, uid, labels } }) => ({
    name,
    uid,
    component: labels["app.kubernetes.io/component"] ?? "",
  }));
}

describe.skipIf(missing !== null)(`the helm chart${missing === null ? "" : ` (skipped: ${missing})`}`, () => {
  test.each<[string, Record<string, string | number | boolean>]>([
    ["embedded", { "persistence.enabled": true, "backup.enabled": true, "backup.claim": "backups" }],
    ["distributed", { existingSecret: "secrets" }],
    [
      "distributed",
      {
        ...Object.fromEntries(SECRETS.map((name) => [`secrets.${name}`, "x"])),
        "replicas.namespace": servers,
        "ingress.enabled": true,
        "ingress.tlsSecret": "tls",
        "autoscaling.gateway.enabled": true,
        "autoscaling.proxy.enabled": true,
        "backup.enabled": true,
        "backup.claim": "backups",
        "monitoring.dashboard.enabled": true,
        "env.REGISTRATION": "closed",
        "image.pullSecrets[0]": "registry",
        "podAnnotations.some": "thing",
      },
    ],
  ])(
    "mode %s is what lint and the cluster's API server take, at Pod Security's level restricted",
    async (mode, values) => {
      const given = set({ ...common, mode, ...values });
      await helm("lint", "--strict", chart, ...given);
      const manifests = await helm("template", "toolyard", chart, "--namespace", home, ...given);
      // Some objects name another namespace, which the flag would refuse.
      const inHome = join(folder, "kubeconfig");
      copyFileSync(kubeconfig, inHome);
      await kubectl("config", "set-context", "--current", "--namespace", home, "--kubeconfig", inHome);
      const applied = spawn(
        kubectlProgram,
        ["--kubeconfig", inHome, "apply", "--server-side", "--dry-run=server", "--filename", "-"],
        { stdio: ["pipe", "pipe", "pipe"] },
      );
      let said = "";
      for (const output of [applied.stdout, applied.stderr])
        output.on("data", (text: Buffer) => (said += text.toString()));
      applied.stdin.end(manifests);
      const [code] = await once(applied, "close");
      expect(said).not.toMatch(/warning|error/i);
      expect(code, said).toBe(0);
      expect(said.match(/serverside-applied/g)?.length).toBeGreaterThan(mode === "embedded" ? 10 : 30);
      expect(manifests).not.toMatch(/kind: Cluster/);
    },
  );

  test("replicas and strangers reach gateway and proxy alone, also where nobody reads metrics; those who may read them reach all parts", async () => {
    const policies = async (values: Record<string, string>): Promise<string[]> => {
      const given = set({ mode: "distributed", existingSecret: "secrets", ...values });
      const shown = ["--show-only", "templates/network-policies.yaml"];
      return (await helm("template", "toolyard", chart, ...given, ...shown)).split(/^---$/m);
    };
    const ingressOf = (policy: string): string => /^ {2}ingress:\n((?: {4}.*\n?)*)/m.exec(policy)?.[1] ?? "";
    /** Parts to which a rule leads that names ports, and neither a peer. */
    const open = (all: string[]): string[] =>
      all
        .filter((policy) => /- ports:\n(?: {8}- .*\n)+(?! +from:)/.test(ingressOf(policy)))
        .map((policy) => /component: (.*)/.exec(policy)?.[1] ?? "");
    expect(open(await policies({}))).toEqual(["gateway", "proxy"]);
    const scraped = await policies({ "networkPolicies.scrapers[0].podSelector.matchLabels.app": "prometheus" });
    expect(open(scraped)).toEqual(["gateway", "proxy"]);
    expect(scraped.filter((policy) => policy.includes("app: prometheus")).length).toBe(8);
  });

  test("an annotation of pods changes with secrets, and is no digest of a password that could be guessed", async () => {
    const noted = async (values: Record<string, string>): Promise<string | undefined> =>
      /toolyard.dev\/secrets: (.*)/.exec(await helm("template", "toolyard", chart, ...set(values)))?.[1];
    const password = { "secrets.ADMIN_PASSWORD": "hunter22" };
    expect(await noted(password)).toBe("revision-1");
    const keyed = await noted({ ...password, "secrets.SECRET_KEY": "k".repeat(64) });
    expect(keyed).toMatch(/^[0-9a-f]{16}$/);
    expect(await noted({ ...password, "secrets.SECRET_KEY": "l".repeat(64) })).not.toBe(keyed);
  });

  test.each([
    ["an unknown value", { gatway: 1 }, /gatway/],
    ["the distributed mode without its secrets", { mode: "distributed" }, /needs SECRET_KEY/],
    ["a secret among variables", { "env.SECRET_KEY": "x" }, /env\.SECRET_KEY is a secret/],
    ["a secret that there is not", { "secrets.DATABASE_URI": "x" }, /DATABASE_URI is no secret/],
  ])("%s is refused by name", async (_what, values, message) => {
    await expect(helm("template", "toolyard", chart, ...set({ ...values }))).rejects.toThrow(message);
  });
});

describe.skipIf(notInstalled !== null)(
  `installed by Helm${notInstalled === null ? "" : ` (skipped: ${notInstalled})`}`,
  () => {
    test(
      "embedded, it does its main job with replicas in another namespace, and leaves nothing",
      { timeout: 1_200_000 },
      async () => {
        const notes = await helm(
          "install",
          "toolyard",
          chart,
          "--namespace",
          home,
          "--wait",
          "--timeout",
          "15m",
          ...set({ ...common, "replicas.namespace": servers }),
        );
        // As it says.
        const [, command = ""] = /^ +kubectl (.* -- cat \S+admin-password)$/m.exec(notes) ?? expect.fail(notes);
        const password = (await kubectl(...command.split(" "))).trim();
        const job = await mainJob(password);
        await job.close();
        await uninstall();
      },
    );

    test.skipIf(noServers !== null)(
      `in parts${noServers === null ? "" : ` (skipped: ${noServers} is not set)`}, it fails no call in a rolling upgrade of all pods, and leaves nothing`,
      { timeout: 2_700_000 },
      async () => {
        const { env } = await serverDataOf(folder);
        const secrets: Record<string, string> = {
          SECRET_KEY: randomBytes(32).toString("hex"),
          ADMIN_PASSWORD: "correct horse battery",
        };
        for (const name of ["DATABASE_URL", "REDIS_URL", "MONGODB_URL"])
          secrets[name] = await reachable(env[name] ?? "");
        const file = join(folder, "secrets.env");
        const lines = Object.entries(secrets).map((pair) => pair.join("="));
        writeFileSync(file, lines.join("\n"), { mode: 0o600 });
        await kubectl("create", "secret", "generic", "toolyard-secrets", "-n", home, `--from-env-file=${file}`);
        const values = set({
          ...common,
          mode: "distributed",
          existingSecret: "toolyard-secrets",
          "replicas.namespace": servers,
          "env.REDIS_PREFIX": env["REDIS_PREFIX"] ?? "",
          // What one node of two cores has room for twice over.
          ...Object.fromEntries(PARTS.map((part) => [`parts.${part}.resources.requests.cpu`, "10m"])),
        });
        const roll = (version: string) =>
          helm(
            "upgrade",
            "--install",
            "toolyard",
            chart,
            "--namespace",
            home,
            "--wait",
            "--timeout",
            "20m",
            ...values,
            ...set({ "podAnnotations.version": version }),
          );
        await roll("first");
        const job = await mainJob(secrets["ADMIN_PASSWORD"] ?? "");
        const [before, replicas] = [await podsOf(home), await podsOf(servers)];
        const count = (pods: Pod[], name: string) => pods.filter(({ component }) => component === name).length;
        expect([count(before, "gateway"), count(before, "proxy")]).toEqual([2, 2]);
        const stateless = await connectMcp("v2-stateless", job.url, job.token);
        const load = {
          sessions: keepDoing((n) => job.call(`call ${n}`), PACE_MS),
          stateless: keepDoing(async (n) => {
            expect(await stateless.callTool("echo", { message: `call ${n}` })).toBe(`Echo: call ${n}`);
          }, PACE_MS),
          queries: keepDoing(async () => {
            const { me } = await job.query<{ me: { username: string } }>(
              "{ me { username } tools(first: 1) { totalCount } }",
            );
            expect(me.username).toBe("admin");
          }, PACE_MS),
        };
        const each = Object.values(load);
        try {
          await eventually("load", () => each.every(({ done }) => done() > 10));
          await roll("next");
          // All of it was replaced, by as many, and no replica.
          await eventually("those of before have ended", async () => {
            const now = await podsOf(home);
            const old = now.filter(({ uid }) => before.some((pod) => pod.uid === uid)).map(({ name }) => name);
            if (old.length > 0) throw new Error(old.join(" "));
            return now.length === before.length;
          });
        } finally {
          for (const { stop } of each) await stop();
        }
        expect(each.flatMap(({ failures }) => failures)).toEqual([]);
        expect(Math.min(...each.map(({ done }) => done()))).toBeGreaterThan(100);
        expect(await podsOf(servers)).toEqual(replicas);
        await stateless.close();
        await job.close();
        await uninstall(["secret/toolyard-secrets"]);
      },
    );
  },
);
