import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { join } from "node:path";
import { ToolyardError } from "@toolyard/service-kit/errors.ts";
import { firstInherited } from "@toolyard/bridge/handover.ts";
import { findOnPath } from "./command-resolution.ts";
import type { Invocation } from "./invocation.ts";
import { isWithin, realPathOf } from "./paths.ts";

export type Isolation = "auto" | "bubblewrap" | "none";

/** Where one replica runs: what it may write, besides what its sandbox shows it anyway. Absolute paths. */
export interface Confinement {
  /** Seen as /tmp and /var/tmp. */
  temporaryDirectory: string;
  workDirectory: string;
  /** Where the command starts; shown, read-only, also where it lies below /tmp. */
  startDirectory: string;
  /** Folders below Toolyard's data that replicas share. */
  writable: string[];
}

export interface Sandbox {
  /** `invocation`, run inside. */
  wrap(invocation: Invocation, confinement: Confinement): Invocation;
  /** Why a path could not be reached from inside by a command that starts in `startDirectory`, or null when it can. */
  whyHidden(path: string, startDirectory: string): string | null;
}

/** Kept from replicas in the host user's home: what other programs keep their credentials in. */
const HIDDEN_IN_HOME = [
  ".ssh",
  ".gnupg",
  ".aws",
  ".azure",
  ".kube",
  ".docker",
  ".config/gcloud",
  ".config/gh",
  ".git-credentials",
  ".netrc",
  ".bash_history",
  ".zsh_history",
];
/** Of /run, which else holds the sockets of the host's services, only these are shown. */
const SHOWN_IN_RUN = [
  "/run/systemd/resolve",
  "/run/resolvconf",
  "/run/NetworkManager/resolv.conf",
  "/run/current-system",
];
const PROBE_TIMEOUT_MS = 5_000;

export interface SandboxOptions {
  isolation: Isolation;
  hostEnv: Record<string, string | undefined>;
  /** Hidden as a whole, but for what a replica's `Confinement` names. */
  dataDir: string;
  /** More files and folders to hide. */
  hiddenPaths: readonly string[];
  /** Shown, read-only, also where they lie below /tmp: Toolyard's own code and its Node. */
  visiblePaths: readonly string[];
}

/**
 * A sandbox by bubblewrap: the system read-only, own /tmp, /proc and /dev, own pid and IPC namespaces, no capabilities,
 * Toolyard's data and the host user's credentials hidden, the network as it is. It does not die with the control plane:
 * replicas outlive it.
 * @returns The sandbox, or why there is none.
 * @throws ToolyardError PRECONDITION_FAILED when `isolation` insists on one that does not work here.
 */
export function createSandbox(options: SandboxOptions): { sandbox: Sandbox | null; detail: string } {
  const { isolation, hostEnv } = options;
  if (isolation === "none") {
    return { sandbox: null, detail: "Replicas run unisolated, as PROCESS_ISOLATION=none says." };
  }
  const program = findOnPath("bwrap", hostEnv["PATH"] ?? "");
  const problem = program === null ? "bubblewrap (bwrap) is not installed" : whyNotWorking(program, hostEnv["PATH"]);
  if (program !== null && problem === null) {
    const detail = "Replicas run under bubblewrap: read-only system, own /tmp and processes, Toolyard's data hidden.";
    return { sandbox: sandboxOf(program, options), detail };
  }
  if (isolation === "bubblewrap") {
    throw new ToolyardError("PRECONDITION_FAILED", `PROCESS_ISOLATION=bubblewrap cannot be had here: ${problem}.`);
  }
  return { sandbox: null, detail: `Replicas run unisolated: ${problem}.` };
}

const NAMESPACES = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--cap-drop", "ALL"];

/** Runs it once: installed is not enough where user namespaces are switched off or /proc cannot be mounted. */
function whyNotWorking(program: string, path: string | undefined): string | null {
  const args = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", ...NAMESPACES, "true"];
  const { status, stderr, error } = spawnSync(program, args, {
    timeout: PROBE_TIMEOUT_MS,
    encoding: "utf8",
    env: { PATH: path },
  });
  if (status === 0) return null;
  const reason = error ? error.message : (stderr.trim().split("\n")[0] ?? "");
  return `bubblewrap (bwrap) is installed but does not work here (${reason || `it ended with ${status}`})`;
}

function sandboxOf(program: string, options: SandboxOptions): Sandbox {
  const { hostEnv, hiddenPaths, visiblePaths } = options;
  const dataDir = realPathOf(options.dataDir);
  const home = hostEnv["HOME"];
  const inHome = home === undefined ? [] : HIDDEN_IN_HOME.map((name) => join(home, name));
  const hidden = [...inHome, ...hiddenPaths].map(realPathOf);

  return {
    wrap({ argv, environment, inherited }, { temporaryDirectory, workDirectory, startDirectory, writable }) {
      // Never seen by bwrap's own loader, nor on a command line. The file system comes by the same way: without what is
      // handed over, as when Toolyard is killed before it could, there is nothing in the sandbox that could be run.
      const handedOver = [
        "--clearenv",
        ...Object.entries(environment).flatMap(([name, value]) => ["--setenv", name, value]),
        "--ro-bind",
        "/",
        "/",
      ];
      const shown = [...visiblePaths, startDirectory].filter((path) => ownFolderOver(path) !== null);
      const wrapped = [
        [program, "--args", String(firstInherited + inherited.length), "--dev", "/dev", "--proc", "/proc"],
        OWN_FOLDERS.flatMap((folder) => ["--bind", temporaryDirectory, folder]),
        ["--tmpfs", "/run"],
        SHOWN_IN_RUN.flatMap((path) => ["--ro-bind-try", path, path]),
        shown.flatMap((path) => ["--ro-bind", path, path]),
        hidden.flatMap(hide),
        // After what shows more, before what is the replica's own.
        ["--tmpfs", dataDir],
        [workDirectory, ...writable].flatMap((path) => ["--bind", path, path]),
        ["--remount-ro", dataDir],
        NAMESPACES,
        ["--chdir", startDirectory, "--"],
        argv,
      ].flat();
      return { argv: wrapped, environment: {}, inherited: [...inherited, handedOver.join("\0")] };
    },
    whyHidden(path, startDirectory) {
      const real = realPathOf(path);
      if (isWithin(dataDir, real)) return "it lies in Toolyard's data folder, which replicas do not see";
      const by = [...hidden, "/run"].find((parent) => isWithin(parent, real));
      if (by !== undefined) return `replicas do not see ${by}`;
      const own = [...visiblePaths, startDirectory].some((parent) => isWithin(parent, real))
        ? null
        : ownFolderOver(real);
      return own === null ? null : `replicas have a ${own} of their own`;
    },
  };
}

/** What a replica sees its own temporary folder as. */
const OWN_FOLDERS = ["/tmp", "/var/tmp"];

/** The one of them that `path` lies below. */
function ownFolderOver(path: string): string | null {
  return OWN_FOLDERS.find((folder) => folder !== path && isWithin(folder, path)) ?? null;
}

function hide(path: string): string[] {
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status) return [];
  return status.isDirectory() ? ["--tmpfs", path] : ["--ro-bind", "/dev/null", path];
}
