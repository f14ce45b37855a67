import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createLogger } from "@toolyard/service-kit/process/log.ts";
import { noContainers, openContainerEngine } from "@toolyard/testing/containers.ts";
import { ownAddress } from "@toolyard/testing/ports.ts";
import { DEFAULT_OPTIONS } from "@toolyard/launch/launch.ts";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { buildRunnerImage, engineTests, openDockerHarness, type DockerHarness } from "./docker-runtime.harness.ts";
import { stopAll } from "./fixtures/stop-all.ts";
import type { ReplicaHandle, ReplicaLogLine, ReplicaSpec } from "./runtime.ts";

/* Replicas with an egress list, on the engine at TEST_DOCKER_HOST. */

interface Started {
  spec: ReplicaSpec;
  handle: ReplicaHandle;
  /** Asks the fixture `http-server.mjs`. */
  ask(question: string, of: string): Promise<unknown>;
}

describe.skipIf(noContainers !== null)(`egress lists on a ${engineTests}`, () => {
  const logger = createLogger({ level: "silent", name: "runtime" });
  const warn = vi.spyOn(logger, "warn");
  let harness: DockerHarness;
  let image: string;
  /** A server on this machine, as containers reach it. */
  let here: { address: string; port: number; asked: string[]; close(): void };
  /** Shared, since each has three containers. `other` has a name that leads to a private address, without that. */
  let one: Started;
  let other: Started;

  beforeAll(async () => {
    const engine = openContainerEngine();
    image = await buildRunnerImage(engine);
    await engine.close();
    harness = await openDockerHarness({ runnerImage: image, logger });
    const asked: string[] = [];
    const server = createServer(({ url = "" }, response) => {
      asked.push(url);
      response.end(`you asked for ${url}`);
    }).listen(0, "0.0.0.0");
    await once(server, "listening");
    const address = ownAddress();
    const { port } = server.address() as AddressInfo;
    here = { address, port, asked, close: () => void server.close() };
    const byName = `host.containers.internal:${port}`;
    [one, other] = await Promise.all([
      start("one", [`${address}:${port}`, byName, `10.0.0.0/8:${port}`]),
      start("other", ["*.example.com", byName]),
    ]);
  });
  afterAll(async () => {
    here.close();
    await stopAll(harness.runtime, 0);
    await harness.runtime.close();
    await harness.close();
  });

  async function start(name: string, allow: string[]): Promise<Started> {
    const spec: ReplicaSpec = {
      ...harness.image(name, ["node", "/http-server.mjs"], image),
      deploymentId: `deployment-of-${name}`,
      options: { ...DEFAULT_OPTIONS, egress: { allow } },
    };
    const handle = await harness.runtime.start(spec);
    const ask = (question: string, of: string) => harness.ask(handle, `${question}?of=${encodeURIComponent(of)}`);
    return { spec, handle, ask };
  }

  test("a replica reaches what its list has, by name and by address, and nothing else: no other host or port, address, name, or list of another", async () => {
    const { address, port } = here;
    const lines: ReplicaLogLine[] = [];
    const following = new AbortController();
    const followed = (async () => {
      for await (const line of harness.runtime.followLogs(one.handle, following.signal)) lines.push(line);
    })();
    const url = `http://${address}:${port}/by-address`;
    expect(await one.ask("/fetch", url)).toEqual([200, "you asked for /by-address"]);
    expect(await one.ask("/fetch", `http://host.containers.internal:${port}/by-name`)).toEqual([
      200,
      "you asked for /by-name",
    ]);
    expect(here.asked).toEqual(["/by-address", "/by-name"]);

    const refused = expect.stringContaining("403");
    expect(await other.ask("/fetch", url)).toEqual(refused);
    expect(await one.ask("/fetch", `http://${address}:${port + 1}/`)).toEqual(refused);
    expect(await one.ask("/fetch", "http://169.254.169.254/latest/meta-data/")).toEqual(refused);
    expect(await one.ask("/fetch", "https://elsewhere.test/")).toEqual(refused);

    // Without the proxy there is no way at all: no route, no names, nothing of the host, none of another replica.
    const unreachable = "ENETUNREACH";
    const otherPort = new URL(other.handle.endpoint.url).port;
    expect(await one.ask("/connect", `${address} ${port}`)).toBe(unreachable);
    expect(await one.ask("/connect", `${address} ${otherPort}`)).toBe(unreachable);
    expect(await one.ask("/connect", "host.containers.internal 80")).toMatch(/EAI_AGAIN|ENOTFOUND|ENETUNREACH/);
    expect(here.asked).toHaveLength(2);

    // What is refused is told: in the log, in the replica's own output, in a figure.
    await expect
      .poll(() => harness.runtime.egressRefusals?.())
      .toEqual(
        new Map([
          [one.spec.deploymentId, 3],
          [other.spec.deploymentId, 1],
        ]),
      );
    expect(warn).toHaveBeenCalledWith(
      expect.objectContaining({ deployment_id: one.spec.deploymentId, host: "elsewhere.test:443" }),
      expect.any(String),
    );
    expect(await harness.runtime.logs(one.handle, 10)).toContainEqual(
      expect.objectContaining({ stream: "SYSTEM", text: expect.stringMatching(/^169\.254\.169\.254:80 was refused/) }),
    );
    // So are those who follow that, beside what the server itself prints.
    await one.ask("/fetch", "http://followed.test/");
    await one.ask("/print", "said by itself");
    await expect
      .poll(() => lines)
      .toEqual(
        expect.arrayContaining([
          expect.objectContaining({ stream: "SYSTEM", text: expect.stringMatching(/^followed\.test:80 was refused/) }),
          expect.objectContaining({ stream: "STDOUT", text: "said by itself" }),
        ]),
      );
    following.abort();
    await followed;
  });

  test("a name that leads to a private address is refused where the list does not have that", async () => {
    expect(await other.ask("/fetch", `http://host.containers.internal:${here.port}/private`)).toMatch(/403/);
    expect(here.asked).not.toContain("/private");
  });

  test("a replica is found again with its port by the next Toolyard, goes on reaching its hosts meanwhile, and leaves nothing", async () => {
    const { spec, handle, ask } = one;
    const next = await harness.successor();
    try {
      expect((await next.list()).find(({ replicaId }) => replicaId === spec.replicaId)?.handle).toEqual(handle);
      expect(await ask("/fetch", `http://${here.address}:${here.port}/kept`)).toEqual([200, "you asked for /kept"]);
      expect((await harness.containersBeside(spec)).length).toBe(2);
      await next.stop(handle, 0);
      await next.forget(handle);
      expect(await harness.containersBeside(spec)).toEqual([]);
    } finally {
      await next.close();
    }
  });
});
