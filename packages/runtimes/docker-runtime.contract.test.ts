import { noContainers } from "@toolyard/testing/containers.ts";
import { describe } from "vitest";
import { engineTests, openDockerHarness } from "./docker-runtime.harness.ts";
import { runtimeContract } from "./runtime.contract.ts";

describe.skipIf(noContainers !== null)(engineTests, () => runtimeContract("docker", openDockerHarness));
