import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { noCluster } from "@toolyard/testing/cluster.ts";
import { DEFAULT_OPTIONS } from "@toolyard/launch/launch.ts";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { stopAll } from "./fixtures/stop-all.ts";
import {
  clusterTests,
  openKubernetesHarness,
  SERVES,
  useNamespace,
  type KubernetesHarness,
} from "./kubernetes-runtime.harness.ts";
import type { ReplicaLogLine, ReplicaSpec } from "./runtime.ts";

/* Replicas with an egress list, in the cluster of TEST_KUBECONFIG. Its network keeps to no NetworkPolicy: what they say is looked at, not what they do. */

const runnerImage = process.env["TEST_KUBERNETES_RUNNER_IMAGE"] || null;
/** This machine, as pods reach it. */
const address = process.env["TEST_KUBERNETES_HOST"] ?? "";

describe.skipIf(noCluster !== null || runnerImage === null)(
  `egress lists in Toolyard's own image, on a ${clusterTests}`,
  () => {
    const logger = createLogger({ level: "silent", name: "runtime" });
    const warn = vi.spyOn(logger, "warn");
    const namespace = useNamespace();
    const server = createServer(({ url = "" }, response) => void response.end(`you asked for ${url}`));
    let harness: KubernetesHarness;
    let port: number;

    beforeAll(async () => {
      harness = await openKubernetesHarness(await namespace(), { runnerImage, keepsPolicies: true, logger });
      await once(server.listen(0, address), "listening");
      ({ port } = server.address() as AddressInfo);
    });
    afterAll(async () => {
      server.close();
      await stopAll(harness.runtime, 0);
      await harness.runtime.close();
      await harness.close();
    });

    const held = (name: string, allow: string[]): ReplicaSpec => ({
      ...harness.image(name, []),
      deploymentId: `deployment-of-${name}`,
      launch: {
        kind: "http",
        command: SERVES[0] ?? "",
        args: SERVES.slice(1),
        env: {},
        workingDirectory: null,
        writablePaths: [],
      },
      options: { ...DEFAULT_OPTIONS, egress: { allow } },
    });
    const policies = async () =>
      harness.namespace.objects<{
        metadata: { name: string };
        spec: { podSelector: { matchLabels: Record<string, string> }; policyTypes: string[]; egress?: object[] };
      }>("networkpolicies", "toolyard.dev/replica");

    test("a replica reaches the hosts of its list by its proxy, which tells what it refuses, also to the next Toolyard; nothing else is open to it, and nothing is left", async () => {
      const spec = held("one", [`${address}:${port}`]);
      const handle = await harness.runtime.start(spec);
      const ask = (question: string, of: string) => harness.ask(handle, `${question}?of=${encodeURIComponent(of)}`);
      const lines: ReplicaLogLine[] = [];
      const following = new AbortController();
      const followed = (async () => {
        for await (const line of harness.runtime.followLogs(handle, following.signal)) lines.push(line);
      })();
      expect(await ask("/fetch", `http://${address}:${port}/allowed`)).toEqual([200, "you asked for /allowed"]);
      for (const url of [`http://${address}:${port + 1}/`, "http://169.254.169.254/", "https://elsewhere.test/"])
        expect(await ask("/fetch", url)).toEqual(expect.stringContaining("403"));
      await expect
        .poll(() => harness.runtime.egressRefusals?.(), { timeout: 20_000 })
        .toEqual(new Map([[spec.deploymentId, 3]]));
      expect(warn).toHaveBeenCalledWith(
        expect.objectContaining({ deployment_id: spec.deploymentId, host: "elsewhere.test:443" }),
        expect.any(String),
      );
      const refusedLine = expect.objectContaining({
        stream: "SYSTEM",
        text: expect.stringMatching(/^elsewhere\.test:443 was refused/),
      });
      expect(await harness.runtime.logs(handle, 10)).toContainEqual(refusedLine);
      await expect.poll(() => lines).toContainEqual(refusedLine);
      following.abort();
      await followed;

      // The policy that selects its pod lets it reach the one that selects the proxy's, and no policy else lets it out.
      const [pod = "", proxy = ""] = (await harness.namespace.objects("pods", `toolyard.dev/replica=${spec.replicaId}`))
        .toSorted((a, b) => a.metadata.name.length - b.metadata.name.length)
        .map(({ metadata }) => JSON.stringify(Object.entries(metadata.labels ?? {})));
      const [own] = (await policies()).filter(({ spec: { policyTypes } }) => policyTypes.includes("Egress"));
      const to = own?.spec.egress as [{ to: [{ podSelector: { matchLabels: object } }]; ports: object[] }];
      for (const label of Object.entries(own?.spec.podSelector.matchLabels ?? {}))
        expect(pod).toContain(JSON.stringify(label));
      for (const label of Object.entries(to[0].to[0].podSelector.matchLabels))
        expect(proxy).toContain(JSON.stringify(label));
      expect([to.length, to[0].to.length, to[0].ports]).toEqual([1, 1, [{ port: 3128, protocol: "TCP" }]]);

      const next = await harness.successor();
      try {
        expect((await next.list()).find(({ replicaId }) => replicaId === spec.replicaId)?.handle).toEqual(handle);
        expect(await ask("/fetch", `http://${address}:${port}/kept`)).toEqual([200, "you asked for /kept"]);
        await expect.poll(() => next.logs(handle, 10), { timeout: 20_000 }).toContainEqual(refusedLine);
        // That was counted by the one before.
        expect(next.egressRefusals?.().get(spec.deploymentId)).toBeUndefined();
        await next.stop(handle, 0);
        await next.forget(handle);
        expect(await harness.remains(spec)).toEqual([]);
        await expect.poll(policies).toEqual([]);
      } finally {
        await next.close();
      }
    });

    test("is refused where another policy of the namespace lets its pods out, and nothing is left", async () => {
      await harness.namespace.apply({
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "anywhere" },
        spec: { podSelector: {}, policyTypes: ["Egress"], egress: [{}] },
      });
      const spec = held("open", []);
      await expect(harness.runtime.start(spec)).rejects.toMatchObject({
        code: "PRECONDITION_FAILED",
        message: expect.stringMatching(/NetworkPolicy anywhere .* lets it reach more/),
      });
      expect(await harness.remains(spec)).toEqual([]);
      await harness.namespace.kubectl("delete", "networkpolicy", "anywhere");
    });
  },
);
