import { chmod, mkdir, mkdtemp, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConfigError } from "./config.ts";
import { prepareCacheDir, prepareDataDir } from "./data-dir.ts";

let folder: string;
const warnings: unknown[] = [];
const logger = { warn: (facts: unknown) => void warnings.push(facts) };
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-data-dir-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const modeOf = async (path: string) => ((await stat(path)).mode & 0o7777).toString(8);

test("a folder that was open to all is taken away from others, and what lies in it", async () => {
  const dataDir = join(folder, "data");
  await mkdir(join(dataDir, "replicas"), { recursive: true });
  await writeFile(join(dataDir, "secret-key"), "x");
  await writeFile(join(folder, "elsewhere"), "x");
  await symlink(join(folder, "elsewhere"), join(dataDir, "link"));
  for (const path of [dataDir, join(dataDir, "replicas"), join(dataDir, "secret-key"), join(folder, "elsewhere")])
    await chmod(path, 0o777);
  await prepareDataDir(dataDir, logger);
  expect(await modeOf(dataDir)).toBe("700");
  expect(await modeOf(join(dataDir, "replicas"))).toBe("700");
  expect(await modeOf(join(dataDir, "secret-key"))).toMatch(/^[67]00$/);
  // Where a link leads is not Toolyard's to change.
  expect(await modeOf(join(folder, "elsewhere"))).toBe("777");
  expect(warnings).toEqual([]);
});

test("one that is not there is made for this user alone", async () => {
  await prepareDataDir(join(folder, "a", "b"), logger);
  expect(await modeOf(join(folder, "a", "b"))).toBe("700");
});

test("one that everybody shares is left alone, and refused", async () => {
  const shared = join(folder, "tmp");
  await mkdir(shared);
  await chmod(shared, 0o1777);
  await expect(prepareDataDir(shared, logger)).rejects.toThrow(ConfigError);
  expect(await modeOf(shared)).toBe("1777");
});

test.each(["DATA_DIR", "CACHE_DIR"])(
  "%s that is a file, or lies below one, is refused in a sentence",
  async (variable) => {
    const file = join(folder, "file");
    await writeFile(file, "");
    for (const path of [file, join(file, "below")]) {
      const made = variable === "DATA_DIR" ? prepareDataDir(path, logger) : prepareCacheDir(path);
      await expect(made).rejects.toMatchObject({
        code: "PRECONDITION_FAILED",
        message: `${variable}: ${path} cannot be used: it is a file, or lies below one; name a folder.`,
      });
    }
  },
);

test("a folder for caches to which others may write is refused, and left as it was", async () => {
  const shared = join(folder, "shared");
  await mkdir(shared);
  for (const mode of [0o1777, 0o770, 0o702]) {
    await chmod(shared, mode);
    await expect(prepareCacheDir(shared)).rejects.toThrow(/^CACHE_DIR: others .* may write/);
    expect(await modeOf(shared)).toBe(mode.toString(8));
  }
  await chmod(shared, 0o755);
  await prepareCacheDir(shared);
});
