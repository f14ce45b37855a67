import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { openWayTo, type WayToServer } from "./way-to-server.ts";

const run = promisify(execFile);
const kubeconfig = process.env["TEST_KUBECONFIG"] ?? "";
const program = process.env["KUBECTL"] ?? "kubectl";

/** Node and busybox, in the cluster. */
export const clusterImage = process.env["TEST_KUBERNETES_IMAGE"] ?? "";

/** Why tests in a cluster cannot be had; null: they can. */
export const noCluster =
  kubeconfig === "" || clusterImage === "" ? "TEST_KUBECONFIG or TEST_KUBERNETES_IMAGE is not set" : null;

/** A namespace of a test's own in the real cluster, as scripts/setup-k8s.sh makes it. */
export interface ClusterNamespace {
  name: string;
  /** What the script has Toolyard be: its ServiceAccount. */
  credentials: { endpoint: string; token: string; caFile: string };
  /** As the cluster's administrator, in this namespace. @returns what it printed @throws with what it said */
  kubectl(...args: string[]): Promise<string>;
  /** The objects of some kinds, as `deployments,pods`. */
  objects<Item = ClusterObject>(kinds: string, labelSelector?: string): Promise<Item[]>;
  apply(manifest: object): Promise<void>;
  close(): Promise<void>;
}

interface ClusterObject {
  kind: string;
  metadata: { name: string; uid: string; labels?: Record<string, string> };
}

/** A port of this machine before the cluster's, which can be cut. */
export async function openWayToCluster({
  endpoint,
}: ClusterNamespace["credentials"]): Promise<WayToServer & { endpoint: string }> {
  const { hostname, port } = new URL(endpoint);
  const way = await openWayTo({ host: hostname, port: Number(port) });
  return { ...way, endpoint: `https://${way.host}` };
}

export async function openClusterNamespace(): Promise<ClusterNamespace> {
  const name = `test-${randomBytes(5).toString("hex")}`;
  const folder = mkdtempSync(join(tmpdir(), "toolyard-cluster-"));
  const command = [program, "--kubeconfig", kubeconfig];
  const asked = async (args: readonly string[]): Promise<string> => {
    const { stdout } = await run(program, ["--kubeconfig", kubeconfig, ...args], { maxBuffer: 64 * 1024 * 1024 });
    return stdout;
  };
  const kubectl = (...args: string[]) => asked(["--namespace", name, ...args]);
  const { stdout } = await run(join(import.meta.dirname, "..", "..", "scripts", "setup-k8s.sh"), {
    env: { ...process.env, KUBECTL: command.join(" "), MCP_NAMESPACE: name, TOOLYARD_CIDR: "0.0.0.0/0" },
  });
  const endpoint = /^KUBERNETES_CLUSTER_ENDPOINT=(.*)$/m.exec(stdout)?.[1] ?? "";
  const token = (await kubectl("create", "token", "toolyard", "--duration", "2h")).trim();
  const caFile = join(folder, "ca.crt");
  // Made by a controller of the cluster, for each namespace.
  await kubectl("wait", "--for=create", "configmap/kube-root-ca.crt", "serviceaccount/default", "--timeout=60s");
  writeFileSync(
    caFile,
    await kubectl("get", "configmap", "kube-root-ca.crt", "-o", String.raw`jsonpath={.data.ca\.crt}`),
  );
  return {
    name,
    credentials: { endpoint, token, caFile },
    kubectl,
    async objects(kinds, labelSelector = "") {
      // As kubectl prints it.
      return (JSON.parse(await kubectl("get", kinds, "-l", labelSelector, "-o", "json")) as { items: never[] }).items;
    },
    async apply(manifest) {
      const file = join(folder, `${randomBytes(5).toString("hex")}.json`);
      writeFileSync(file, JSON.stringify(manifest));
      await kubectl("apply", "-f", file);
    },
    async close() {
      rmSync(folder, { recursive: true });
      await asked(["delete", "namespace", name, "--wait=false"]);
    },
  };
}
