import { spawnSync } from "node:child_process";
import { preconditionFailed } from "@toolyard/service-kit/errors/errors.ts";
import { FIRST_INHERITED } from "@toolyard/bridge/child/handover.ts";
import { findOnPath } from "./command-resolution.ts";
import type { Invocation } from "./invocation.ts";
import { OWN_FOLDERS } from "./host-paths.ts";
import type { HostPaths, LinkedPath } from "./host-paths.ts";
import { realPathOf, statusOf } from "./paths.ts";
import { rootOnlyPaths } from "./root-only-paths.ts";

export type Isolation = "auto" | "bubblewrap" | "none";

/** Where one replica runs, and the paths that it may see and write besides those that all replicas do. Absolute. */
interface Confinement {
  /** Folders of its own, seen as /tmp and /var/tmp, as /dev/shm, and as the host user's home. */
  own: { temporary: string; sharedMemory: string; home: string };
  /** Where the command starts. */
  startDirectory: string;
  /** Shown, read-only, wherever they lie. */
  shown: readonly string[];
  /** Shown, read-only, elsewhere. */
  linked: readonly LinkedPath[];
  /** Folders below Toolyard's data. */
  readable: readonly string[];
  writable: readonly string[];
  /** Files and folders of the host that its launch may write to. */
  writablePaths: readonly string[];
}

export interface Sandbox {
  /** `invocation`, run inside. */
  wrap(invocation: Invocation, confinement: Confinement): Invocation;
}

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
  /** Of Toolyard's data and caches: hidden as a whole, but for what a replica's `Confinement` names. */
  ownFolders: readonly string[];
  hostPaths: HostPaths;
  /** Whether users other than the operator can start replicas: then `auto` insists on a sandbox. */
  reachable: boolean;
}

/**
 * A sandbox by bubblewrap: the system read-only, own /tmp, /proc, /dev and home folder, own pid and IPC namespaces, no
 * capabilities, Toolyard's data and the home folders of the host's users hidden, the network as it is. It does not die with the control plane:
 * replicas outlive it.
 * @returns The sandbox, or why there is none.
 * @throws ToolyardError PRECONDITION_FAILED when there is none here, and `isolation` or the reach of Toolyard requires one.
 */
export function createSandbox(options: SandboxOptions): { sandbox: Sandbox | null; detail: string } {
  const { isolation, hostEnv } = options;
  if (isolation === "none") {
    return { sandbox: null, detail: "Replicas run unisolated, as PROCESS_ISOLATION=none says." };
  }
  const program = findOnPath("bwrap", hostEnv["PATH"] ?? "");
  const problem = program === null ? "bubblewrap (bwrap) is not installed" : whyNotWorking(program, hostEnv["PATH"]);
  if (program !== null && problem === null) {
    const detail =
      "Replicas run under bubblewrap: read-only system, own /tmp, home and processes, Toolyard's data hidden.";
    return { sandbox: sandboxOf(program, options), detail };
  }
  if (isolation === "bubblewrap") {
    throw preconditionFailed("isolation", `PROCESS_ISOLATION=bubblewrap does not work here: ${problem}.`);
  }
  if (options.reachable) {
    throw preconditionFailed(
      "isolation",
      `Toolyard can be reached from other machines, and users who may deploy would run programs as Toolyard's own user: ${problem}. ` +
        "Install bubblewrap, or set PROCESS_ISOLATION=none to run replicas unisolated.",
    );
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

function sandboxOf(program: string, { hostPaths, ...options }: SandboxOptions): Sandbox {
  const ownFolders = options.ownFolders.map(realPathOf).toSorted((one, other) => one.length - other.length);
  const { home, concealed } = hostPaths;
  const rootOnly = process.getuid?.() === 0 ? rootOnlyPaths() : { readOnly: [], hidden: [] };
  const hidden = [...hostPaths.hidden, ...rootOnly.hidden];

  return {
    wrap({ argv, environment, inherited }, { own, startDirectory, shown, linked, readable, writable, writablePaths }) {
      // Never seen by bwrap's own loader, nor on a command line. The file system comes by the same way: without what is
      // handed over, as when Toolyard is killed before it could, there is nothing in the sandbox that could be run.
      const handedOver = [
        "--clearenv",
        ...Object.entries(environment).flatMap(([name, value]) => ["--setenv", name, value]),
        "--ro-bind",
        "/",
        "/",
      ];
      // Parents before what lies in them.
      const visible = [...hostPaths.shown, ...shown]
        .map((path) => ({ path, at: path }))
        .concat(linked)
        .toSorted((one, other) => one.at.length - other.at.length);
      const hiders = hidden.map((path) => ({ path, args: hide(path) }));
      const empty = [
        "/run",
        ...concealed,
        ...hiders.flatMap(({ path, args }) => (args[0] === "--tmpfs" ? [path] : [])),
      ];
      const wrapped = [
        [program, "--args", String(FIRST_INHERITED + inherited.length), "--proc", "/proc"],
        rootOnly.readOnly.flatMap((path) => ["--ro-bind", path, path]),
        ["--dev", "/dev", "--bind", own.sharedMemory, "/dev/shm"],
        OWN_FOLDERS.flatMap((folder) => ["--bind", own.temporary, folder]),
        ["--tmpfs", "/run"],
        SHOWN_IN_RUN.flatMap((path) => ["--ro-bind-try", path, path]),
        concealed.flatMap((path) => (path === home ? [] : ["--tmpfs", path])),
        home === null ? [] : ["--bind", own.home, home],
        visible.flatMap(({ path, at }) => ["--ro-bind", path, at]),
        hiders.flatMap(({ args }) => args),
        // After the mounts that show more, before the replica's own.
        ownFolders.flatMap((folder) => ["--tmpfs", folder]),
        readable.flatMap((path) => ["--ro-bind", path, path]),
        [...writable, ...(home === null ? [own.home] : []), ...writablePaths].flatMap((path) => ["--bind", path, path]),
        // Memory that nobody counts, were it writable.
        ["/dev", ...ownFolders, ...empty].flatMap((path) => (path === home ? [] : ["--remount-ro", path])),
        NAMESPACES,
        ["--chdir", startDirectory, "--"],
        argv,
      ].flat();
      return { argv: wrapped, environment: {}, inherited: [...inherited, handedOver.join("\0")] };
    },
  };
}

function hide(path: string): string[] {
  const status = statusOf(path);
  if (!status) return [];
  return status.isDirectory() ? ["--tmpfs", path] : ["--ro-bind", "/dev/null", path];
}
