import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemCodeOf } from "@toolyard/service-kit";
import { describe } from "vitest";

/** A file system of its own in memory, which can be full. */
export interface SmallDisk {
  /** The one folder to use: what is beside it fills the disk. */
  readonly folder: string;
  /** Takes all that is free, to the last block; again where something has become free. */
  fill(): void;
  /** Makes room again. */
  free(): void;
}

/** Why there can be no disk of a test's own; null: there can. */
const noDisk = whyNone();

function whyNone(): string | null {
  try {
    unmount(mount(1));
    return null;
  } catch (error) {
    return `no file system can be mounted: ${String(error)}`;
  }
}

function mount(mebibytes: number): string {
  const folder = mkdtempSync(join(tmpdir(), "toolyard-disk-"));
  const args = ["-t", "tmpfs", "-o", `size=${mebibytes}m,mode=0700`, "toolyard-test", folder];
  const { status, stderr, error } = spawnSync("mount", args, { encoding: "utf8" });
  if (status === 0) return folder;
  rmSync(folder, { recursive: true });
  throw error ?? new Error(stderr.trim());
}

function unmount(folder: string): void {
  spawnSync("umount", ["--lazy", folder]);
  rmSync(folder, { recursive: true, force: true });
}

/** Tests on a disk that is full: skipped, with the reason, where none can be mounted. */
export function describeOnFullDisk(name: string, define: () => void): void {
  if (noDisk === null) describe(name, define);
  else describe.skip(`${name} (skipped: ${noDisk})`, define);
}

export async function withSmallDisk(mebibytes: number, run: (disk: SmallDisk) => Promise<void>): Promise<void> {
  const mounted = mount(mebibytes);
  // A test run that is broken off leaves none behind.
  const onExit = () => unmount(mounted);
  process.once("exit", onExit);
  const filling = join(mounted, "filling");
  try {
    await run({
      folder: join(mounted, "data"),
      fill() {
        for (let bytes = 1024 * 1024; bytes >= 1; bytes = Math.floor(bytes / 16)) {
          try {
            for (;;) writeFileSync(filling, Buffer.alloc(bytes), { flag: "a" });
          } catch (error) {
            if (systemCodeOf(error) !== "ENOSPC") throw error;
          }
        }
      },
      free: () => rmSync(filling),
    });
  } finally {
    process.off("exit", onExit);
    unmount(mounted);
  }
}
