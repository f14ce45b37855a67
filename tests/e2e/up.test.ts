import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { eventually, startToolyard, type RunningToolyard } from "@toolyard/testing";
import { isDistributed } from "@toolyard/testing/mode.ts";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const RUNNING_HERE = "node_modules/.cache/toolyard/running";

let toolyard: RunningToolyard;
beforeAll(async () => {
  toolyard = await startToolyard();
});
afterAll(() => toolyard?.[Symbol.asyncDispose]());

describe("starting twice", () => {
  test("says that Toolyard runs already with this DATA_DIR, and where", () => {
    const { status, stderr, stdout } = spawnSync(
      process.execPath,
      [isDistributed ? "distributed/main.ts" : "standalone.ts"],
      {
        cwd: root,
        encoding: "utf8",
        env: { PATH: process.env.PATH, ...toolyard.dataEnv, PORT: "0", PROXY_PORT: "0" },
      },
    );
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(stderr).toContain(toolyard.url);
    expect(stderr).toContain(`process ${toolyard.process.pid}`);
    expect(stderr).toMatch(/DATA_DIR.*PORT/);
  });
});

/** The project's own scripts and install script, with nothing to install: `npm ci` is npm's own. */
describe("npm run up", () => {
  let project: string;
  let dataDir: string;
  beforeEach(async () => {
    project = await mkdtemp(join(tmpdir(), "toolyard-up-"));
    dataDir = join(project, "data");
    for (const file of ["scripts/install.mjs", "packages/service-kit/process/presence.mjs"])
      await cp(join(root, file), join(project, file));
    const { up, postinstall } = JSON.parse(await readFile(join(root, "package.json"), "utf8")).scripts;
    const start = "node -e \"process.stdout.write('started')\"";
    await writeFile(
      join(project, "package.json"),
      JSON.stringify({ name: "up", version: "1.0.0", private: true, scripts: { up, postinstall, start } }),
    );
    await lock("1.0.0");
  });
  afterEach(() => rm(project, { recursive: true, force: true }));

  const lock = (version: string) =>
    writeFile(
      join(project, "package-lock.json"),
      JSON.stringify({ name: "up", version, lockfileVersion: 3, packages: { "": { name: "up", version: "1.0.0" } } }),
    );
  const npm = (...args: string[]) =>
    spawnSync("npm", args, { cwd: project, encoding: "utf8", env: { ...process.env, DATA_DIR: dataDir } });
  const begin = async () => {
    const child = spawn("npm", ["run", "--silent", "up"], { cwd: project, env: { ...process.env, DATA_DIR: dataDir } });
    const [stdout, stderr, [status]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, "close"),
    ]);
    return { status: status as unknown, stdout, stderr };
  };
  const up = () => npm("run", "--silent", "up");
  /** Is gone after an `npm ci`. */
  const mark = () => writeFile(join(project, "node_modules/mark"), "");
  const isMarked = () => existsSync(join(project, "node_modules/mark"));

  test("installs the first time and when the lockfile changed, and else only starts", async () => {
    expect(up()).toMatchObject({ status: 0, stdout: expect.stringMatching(/started$/) });
    await mark();
    expect(up()).toMatchObject({ status: 0, stdout: "started" });
    expect(isMarked()).toBe(true);
    await lock("1.0.1");
    expect(up()).toMatchObject({ status: 0, stdout: expect.stringMatching(/started$/) });
    expect(isMarked()).toBe(false);
    // Installed by hand is installed.
    expect(npm("ci").status).toBe(0);
    await mark();
    expect(up()).toMatchObject({ status: 0, stdout: "started" });
    expect(isMarked()).toBe(true);
  });

  test("twice at the same moment installs once, and after one that was killed while it installed", async () => {
    // npm's own install script tells how often it ran.
    const file = join(project, "package.json");
    const { scripts, ...rest } = JSON.parse(await readFile(file, "utf8"));
    await writeFile(file, JSON.stringify({ ...rest, scripts: { ...scripts, preinstall: "echo x >> installs" } }));
    const installs = async () => (await readFile(join(project, "installs"), "utf8")).length / 2;
    const atOnce = () => Promise.all([begin(), begin()]);
    const ends = await atOnce();
    const waited = "Another `npm run up` installs here; this one waits for it.\n";
    expect(ends.find(({ stderr }) => stderr === waited)).toMatchObject({ status: 0, stdout: "started" });
    expect(ends.find(({ stderr }) => stderr !== waited)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/started$/),
    });
    expect(await installs()).toBe(1);
    expect(existsSync(join(project, ".toolyard-installing"))).toBe(false);

    await lock("1.0.1");
    await writeFile(join(project, ".toolyard-installing"), "");
    const longAgo = new Date(Date.now() - 60_000);
    await utimes(join(project, ".toolyard-installing"), longAgo, longAgo);
    expect(await atOnce()).toMatchObject([{ status: 0 }, { status: 0 }]);
    expect(await installs()).toBe(2);
  });

  test("installs again what was installed on another platform, or not to the end", async () => {
    up();
    const stamp = join(project, "node_modules/.toolyard-installed");
    await writeFile(stamp, (await readFile(stamp, "utf8")).replace(process.platform, "plan9"));
    await mark();
    expect(up().status).toBe(0);
    expect(isMarked()).toBe(false);
    await rm(stamp);
    await mark();
    expect(up().status).toBe(0);
    expect(isMarked()).toBe(false);
  });

  test("installs after an npm that wrote the lockfile and installed nothing", async () => {
    const dependencies = { part: "file:part" };
    const file = join(project, "package.json");
    await mkdir(join(project, "part"));
    await writeFile(join(project, "part/package.json"), JSON.stringify({ name: "part", version: "1.0.0" }));
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), dependencies }));
    const isThere = () => existsSync(join(project, "node_modules/part/package.json"));
    for (const args of [
      ["install", "--package-lock-only"],
      ["ci", "--dry-run"],
    ]) {
      expect(npm(...args).status).toBe(0);
      expect([isThere(), existsSync(join(project, "node_modules/.toolyard-installed"))]).toEqual([false, false]);
    }
    expect(up()).toMatchObject({ status: 0, stdout: expect.stringMatching(/started$/) });
    expect(isThere()).toBe(true);
    await mark();
    expect(npm("ci", "--dry-run").status).toBe(0);
    expect(up()).toMatchObject({ status: 0, stdout: "started" });
    expect(isMarked()).toBe(true);
  });

  test("in a second terminal installs and starts nothing, and says where the first is", async () => {
    dataDir = toolyard.dataDir;
    expect(up()).toMatchObject({ status: 1, stdout: "", stderr: expect.stringContaining(toolyard.url) });
    expect(existsSync(join(project, "node_modules"))).toBe(false);
  });

  test("does not install beneath a Toolyard that runs from the same folder with other data", async () => {
    expect(up().status).toBe(0);
    await mkdir(join(project, RUNNING_HERE), { recursive: true });
    // As the running one has done where it runs from.
    const links = await readdir(join(root, RUNNING_HERE));
    expect(links).toContain(String(toolyard.process.pid));
    await symlink(toolyard.dataDir, join(project, RUNNING_HERE, String(toolyard.process.pid)));
    expect(up()).toMatchObject({ status: 0, stdout: "started" });
    await mark();
    await lock("1.0.1");
    expect(up()).toMatchObject({ status: 1, stdout: "", stderr: expect.stringContaining(toolyard.url) });
    expect(isMarked()).toBe(true);
  });

  test("starts where a Toolyard was killed", async () => {
    const killed = await startToolyard({ dataDir });
    await killed.kill();
    expect(existsSync(join(dataDir, "running.sock"))).toBe(true);
    expect(up()).toMatchObject({ status: 0, stdout: expect.stringMatching(/started$/) });
    // Its proxy ends by itself.
    await eventually("the proxy's end", () =>
      fetch(`${killed.proxyUrl}/healthz`).then(
        () => false,
        () => true,
      ),
    );
  });
});

test("a Toolyard that stopped has left no word of itself", async () => {
  const stopped = await startToolyard();
  const { pid } = stopped.process;
  expect(await readdir(join(root, RUNNING_HERE))).toContain(String(pid));
  await stopped[Symbol.asyncDispose]();
  expect(await readdir(join(root, RUNNING_HERE))).not.toContain(String(pid));
});
