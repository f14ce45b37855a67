import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, portBlock, startToolyard, type RunningToolyard } from "@toolyard/testing";
import {
  noContainers,
  openContainerEngine,
  startEngineService,
  type ContainerEngine,
} from "@toolyard/testing/containers.ts";
import { INSPECTABLE } from "@toolyard/testing/inspected.ts";
import { embeddedOnly, isSoak } from "@toolyard/testing/mode.ts";
import LibsqlDatabase from "libsql";
import { expect, onTestFinished, test } from "vitest";
import { moreOf, soak } from "./fixtures/soak.ts";
import type { Rest, restOf } from "./fixtures/soak-rest.ts";

/* Sessions dropped in every rude way while replicas, and what carries their calls, are killed and replaced; .ci/soak has it for ten minutes. */

const IMAGE = "localhost/toolyard-soak-test:1";
const size = isSoak
  ? { sessions: 1_000, rounds: 10, kills: 100, carrierKills: 3, cycles: 20 }
  : { sessions: 40, rounds: 2, kills: 4, carrierKills: 1, cycles: 1 };
const MOST_REPLICAS = 8;
/** Bytes a session, by process: past that, ten thousand of them would be noticed. The gateway's are also of what it keeps of a hundred kills and eighty deployments. */
const MAX_SLOPES = { gateway: 8_192, proxy: 4_096 };

test.skipIf(process.platform !== "linux" || embeddedOnly("it looks into one process and its files"))(
  `sessions dropped rudely, replicas killed and replaced: nothing is left${noContainers === null ? ", on a container engine either" : ""}`,
  { timeout: isSoak ? 3_600_000 : 400_000 },
  async () => {
    const engine = noContainers === null ? openContainerEngine() : null;
    onTestFinished(() => engine?.close());
    await engine?.buildOfFiles(IMAGE, { "/server.mjs": join(import.meta.dirname, "fixtures/noted.mjs") });
    const service = engine && (await startEngineService());
    onTestFinished(() => service?.stop());
    const ports = await portBlock();
    const dataDir = await mkdtemp(join(tmpdir(), "toolyard-soak-"));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true, maxRetries: 10 }));
    const own = { gateway: await freePort(), proxy: await freePort() };
    let toolyard: RunningToolyard | null = null;
    onTestFinished(() => toolyard?.[Symbol.asyncDispose]());
    const start = async () =>
      (toolyard = await startToolyard({
        dataDir,
        ports: own,
        env: {
          NODE_OPTIONS: INSPECTABLE,
          RATE_LIMIT_ENABLED: "false",
          MCP_PORT_RANGE: `${ports.first}-${ports.last}`,
          MCP_DEPLOYMENT_BACKEND: engine === null ? "process" : "process,docker",
          DOCKER_HOST: service?.host ?? process.env["TEST_DOCKER_HOST"] ?? "",
        },
      }));
    const soaked = await soak({
      dataDir,
      start,
      ports,
      containers: engine && { engine, image: IMAGE, service },
      seed: process.env["SOAK_SEED"] ?? randomBytes(4).toString("hex"),
      ...size,
      say: (line) => process.stdout.write(`soak, ${new Date().toISOString()}: ${line}\n`),
    });
    expect.soft(soaked.failures).toEqual([]);
    expect.soft(soaked.mostReplicas).toBeLessThanOrEqual(MOST_REPLICAS);
    expect.soft(soaked.after).toEqual(soaked.before);
    const { before, after } = soaked.held;
    for (const name of ["gateway", "proxy"] as const) {
      expect.soft(moreOf(after[name], before[name]), name).toEqual([]);
      expect.soft(after[name].descriptors["socket"]).toBeGreaterThan(0);
    }
    if (isSoak)
      for (const [name, most] of Object.entries(MAX_SLOPES))
        expect.soft(soaked.slopes[name as keyof typeof MAX_SLOPES], name).toBeLessThan(most); // a name of it

    // What is left on purpose is seen, and named.
    const left = leaks({ dataDir, engine, rest: soaked.rest, port: ports.last });
    const names = await Promise.all(Object.entries(left).map(async ([kind, leave]) => ({ kind, ...(await leave()) })));
    const found = await soaked.rest.now();
    for (const { kind, name } of names) expect(JSON.stringify(found[kind as keyof Rest])).toContain(name); // a key of it
    await Promise.all(names.map(({ remove }) => remove()));
    expect(await soaked.rest.now()).toEqual(soaked.before);
  },
);

/** One of each kind that a Toolyard may leave behind, by the part of `Rest` that has it. */
function leaks(options: {
  dataDir: string;
  engine: ContainerEngine | null;
  rest: ReturnType<typeof restOf>;
  port: number;
}): Partial<Record<keyof Rest, () => Promise<{ name: string; remove(): unknown }>>> {
  const { dataDir, engine, rest, port } = options;
  const name = "left-on-purpose";
  return {
    async processes() {
      const child = spawn("sleep", ["600"], { argv0: name, env: { OF: dataDir }, stdio: "ignore" });
      await once(child, "spawn");
      const ended = once(child, "exit");
      return {
        name,
        remove: () => {
          child.kill("SIGKILL");
          return ended;
        },
      };
    },
    async ports() {
      const server = createServer().listen(port, "127.0.0.1");
      await once(server, "listening");
      return { name: String(port), remove: () => server[Symbol.asyncDispose]() };
    },
    async files() {
      const file = join(dataDir, "replicas", name);
      writeFileSync(file, "");
      return { name, remove: () => rmSync(file) };
    },
    async rows() {
      const database = new LibsqlDatabase(join(dataDir, "identity.sqlite"));
      const change = (sql: string) => database.prepare(sql).run(name);
      change('INSERT INTO sessions ("id", "userId", "passwordAt", "createdAt", "expiresAt") VALUES (?, \'\', 0, 0, 0)');
      const { rows } = database.prepare("SELECT count(*) AS rows FROM sessions").get() as { rows: number };
      return {
        name: `"identity.sqlite sessions":${rows}`,
        remove() {
          change("DELETE FROM sessions WHERE id = ?");
          database.close();
        },
      };
    },
    ...(engine && {
      async containers() {
        const created = { Image: IMAGE, Cmd: ["node"], Labels: rest.labels };
        const { Id } = await engine.ask<{ Id: string }>("POST", `/containers/create?name=${name}`, created);
        return { name, remove: () => engine.ask("DELETE", `/containers/${Id}`) };
      },
      async networks() {
        await engine.ask("POST", "/networks/create", { Name: name, Labels: rest.labels });
        return { name, remove: () => engine.ask("DELETE", `/networks/${name}`) };
      },
    }),
  };
}
