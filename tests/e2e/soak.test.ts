import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { eventually, portBlock, startToolyard } from "@toolyard/testing";
import { noContainers, openContainerEngine } from "@toolyard/testing/containers.ts";
import { INSPECTABLE, inspectProcess } from "@toolyard/testing/inspected.ts";
import { embeddedOnly } from "@toolyard/testing/mode.ts";
import { expect, onTestFinished, test } from "vitest";
import { pidOf, soak } from "./fixtures/soak.ts";

/* Sessions dropped in every rude way while replicas are killed and replaced; .ci/soak has it for ten minutes. */

const IMAGE = "localhost/toolyard-soak-test:1";
const isLong = process.env["SOAK"] === "long";
const size = isLong
  ? { sessions: 1_000, rounds: 10, kills: 100, cycles: 20 }
  : { sessions: 40, rounds: 3, kills: 4, cycles: 1 };
/** Bytes a session: past that, ten thousand of them would be noticed. */
const MAX_SLOPE = 4_096;

test.skipIf(process.platform !== "linux" || embeddedOnly("it looks into one process and its files"))(
  `sessions dropped rudely, replicas killed and replaced: nothing is left${noContainers === null ? ", on a container engine either" : ""}`,
  { timeout: isLong ? 3_600_000 : 400_000 },
  async () => {
    const engine = noContainers === null ? openContainerEngine() : null;
    onTestFinished(() => engine?.close());
    await engine?.buildOfFiles(IMAGE, { "/server.mjs": join(import.meta.dirname, "fixtures/noted.mjs") });
    const ports = await portBlock();
    const toolyard = await startToolyard({
      env: {
        NODE_OPTIONS: INSPECTABLE,
        RATE_LIMIT_ENABLED: "false",
        MCP_PORT_RANGE: `${ports.first}-${ports.last}`,
        MCP_DEPLOYMENT_BACKEND: engine === null ? "process" : "process,docker",
        DOCKER_HOST: process.env["TEST_DOCKER_HOST"] ?? "",
      },
    });
    onTestFinished(() => toolyard[Symbol.asyncDispose]());
    const inspected = {
      gateway: await inspectProcess(toolyard.process.pid ?? 0, toolyard.output),
      proxy: await inspectProcess(await pidOf(toolyard.dataDir, "packages/proxy/"), toolyard.output),
    };
    // Before that: a process that is inspected does not end.
    onTestFinished(() => Object.values(inspected).forEach((each) => each.close()));
    const soaked = await soak({
      toolyard,
      inspected,
      ports,
      containers: engine && { engine, image: IMAGE },
      seed: process.env["SOAK_SEED"] ?? randomBytes(4).toString("hex"),
      ...size,
      say: (line) => process.stdout.write(`soak, ${new Date().toISOString()}: ${line}\n`),
    });
    expect(soaked.failures).toEqual([]);
    await expect.poll(() => soaked.rest(), { timeout: 60_000, interval: 500 }).toEqual(soaked.before);
    const most = soaked.held.before;
    const held = await eventually("that no timers and descriptors are left", async () => {
      const now = await soaked.held.now();
      const isBack = (["gateway", "proxy"] as const).every(
        (name) => now[name].timers <= most[name].timers && now[name].descriptors <= most[name].descriptors,
      );
      if (isBack) return now;
      throw new Error(JSON.stringify({ most, now }));
    });
    expect(held.proxy.descriptors).toBeGreaterThan(0);
    if (isLong) for (const [name, slope] of Object.entries(soaked.slopes)) expect(slope, name).toBeLessThan(MAX_SLOPE);
  },
);
