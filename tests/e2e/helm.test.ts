import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { connectMcp, eventually, graphqlClient, logIn } from "@toolyard/testing";
import { noCluster } from "@toolyard/testing/cluster.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

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

const EVERYTHING = "/opt/toolyard/node_modules/@modelcontextprotocol/server-everything/dist/index.js";
const KINDS =
  "all,secrets,configmaps,serviceaccounts,pvc,ingresses,networkpolicies,roles,rolebindings,poddisruptionbudgets,horizontalpodautoscalers";
/** As mode: distributed needs them. */
const SECRETS = ["SECRET_KEY", "ADMIN_PASSWORD", "DATABASE_URL", "REDIS_URL", "MONGODB_URL"];

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
  await kubectl("delete", "namespace", home, servers, "--wait=false");
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
/** Of a Service: this machine reaches those of the cluster. */
const addressOf = async (service: string, port: number): Promise<string> =>
  `http://${await kubectl("get", "service", service, "-n", home, "-o", "jsonpath={.spec.clusterIP}")}:${port}`;

/** Deploys a server on stdio, which runs in Toolyard's own image, and calls it. @returns how it is called again */
async function mainJob(password: string) {
  const gateway = await addressOf("toolyard-gateway", 4_000);
  const proxy = await addressOf("toolyard-proxy", 4_100);
  // A node without CPU to spare has it answer that it has too much to do.
  const token = await eventually("logging in", () => logIn(gateway, "admin", password));
  const { query } = graphqlClient(gateway, token);
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
  const client = await connectMcp("v1", `${proxy}/mcp/echo/v1/mcp`, token);
  const call = async (message: string) => expect(await client.callTool("echo", { message })).toBe(`Echo: ${message}`);
  await call("from a pod");
  expect(await kubectl("get", "pods", "-n", servers, "-o", "name")).toMatch(/^pod\/mcp-echo-/m);
  return { call, close: () => client.close() };
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
      expect(said.match(/serverside-applied/g)?.length).toBeGreaterThan(mode === "embedded" ? 10 : 35);
      expect(manifests).not.toMatch(/kind: Cluster/);
    },
  );

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
        await helm("uninstall", "toolyard", "--namespace", home, "--wait", "--timeout", "3m");
        await eventually("nothing is left", async () => {
          const names = await left();
          if (names.length > 0) throw new Error(names.join(" "));
          return true;
        });
      },
    );
  },
);
