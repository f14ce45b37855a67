import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually, logIn, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { noContainers, openContainerEngine, type ContainerEngine } from "@toolyard/testing/containers.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sampleServerEntry } from "../../standalone/sample.ts";
import { askOf } from "./fixtures/deployed.ts";

/* Replicas in containers beside those that are processes, on the engine at TEST_DOCKER_HOST. */

const IMAGE = "localhost/toolyard-contained-test:1";
const run = promisify(execFile);

describe.skipIf(noContainers !== null)(
  `replicas on a container engine${noContainers === null ? "" : ` (skipped: ${noContainers})`}`,
  () => {
    let engine: ContainerEngine;
    let folder: string;
    let toolyard: RunningToolyard;
    beforeAll(async () => {
      engine = openContainerEngine();
      await engine.buildOfFiles(IMAGE, { "/server.mjs": join(import.meta.dirname, "fixtures/contained.mjs") });
      folder = await mkdtemp(join(tmpdir(), "toolyard-docker-"));
      toolyard = await start();
    });
    afterAll(async () => {
      await toolyard.stop();
      for (const { Id } of await containers()) await engine.ask("DELETE", `/containers/${Id}?force=1&v=1`);
      await engine.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    });

    const start = (more: Partial<Parameters<typeof startToolyard>[0]> = {}) =>
      startToolyard({
        dataDir: join(folder, "data"),
        env: {
          MCP_DEPLOYMENT_BACKEND: "process,docker",
          DOCKER_HOST: process.env["TEST_DOCKER_HOST"] ?? "",
          REPLICAS_ON_EXIT: "keep",
        },
        ...more,
      });
    /** Of this test's image, by whomever. */
    const containers = () => {
      const filters = encodeURIComponent(JSON.stringify({ ancestor: [IMAGE] }));
      return engine.ask<{ Id: string; State: string; Labels: Record<string, string> }[]>(
        "GET",
        `/containers/json?all=1&filters=${filters}`,
      );
    };

    test("are deployed, called, scaled, started again after a kill, adopted by the next Toolyard, and leave nothing", async () => {
      let token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
      const { ask, look, healthy, stop, call, isHealthy } = askOf(() => ({ toolyard, token }));
      const command = async (...args: string[]) => {
        const env = { ...process.env, GREETING: "hello", TOOLYARD_URL: toolyard.url, TOOLYARD_TOKEN: token };
        const { stdout } = await run(process.execPath, [join(import.meta.dirname, "../../cli/main.ts"), ...args], {
          env,
        });
        return JSON.parse(stdout) as { id: string; runtime: string; status: string };
      };

      await command("register", "beside", "--json", "--", process.execPath, sampleServerEntry(), "stdio");
      const beside = await command("deploy", "beside", "--json", "--no-wait");
      const image = ["--image", IMAGE, "--port", "8080", "--secret", "GREETING", "--writable", "/var/notes"];
      const options = ["--options", JSON.stringify({ resources: { memoryMb: 128 } })];
      await command("register", "contained", "--json", ...image, ...options, "--", "node", "/server.mjs");
      const contained = await command("deploy", "contained", "--json", "--runtime", "docker");
      expect([contained.runtime, contained.status, beside.runtime]).toEqual(["DOCKER", "RUNNING", "PROCESS"]);
      const [first] = await containers();
      expect(await engine.ask("GET", `/containers/${first?.Id}/json`)).toMatchObject({
        HostConfig: { Memory: 128 * 1_048_576, Tmpfs: { "/var/notes": expect.stringContaining("mode=1777") } },
      });
      await healthy(contained.id, 1);
      await healthy(beside.id, 1);
      expect(await call("contained", "whoami")).toMatch(/^hello from [0-9a-f]{12}$/);
      expect(await call("beside", "echo", { message: "there?" })).toContain("there?");

      await ask("mutation ($id: ID!) { scaleDeployment(id: $id, replicas: 2) { id } }", { id: contained.id });
      await healthy(contained.id, 2);
      const [killed] = await containers();
      await engine.ask("POST", `/containers/${killed?.Id}/kill?signal=KILL`);
      await eventually("another runs in its place", async () => {
        const running = (await containers()).filter(({ State }) => State === "running");
        return running.length === 2 && running.every(({ Id }) => Id !== killed?.Id);
      });
      await healthy(contained.id, 2);

      const running = async () =>
        (await containers()).flatMap(({ Id, State }) => (State === "running" ? Id : [])).toSorted();
      const before = await running();
      await toolyard.kill();
      toolyard = await start();
      token = await logIn(toolyard.url, "admin", toolyard.adminPassword);
      await healthy(contained.id, 2);
      expect(await running()).toEqual(before);
      expect(await call("contained", "whoami")).toMatch(/^hello from/);
      expect(await isHealthy("runtime:docker")).toBe(true);

      const [one] = await containers();
      const writes = ["node", "--eval", 'require("node:fs").writeFileSync("/cache", "")'];
      await command("register", "wrong", "--json", "--image", IMAGE, "--", ...writes);
      const wrong = await command("deploy", "wrong", "--json", "--no-wait");
      await eventually("what would help it is said", async () =>
        (await look(wrong.id)).reason?.includes("writablePaths"),
      );
      for (const { id } of [contained, beside, wrong]) await stop(id);
      await eventually("no container is left", async () => (await containers()).length === 0);
      const filters = encodeURIComponent(
        JSON.stringify({ label: [`dev.toolyard.owner=${one?.Labels["dev.toolyard.owner"]}`] }),
      );
      await eventually("no network is left", async () => {
        return (await engine.ask<unknown[]>("GET", `/networks?filters=${filters}`)).length === 0;
      });
    });
  },
);
