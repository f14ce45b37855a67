import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { completeRemovals, removeTree } from "./tree-removal.ts";

let parent: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), "toolyard-removal-"));
});
afterEach(() => rm(parent, { recursive: true }));

const NAMES = Array.from({ length: 1_000 }, (_, number) => `file-${number}`);
function fill(folder: string): string {
  mkdirSync(folder, { recursive: true });
  for (const name of NAMES) writeFileSync(join(folder, name), "");
  return folder;
}

test("nothing is removed that a link leads to by which a process replaces a folder meanwhile; what is left goes later", async () => {
  const elsewhere = fill(join(parent, "elsewhere"));
  const tree = join(parent, "tree");
  fill(join(tree, "folder"));
  const swaps = spawn(process.execPath, [join(import.meta.dirname, "../fixtures/swaps-folder.mjs"), elsewhere], {
    cwd: tree,
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(swaps.stdout, "data");
    // It may not succeed while somebody makes more in there.
    await removeTree(tree).catch(() => undefined);
  } finally {
    swaps.kill("SIGKILL");
    await once(swaps, "exit");
  }
  expect(readdirSync(elsewhere)).toHaveLength(NAMES.length);
  await completeRemovals([parent]);
  expect(readdirSync(parent)).toEqual(["elsewhere"]);
});

test("the name is free at once, and what takes it is left alone", async () => {
  const tree = fill(join(parent, "tree"));
  const removed = removeTree(tree);
  expect(existsSync(tree)).toBe(false);
  mkdirSync(tree);
  await removed;
  expect(readdirSync(parent)).toEqual(["tree"]);
});
