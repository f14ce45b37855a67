import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import {
  clusterImage,
  noCluster,
  openClusterNamespace,
  openWayToCluster,
  type ClusterNamespace,
} from "@toolyard/testing/cluster.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sampleServerEntry } from "../../standalone/sample.ts";
import { askOf } from "./fixtures/deployed.ts";
import { scaleByLoad } from "./fixtures/scaled-by-load.ts";

/* Replicas in pods beside those that are processes, in the cluster of TEST_KUBECONFIG, by the ServiceAccount that scripts/setup-k8s.sh makes. */

const SERVER = [
  "--input-type=module",
  "--eval",
  readFileSync(join(import.meta.dirname, "fixtures/contained.mjs"), "utf8"),
];
/** Toolyard's own image in the cluster, in which servers on stdio run; where there is none, they are not tried. */
const runnerImage = process.env["TEST_KUBERNETES_RUNNER_IMAGE"] || null;
/** How long the cluster is away. `OUTAGE_SECONDS=60` for a long run. */
const AWAY_MS = Number(process.env["OUTAGE_SECONDS"] ?? 10) * 1_000;
const OBJECTS = "deployments,replicasets,pods,services,configmaps,secrets";
const run = promisify(execFile);

describe.skipIf(noCluster !== null)(
  `replicas in a kubernetes cluster${noCluster === null ? "" : ` (skipped: ${noCluster})`}`,
  () => {
    let namespace: ClusterNamespace;
    let way: Awaited<ReturnType<typeof openWayToCluster>>;
    let folder: string;
    let toolyard: RunningToolyard;
    beforeAll(async () => {
      namespace = await openClusterNamespace();
      way = await openWayToCluster(namespace.credentials);
      folder = await mkdtemp(join(tmpdir(), "toolyard-kubernetes-"));
      toolyard = await start();
    });
    afterAll(async () => {
      await toolyard.stop();
      await way.close();
      await namespace.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    });

    const start = (more: Partial<Parameters<typeof startToolyard>[0]> = {}) =>
      startToolyard({
        dataDir: join(folder, "data"),
        env: {
          MCP_DEPLOYMENT_BACKEND: "process,kubernetes",
          MCP_NAMESPACE: namespace.name,
          KUBERNETES_CLUSTER_ENDPOINT: way.endpoint,
          KUBERNETES_SERVICE_ACCOUNT_TOKEN: namespace.credentials.token,
          KUBERNETES_CA_FILE: namespace.credentials.caFile,
          MCP_RUNNER_IMAGE: runnerImage ?? clusterImage,
          REPLICAS_ON_EXIT: "keep",
        },
        ...more,
      });
    const ours = (kinds: string) => namespace.objects(kinds, "app.kubernetes.io/managed-by=toolyard");

    test("are deployed, called, scaled, replaced without a failed call, started again after a kill, adopted by the next Toolyard, served while the cluster is away, and leave nothing", async () => {
      let token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
      const { ask, look, healthy, stop, call, isHealthy } = askOf(() => ({ toolyard, token }));
      const DEPLOY = "mutation ($input: DeployToolInput!) { deployTool(input: $input) { id name runtime } }";
      interface Deployed {
        deployTool: { id: string; name: string; runtime: string };
      }
      const deploy = async (name: string, launch: object, input: object = {}) => {
        const { createTool } = await ask<{ createTool: { id: string } }>(
          "mutation ($input: CreateToolInput!) { createTool(input: $input) { id } }",
          { input: { name, description: name, launch } },
        );
        const { deployTool } = await ask<Deployed>(DEPLOY, { input: { toolId: createTool.id, ...input } });
        return { ...deployTool, toolId: createTool.id };
      };

      const env = [
        { name: "GREETING", value: "hello", secret: false },
        { name: "KEY", value: "a-secret-of-the-pod", secret: true },
      ];
      const launch = { image: clusterImage, args: ["node", ...SERVER], port: 8080, env };
      const [podded, direct, beside, wrong] = await Promise.all([
        deploy("podded", { image: launch }),
        deploy("direct", { http: { command: "node", args: SERVER, env } }, { runtime: "KUBERNETES" }),
        deploy("beside", { stdio: { command: process.execPath, args: [sampleServerEntry(), "stdio"] } }),
        deploy("wrong", { image: { ...launch, args: ["/no/such/program"] } }),
      ]);
      expect([podded.runtime, direct.runtime, beside.runtime]).toEqual(["KUBERNETES", "KUBERNETES", "PROCESS"]);
      for (const { id } of [podded, direct, beside]) await healthy(id, 1);
      expect(await call("podded", "whoami")).toMatch(/^hello from mcp-podded-/);
      expect(await call("direct", "whoami")).toMatch(/^hello from mcp-direct-/);
      expect(await call("beside", "echo", { message: "there?" })).toContain("there?");
      await eventually("a command that is not there is told", async () => (await look(wrong.id)).status === "FAILED");
      expect((await look(wrong.id)).reason).toMatch(/^The image's command cannot be run\. .*\/no\/such\/program/);
      await stop(wrong.id);
      const manifests = JSON.stringify(await ours("deployments,configmaps,services,pods"));
      expect(manifests).toContain("hello");
      expect(manifests).not.toContain("a-secret-of-the-pod");

      const script = join(import.meta.dirname, "../../scripts/test-deployment.sh");
      const asked = await run(script, ["podded"], {
        env: { ...process.env, TOOLYARD_URL: toolyard.url, TOOLYARD_TOKEN: token },
      });
      expect(asked.stdout).toMatch(/is RUNNING and HEALTHY\.\n.* lists 1 tools within \d+ ms: whoami\n$/);

      await ask("mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 2) { id } }", { id: podded.id });
      await healthy(podded.id, 2);
      const callUntil = async (over: AbortSignal) => {
        const answers: (string | null)[] = [];
        while (!over.aborted)
          answers.push(await call("podded", "whoami").catch((error: unknown) => `failed: ${String(error)}`));
        expect(answers.filter((answer) => answer?.startsWith("hello from mcp-podded-") !== true)).toEqual([]);
        return new Set(answers);
      };
      const stopCalling = new AbortController();
      const calling = callUntil(stopCalling.signal);
      calling.catch(() => undefined); // It is looked at below.
      const { deployTool: next } = await ask<Deployed>(DEPLOY, { input: { toolId: podded.toolId, replicas: 2 } });
      await healthy(next.id, 2);
      await eventually("the old one is stopped", async () => (await look(podded.id)).status === "STOPPED");
      stopCalling.abort();
      expect((await calling).size).toBeGreaterThan(1);

      const podsOf = async (deployment: string) =>
        (await namespace.objects("pods", `toolyard.dev/deployment=${deployment}`)).map(({ metadata }) => metadata.name);
      const [killed = ""] = await podsOf(next.id);
      await namespace.kubectl("exec", killed, "--", "sh", "-c", "kill -9 $(pidof node)");
      // Kubernetes itself starts another pod of the same Deployment first, which is taken away.
      const ofKilled = killed.replace(/[^-]+$/, "");
      await eventually("another replica runs in its place", async () => {
        const running = await podsOf(next.id);
        return running.length === 2 && !running.some((name) => name.startsWith(ofKilled));
      });
      await healthy(next.id, 2);

      const before = (await podsOf(next.id)).toSorted();
      await toolyard.kill();
      toolyard = await start();
      token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
      await healthy(next.id, 2);
      expect((await podsOf(next.id)).toSorted()).toEqual(before);
      expect(await call("podded", "whoami")).toMatch(/^hello from mcp-podded-/);
      const isReachable = () => isHealthy("runtime:kubernetes");
      expect(await isReachable()).toBe(true);

      const asItWas = await look(next.id);
      await way.close();
      const awhile = callUntil(AbortSignal.timeout(AWAY_MS));
      awhile.catch(() => undefined); // It is looked at below.
      await eventually("it is known that the cluster is away", async () => !(await isReachable()));
      await awhile;
      await way.open();
      await eventually("the cluster is back", isReachable);
      await healthy(next.id, 2);
      expect(await look(next.id)).toEqual(asItWas);
      expect(asItWas).toMatchObject({ status: "RUNNING", reason: null });
      expect((await podsOf(next.id)).toSorted()).toEqual(before);

      for (const { id } of [next, direct, beside]) await stop(id);
      await eventually("nothing is left in the namespace", async () => (await ours(OBJECTS)).length === 0);
    });

    test.skipIf(runnerImage === null)(
      "are bridges of servers on stdio in Toolyard's own image, as many as calls need, none while idle, and leave nothing",
      async () => {
        const token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
        await scaleByLoad(toolyard, token, "KUBERNETES");
        await eventually("nothing is left in the namespace", async () => (await ours(OBJECTS)).length === 0);
      },
    );
  },
);
