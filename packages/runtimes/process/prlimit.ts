import { readFileSync } from "node:fs";
import { systemCodeOf } from "@toolyard/service-kit/errors/errors.ts";
import { findOnPath } from "./command-resolution.ts";
import type { Allowance } from "../resources.ts";

const MIB = 1024 * 1024;
const OPEN_FILES = 8_192;
/** The kernel counts all processes and threads of the user, so this only stops a fork bomb. */
const PROCESSES = 16_384;
/**
 * Added to a replica's memory for RLIMIT_DATA, which counts what a process may write to, touched or not. An idle Node was
 * measured at 590 MiB of it with 17 MiB resident. RLIMIT_AS, which counts reservations too, is of no use with V8.
 */
const UNTOUCHED_MEMORY_MB = 1_024;

export interface Prlimit {
  /** The program and arguments that go before the command; empty where there is no `prlimit`. */
  prefix(allowance: Allowance): string[];
}

/**
 * Limits by `prlimit`: open files, processes, no core files, and ceilings on each process's memory and each file's size
 * that stop a sudden burst. The runtime watches the use of the replica as a whole.
 */
export function createPrlimit(hostEnv: Record<string, string | undefined>): Prlimit {
  const program = findOnPath("prlimit", hostEnv["PATH"] ?? "");
  if (program === null) return { prefix: () => [] };
  const hard = hardLimits();
  const capped = (name: string, wanted: number): number => Math.min(wanted, hard.get(name) ?? Infinity);
  return {
    prefix({ memoryMb, diskMb }) {
      const files = capped("Max open files", OPEN_FILES);
      const processes = capped("Max processes", PROCESSES);
      const data = capped("Max data size", (memoryMb + UNTOUCHED_MEMORY_MB) * MIB);
      const fileSize = capped("Max file size", diskMb * MIB);
      return [
        [program, "--core=0:0", `--nofile=${files}:${files}`, `--nproc=${processes}:${processes}`],
        [`--data=${data}:${data}`, `--fsize=${fileSize}:${fileSize}`],
        ["--"],
      ].flat();
    },
  };
}

/** Limits of this process that only root may raise, by the kernel's names for them; unlimited ones are left out. */
function hardLimits(): Map<string, number> {
  const limits = new Map<string, number>();
  let table: string;
  try {
    table = readFileSync("/proc/self/limits", "utf8");
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return limits;
    throw error;
  }
  for (const [, name, hard] of table.matchAll(/^(Max [a-z ]+?)\s{2,}\S+\s+(\d+)\s/gm)) {
    if (name !== undefined) limits.set(name, Number(hard));
  }
  return limits;
}
