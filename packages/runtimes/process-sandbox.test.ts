import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { claimFolder } from "./process/ownership.ts";
import { createHostPaths } from "./process/host-paths.ts";
import { createSandbox } from "./process/bubblewrap.ts";
import { rootOnlyPaths } from "./process/root-only-paths.ts";
import { openProcessHarness, whyNoBubblewrap } from "./process-runtime.harness.ts";
import type { ProcessHarness } from "./process-runtime.harness.ts";
import type { ProcessRuntimeOptions } from "./process/process-runtime.ts";
import type { ReplicaLaunch, ReplicaSpec } from "./runtime.ts";
import { stopAll } from "./fixtures/stop-all.ts";

/** What a replica sees of its host and may write to, under bubblewrap. */

const problem = await whyNoBubblewrap();
let outside: string;
let home: string;
let harness: ProcessHarness;
beforeEach(async () => {
  outside = await realpath(await mkdtemp(join(tmpdir(), "toolyard-host-")));
  home = join(outside, "home");
  for (const folder of ["project", "notes", ".ssh", ".config/app"]) mkdirSync(join(home, folder), { recursive: true });
  writeFileSync(join(home, ".ssh/id"), "key");
  writeFileSync(join(home, "project/package.json"), "{}");
});
afterEach(async () => {
  if (harness) {
    await stopAll(harness.runtime, 0);
    await harness.runtime.close();
    await harness.close();
  }
  await rm(outside, { recursive: true });
});

async function open(options: Partial<ProcessRuntimeOptions> = {}): Promise<ProcessHarness> {
  const hostEnv = { PATH: process.env.PATH, HOME: home };
  harness = await openProcessHarness({ isolation: "bubblewrap", hostEnv, ...options });
  return harness;
}
type Changes = Partial<ReplicaLaunch & { kind: "http" }>;
async function serving(name: string, changes: Changes = {}): Promise<ReplicaSpec> {
  const spec = await harness.fixture(name, "http-server.mjs");
  // The fixtures' launches are all of kind "http".
  return { ...spec, launch: { ...spec.launch, ...changes } as ReplicaLaunch };
}
async function started(name: string, changes: Changes = {}) {
  const spec = await serving(name, changes);
  await harness.runtime.start(spec);
  return {
    list: (path: string) => harness.ask(spec, `/list?of=${encodeURIComponent(path)}`),
    write: (path: string) => harness.ask(spec, `/write?of=${encodeURIComponent(path)}`),
    environment: () => harness.ask(spec, "/environment") as Promise<Record<string, string>>,
    spec,
  };
}
const refusal = async (changes: Changes): Promise<unknown> => harness.runtime.start(await serving("refused", changes));

const SERVER = [join(import.meta.dirname, "fixtures/http-server.mjs")];

describe.skipIf(problem !== null)(`the home folder${problem === null ? "" : ` (skipped: ${problem})`}`, () => {
  test("is the replica's own, writable, and kept over a restart; the host user's is not seen", async () => {
    await open();
    const { list, write, environment, spec } = await started("own");
    expect(await environment()).toMatchObject({ HOME: home });
    expect(await list(home)).toEqual([]);
    expect(await write(join(home, "state"))).toBe("written");
    const [{ handle } = { handle: null }] = await harness.runtime.list();
    if (!handle) throw new Error("not listed");
    await harness.runtime.stop(handle, 0);
    const again = { ...spec, name: "own-again" };
    const second = await harness.runtime.start(again);
    expect(await harness.ask(again, `/list?of=${home}`)).toEqual(["state"]);
    expect(readdirSync(home).toSorted()).toEqual([".config", ".ssh", "notes", "project"]);
    await harness.runtime.stop(second, 0);
    await harness.runtime.forget(second);
    await harness.runtime.forget(handle);
    for (const folder of ["homes", "cache/replicas"]) expect(readdirSync(join(harness.dataDir, folder))).toEqual([]);
  });

  test("shows programs on the host's PATH, and what belongs to them, but nothing else of it", async () => {
    for (const folder of [".nvm/v24/bin", ".nvm/v24/lib", ".local/bin", ".local/share/keyrings"])
      mkdirSync(join(home, folder), { recursive: true });
    const PATH = `${join(home, ".nvm/v24/bin")}:${join(home, ".local/bin")}:${process.env.PATH}`;
    await open({ hostEnv: { PATH, HOME: home } });
    const { list } = await started("tools");
    expect(await list(home)).toEqual([".local", ".nvm"]);
    expect(await list(join(home, ".nvm/v24"))).toEqual(["bin", "lib"]);
    expect(await list(join(home, ".local"))).toEqual(["bin"]);
  });

  test("shows what a launch names there, read-only, with the project that it is part of", async () => {
    mkdirSync(join(home, "project/dist"));
    writeFileSync(join(home, "project/dist/server.mjs"), "");
    await open();
    const named = await serving("named");
    const launch = {
      ...named.launch,
      args: [...(named.launch as { args: string[] }).args, join(home, "project/dist/server.mjs")],
    };
    await harness.runtime.start({ ...named, launch });
    expect(await harness.ask(named, `/list?of=${home}/project`)).toEqual(["dist", "package.json"]);
    expect(await harness.ask(named, `/write?of=${home}/project/dist/x`)).toEqual({ error: "EROFS" });
    expect(await harness.ask(named, `/list?of=${home}`)).toEqual(["project"]);
  });

  test("shows a program with its folder, and a package with the workspace that it is part of; a file only itself", async () => {
    await open();
    const files = ["plain/server.py", "plain/helper.py", "papers/one.txt", "alone.py", "mono/packages/server/main.mjs"];
    const [server, , paper, alone, main] = files.map((file) => {
      mkdirSync(join(home, file, ".."), { recursive: true });
      writeFileSync(join(home, file), "");
      return join(home, file);
    }) as [string, string, string, string, string];
    for (const folder of ["mono", "mono/packages/server"]) writeFileSync(join(home, folder, "package.json"), "{}");
    const { namedBy } = createHostPaths({
      hostEnv: { HOME: home },
      replicaEnv: [],
      ownFolders: [harness.dataDir],
      hiddenPaths: [],
      visiblePaths: [],
      ownCode: import.meta.dirname,
      allowedPaths: null,
    });
    const grantedBy = (...argv: string[]) => namedBy(["/usr/bin/env", ...argv], null).granted;
    expect(grantedBy(server, "--of", paper)).toEqual([join(home, "plain"), paper]);
    expect(grantedBy(server, `--of=${paper}`)).toEqual([join(home, "plain"), paper]);
    expect(grantedBy(alone)).toEqual([alone]);
    expect(grantedBy(main)).toEqual([join(home, "mono")]);
    expect(namedBy([server, "--of", alone, "one.txt"], join(home, "papers")).granted).toEqual([
      join(home, "plain"),
      alone,
      paper,
    ]);
  });

  test("shows the environment of a program that is a link, and runs it by that name, whatever links lead there", async () => {
    mkdirSync(join(home, "envs/one/bin"), { recursive: true });
    writeFileSync(join(home, "envs/one/pyvenv.cfg"), "");
    symlinkSync(process.execPath, join(home, "envs/one/bin/run"));
    symlinkSync("envs/one", join(home, "current"));
    await open();
    const { list } = await started("environment", { command: join(home, "current/bin/run") });
    expect(await list(join(home, "envs/one"))).toEqual(["bin", "pyvenv.cfg"]);
  });

  test.each([
    ["the home folder itself", () => home],
    ["a folder above it", () => outside],
    ["a folder with credentials", () => join(home, ".ssh")],
  ])("is not shown by a working directory that is %s", async (_what, path) => {
    await open();
    await expect(refusal({ workingDirectory: path() })).rejects.toMatchObject({ code: "BAD_USER_INPUT" });
  });

  test("is not shown by a working directory above it that replicas see anyway", async () => {
    const seen = await realpath(await mkdtemp(join(import.meta.dirname, ".above-")));
    try {
      mkdirSync(join(seen, "home/.ssh"), { recursive: true });
      await open({ hostEnv: { PATH: process.env.PATH, HOME: join(seen, "home") } });
      const { list } = await started("above", { workingDirectory: seen });
      expect(await list(join(seen, "home"))).toEqual([]);
    } finally {
      await rm(seen, { recursive: true });
    }
  });

  test("is shown as its own name has it where that is, or leads over, a link", async () => {
    mkdirSync(join(home, "big/data/inner"), { recursive: true });
    writeFileSync(join(home, "big/data/inner/one"), "");
    symlinkSync("big", join(home, "disk"));
    symlinkSync(join(home, "disk/data"), join(home, "project/data"));
    symlinkSync(join(home, "project/data"), join(home, "again"));
    await open();
    for (const path of ["disk/data", "project/data", "again", "again/inner/..", "disk/data/inner/.."]) {
      const named = join(home, path);
      const { list, write } = await started(`link-${path.replaceAll(/\W/g, "-")}`, {
        args: [...SERVER, `${home}/${path}`],
      });
      expect([path, await list(named)]).toEqual([path, ["inner"]]);
      expect(await list(join(named, "inner"))).toEqual(["one"]);
      expect(await write(join(named, "inner/two"))).toEqual({ error: "EROFS" });
      expect(await list(join(home, "notes"))).toEqual({ error: "ENOENT" });
    }
    const byOption = await started("link-by-option", { args: [...SERVER, `--data=${home}/again`] });
    expect(await byOption.list(join(home, "again"))).toEqual(["inner"]);
    const relative = await started("link-relative", {
      workingDirectory: join(home, "project"),
      args: [...SERVER, "data"],
    });
    expect(await relative.list(join(home, "project/data"))).toEqual(["inner"]);
  });

  test("is a working directory by the name of a link to it", async () => {
    symlinkSync("project", join(home, "current"));
    await open();
    const { list } = await started("current", { workingDirectory: join(home, "current") });
    expect(await list(".")).toEqual(["package.json"]);
  });

  test("has nothing shown by a link that a launch may not have by its name", async () => {
    await open();
    symlinkSync(join(home, ".ssh"), join(home, "notes/keys"));
    symlinkSync(home, join(home, "notes/all"));
    symlinkSync("/", join(home, "notes/root"));
    symlinkSync(join(harness.dataDir, ".."), join(home, "notes/above-data"));
    symlinkSync(harness.dataDir, join(home, "notes/data"));
    for (const link of ["keys", "keys/id", "all", "all/.ssh/id", "root", "root/etc", "above-data", "data"]) {
      const path = join(home, "notes", link);
      await expect(refusal({ args: [...SERVER, path] }), link).rejects.toMatchObject({
        code: "BAD_USER_INPUT",
        message: expect.stringContaining(`The launch's argument 2 ${JSON.stringify(path)} cannot be used: `),
      });
    }
  });

  test.each<[string, () => string, RegExp]>([
    ["credentials", () => join(home, ".ssh/id"), /settings and credentials/],
    ["Toolyard's data", () => join(harness.dataDir, "replicas"), /Toolyard's data folder/],
    ["what the operator hides", () => join(home, "notes"), /do not see/],
    ["what is hidden, as an option", () => `--key=${join(home, ".ssh/id")}`, /settings and credentials/],
  ])("is not shown by an argument that names %s: the start says which", async (_what, path, reason) => {
    await open({ hiddenPaths: [join(home, "notes")] });
    const start = refusal({ args: [...SERVER, "--x", path()] });
    await expect(start).rejects.toMatchObject({ code: "BAD_USER_INPUT", message: expect.stringMatching(reason) });
    await expect(start).rejects.toThrow(`The launch's argument 3 ${JSON.stringify(path())} cannot be used: `);
  });

  test("is the replica's own where an argument names it as a whole", async () => {
    await open();
    const { list } = await started("whole", { args: [...SERVER, home, "/tmp"] });
    expect(await list(home)).toEqual([]);
  });
});

describe.skipIf(problem !== null)("writable paths", () => {
  test("are written to by the replica whose launch names them, its working directory among them", async () => {
    await open();
    const notes = join(home, "notes");
    const { write } = await started("writes", { workingDirectory: notes, writablePaths: [notes] });
    expect(await write(join(notes, "a"))).toBe("written");
    expect(readFileSync(join(notes, "a"), "utf8")).toBe("written");
    const other = await started("reads", { workingDirectory: notes });
    expect(await other.write(join(notes, "b"))).toEqual({ error: "EROFS" });
  });

  test.each<[string, () => string, RegExp]>([
    ["the root folder", () => "/", /more than one program's files|Toolyard's/],
    ["/etc", () => "/etc", /system's files/],
    ["/usr/local/bin", () => "/usr/local/bin", /system's files/],
    ["/tmp itself", () => "/tmp", /more than one program's files|Toolyard's data/],
    ["/var", () => "/var", /more than one program's files/],
    ["/proc/self", () => "/proc/self", /system's files/],
    ["Toolyard's data", () => harness.dataDir, /Toolyard's data/],
    ["another replica's folder", () => join(harness.dataDir, "replicas"), /Toolyard's data/],
    ["the home folder", () => home, /must not see/],
    ["settings in it", () => join(home, ".config/app"), /settings and credentials/],
    ["Toolyard's code", () => join(import.meta.dirname, "process"), /Toolyard's own code/],
    ["a hidden path", () => join(home, "project"), /must not see/],
    ["a folder with a hidden path in it", () => join(home, "../home/project/.."), /more than one|must not see/],
    ["nothing that is there", () => join(home, "nothing"), /does not exist/],
    ["a relative path", () => "notes", /not an absolute path/],
    ["a link to /etc", () => join(home, "notes/link"), /system's files/],
  ])("are not %s", async (_what, path, reason) => {
    symlinkSync("/etc", join(home, "notes/link"));
    await open({ hiddenPaths: [join(home, "project")] });
    await expect(refusal({ writablePaths: [path()] })).rejects.toMatchObject({
      code: "BAD_USER_INPUT",
      message: expect.stringMatching(reason),
    });
  });

  test("are, where others can reach Toolyard, only those below folders that the operator allows", async () => {
    await open({ reachable: true });
    await expect(refusal({ writablePaths: [join(home, "notes")] })).rejects.toThrow(/REPLICA_PATHS/);
    await expect(refusal({ workingDirectory: join(home, "notes") })).rejects.toThrow(/REPLICA_PATHS/);
    await harness.runtime.close();
    await harness.close();
    await open({ reachable: true, allowedPaths: [join(home, "notes")] });
    const notes = join(home, "notes");
    const { write } = await started("allowed", { workingDirectory: notes, writablePaths: [notes] });
    expect(await write(join(notes, "a"))).toBe("written");
    await expect(refusal({ writablePaths: [join(home, "project")] })).rejects.toThrow(/REPLICA_PATHS/);
  });

  test("are not below a folder to which another replica may write: it could make a link of them in the last moment", async () => {
    await open();
    const notes = join(home, "notes");
    mkdirSync(join(notes, "inner"));
    await started("writer", { writablePaths: [notes] });
    await expect(refusal({ writablePaths: [join(notes, "inner")] })).rejects.toThrow(
      /another running replica may write/,
    );
    await expect(refusal({ workingDirectory: join(notes, "inner") })).rejects.toThrow(
      /another running replica may write/,
    );
    await started("same", { writablePaths: [notes] });
  });
});

describe.skipIf(problem !== null)("a replica", () => {
  test("writes nothing into memory that nobody counts", async () => {
    await open({ hiddenPaths: [join(home, "project")] });
    const { write } = await started("memory");
    for (const folder of ["/dev", "/run", "/home", "/root", harness.dataDir]) {
      expect([folder, await write(join(folder, "x"))]).toEqual([
        folder,
        { error: expect.stringMatching(/EROFS|ENOENT/) },
      ]);
    }
    for (const folder of ["/tmp", "/var/tmp", "/dev/shm"]) {
      expect([folder, await write(join(folder, "x"))]).toEqual([folder, "written"]);
    }
    const replica = join(harness.dataDir, "replicas/memory");
    expect([readdirSync(join(replica, "tmp")), readdirSync(join(replica, "shm"))]).toEqual([
      expect.arrayContaining(["x"]),
      ["x"],
    ]);
  });

  test.runIf(process.getuid?.() === 0)(
    "of a Toolyard that runs as root changes no setting of the kernel, and reads nothing that is root's alone",
    async () => {
      await open();
      const { write, list, spec } = await started("root");
      const before = readFileSync("/proc/sys/kernel/core_pattern", "utf8");
      for (const file of ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches"]) {
        expect([file, await write(file)]).toEqual([file, { error: expect.stringMatching(/EROFS|ENOENT/) }]);
      }
      expect(readFileSync("/proc/sys/kernel/core_pattern", "utf8")).toBe(before);
      expect(await list("/proc/self")).toContain("status");
      const { hidden } = rootOnlyPaths();
      expect(hidden).toContain("/etc/shadow");
      expect(await harness.ask(spec, "/read?of=/etc/shadow")).toEqual({ error: "EACCES" });
      expect(await harness.ask(spec, "/read?of=/etc/passwd")).toContain("root:");
    },
  );

  test("of one deployment can neither read nor write what another's fetched, of the same user or not", async () => {
    await open();
    const [mine, theirs] = await Promise.all(
      ["one", "other"].map(async (deploymentId) => {
        const spec = { ...(await serving(`of-${deploymentId}`)), deploymentId };
        await harness.runtime.start(spec);
        return spec;
      }),
    );
    if (!mine || !theirs) throw new Error("not started");
    const { npm_config_cache: npm = "", UV_CACHE_DIR: uv = "" } = (await harness.ask(mine, "/environment")) as Record<
      string,
      string
    >;
    for (const folder of [npm, join(npm, "_cacache"), uv]) {
      expect(await harness.ask(mine, `/write?of=${folder}/program`)).toBe("written");
      expect(await harness.ask(theirs, `/write?of=${folder}/program`)).toEqual({ error: expect.any(String) });
      expect(await harness.ask(theirs, `/list?of=${folder}`)).toEqual({ error: "ENOENT" });
    }
  });

  test("lies in CACHE_DIR where there is one, which replicas see nothing else of", async () => {
    // Where they would see it otherwise.
    const cacheDir = join(import.meta.dirname, "../../node_modules/.cache", `sandbox-${process.pid}`);
    mkdirSync(join(cacheDir, "of-another-toolyard"), { recursive: true });
    try {
      await open({ cacheDir });
      const own = claimFolder(harness.dataDir);
      const { environment, list, write } = await started("cached");
      const { npm_config_cache: npm = "" } = await environment();
      expect(npm.startsWith(join(cacheDir, own))).toBe(true);
      expect(await write(join(npm, "_cacache/package"))).toBe("written");
      expect(await list(cacheDir)).toEqual([own]);
      expect(await write(join(cacheDir, "of-another-toolyard/program"))).toEqual({ error: expect.any(String) });
      await expect(refusal({ writablePaths: [cacheDir] })).rejects.toThrow(/Toolyard's data is there/);
      expect(existsSync(join(harness.dataDir, "cache"))).toBe(false);
    } finally {
      await rm(cacheDir, { recursive: true });
    }
  });

  test("of the same deployment has programs of `npx` of its own, and shares the packages that they are made of", async () => {
    await open();
    const [one, two] = [await started("one"), await started("two")];
    const [{ npm_config_cache: first = "" }, { npm_config_cache: second = "" }] = [
      await one.environment(),
      await two.environment(),
    ];
    expect(first).not.toBe(second);
    expect(await one.write(join(first, "_cacache/package"))).toBe("written");
    expect(await two.list(join(second, "_cacache"))).toEqual(["package"]);
    expect(await two.list(first)).toEqual({ error: "ENOENT" });
  });
});

describe.each(problem === null ? (["none", "bubblewrap"] as const) : (["none"] as const))(
  "isolation %s",
  (isolation) => {
    test("`npx` of five replicas, of one user and of others, started at once, all start", async () => {
      // Not in a folder that replicas have their own of.
      const folder = await mkdtemp(join(import.meta.dirname, ".package-"));
      try {
        const archive = join(folder, "package.tgz");
        execFileSync("tar", ["-czf", archive, "-C", join(import.meta.dirname, "fixtures"), "package"]);
        await open({ isolation });
        const users = ["ada", "ada", "ada", "eve", "bob"];
        const handles = await Promise.all(
          users.map(async (userId, index) => {
            const spec = await harness.fixture(`npx-${index}`, "");
            const args = ["--offline", "-y", `--package=file:${archive}`, "prints-once"];
            return harness.runtime.start({
              ...spec,
              userId,
              launch: { ...spec.launch, command: "npx", args } as ReplicaLaunch,
            });
          }),
        );
        const texts = () =>
          Promise.all(handles.map(async (handle) => (await harness.runtime.logs(handle, 20)).map(({ text }) => text)));
        await expect
          .poll(async () => (await texts()).map((lines) => lines.find((line) => line.startsWith("runs from"))), {
            interval: 100,
          })
          .toEqual(users.map(() => expect.stringContaining("_npx")));
        const folders = (await texts()).map((lines) => lines.find((line) => line.startsWith("runs from")));
        expect(new Set(folders).size).toBe(users.length);
      } finally {
        await rm(folder, { recursive: true });
      }
    });
  },
);

describe("without bubblewrap", () => {
  const options = (reachable: boolean) => {
    const hostEnv = { PATH: "/nonexistent" };
    const rest = { replicaEnv: [], hiddenPaths: [], visiblePaths: [], ownCode: "/nowhere", allowedPaths: null };
    const hostPaths = createHostPaths({ hostEnv, ownFolders: [outside], ...rest });
    return { hostEnv, ownFolders: [outside], hostPaths, reachable };
  };

  test("replicas are not started where others can reach Toolyard, unless the operator says that it is meant", () => {
    expect(() => createSandbox({ ...options(true), isolation: "auto" })).toThrow(/PROCESS_ISOLATION=none/);
    expect(createSandbox({ ...options(true), isolation: "none" }).sandbox).toBe(null);
    const { sandbox, detail } = createSandbox({ ...options(false), isolation: "auto" });
    expect(sandbox).toBe(null);
    expect(detail).toMatch(/unisolated: bubblewrap \(bwrap\) is not installed/);
  });
});

test.runIf(process.platform === "linux")(
  "a script without its first line is given to the shell, as execvp does",
  async () => {
    harness = await openProcessHarness({ isolation: "none" });
    const script = join(outside, "script");
    writeFileSync(script, 'echo "it runs: $1"\nsleep 600\n', { mode: 0o755 });
    const spec = await harness.fixture("script", "");
    const launch = { ...spec.launch, command: script, args: ["yes"] } as ReplicaLaunch;
    const handle = await harness.runtime.start({ ...spec, launch });
    const lines = async () => (await harness.runtime.logs(handle, 5)).map(({ text }) => text);
    await expect.poll(lines).toEqual(["it runs: yes"]);
  },
);
