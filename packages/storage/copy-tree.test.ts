import { spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, readdir, readlink, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { copyTree } from "./copy-tree.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "toolyard-tree-"));
  await mkdir(join(folder, "from"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("files, folders and links are copied for this user alone; pipes and named folders are left out", async () => {
  const from = join(folder, "from");
  await mkdir(join(from, "deep/.cache"), { recursive: true });
  await writeFile(join(from, "deep/notes"), "kept");
  await writeFile(join(from, "deep/.cache/big"), "not");
  await chmod(join(from, "deep/notes"), 0o666);
  expect(spawnSync("mkfifo", [join(from, "pipe")]).status).toBe(0);
  await symlink("deep/notes", join(from, "link"));
  await copyTree(from, join(folder, "to"), new Set([".cache"]));
  expect((await readdir(join(folder, "to"))).toSorted()).toEqual(["deep", "link"]);
  expect(await readdir(join(folder, "to/deep"))).toEqual(["notes"]);
  expect(await readFile(join(folder, "to/deep/notes"), "utf8")).toBe("kept");
  expect((await stat(join(folder, "to/deep/notes"))).mode & 0o777).toBe(0o600);
  expect(await readlink(join(folder, "to/link"))).toBe("deep/notes");
});

test("a link to what the copier may read and its maker may not is copied as a link, and one in the place of the folder is refused", async () => {
  await mkdir(join(folder, "private"));
  await writeFile(join(folder, "private/key"), "secret");
  await symlink(join(folder, "private"), join(folder, "from/looks-like-a-folder"));
  await copyTree(join(folder, "from"), join(folder, "to"), new Set());
  expect(await readlink(join(folder, "to/looks-like-a-folder"))).toBe(join(folder, "private"));
  const copied = copyTree(join(folder, "from/looks-like-a-folder"), join(folder, "again"), new Set());
  await expect(copied).rejects.toMatchObject({ code: expect.stringMatching(/ENOTDIR|ELOOP/) });
});
