import { noCluster } from "@toolyard/testing/cluster.ts";
import { describe } from "vitest";
import { clusterTests, openKubernetesHarness, useNamespace } from "./kubernetes-runtime.harness.ts";
import { runtimeContract } from "./runtime.contract.ts";

describe.skipIf(noCluster !== null)(clusterTests, () => {
  const namespace = useNamespace();
  runtimeContract("kubernetes", async () => openKubernetesHarness(await namespace()));
});
