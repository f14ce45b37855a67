import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { ToolyardError } from "@toolyard/service-kit/errors.ts";
import { isWithin, placeOf, realPathOf, statusOf } from "./paths.ts";

/** What replicas are shown of this host, under a sandbox, and what a launch may ask for beyond. */
export interface HostPaths {
  /** What replicas see an own, empty folder as: nothing in it is shown but what `shown` or a launch names. */
  concealed: string[];
  /** The host user's home folder, as which replicas see their own; null where this host has none that can be used so. */
  home: string | null;
  /** Never shown, wherever they lie. */
  hidden: string[];
  /** Shown, read-only: Toolyard's own code, its Node, and the programs that are on the host's PATH. */
  shown: string[];
  /**
   * The path without symbolic links, if a launch may see or, with `write`, write to it.
   * @throws ToolyardError BAD_USER_INPUT
   */
  grant(what: string, path: string, options: { write: boolean }): string;
  /** Whether a path is seen only where it is mounted for it. */
  isConcealed(path: string): boolean;
  /** Why a path is not seen from inside where `granted` was, or null when it is. */
  whyUnseen(path: string, granted: readonly string[]): string | null;
  /** Of a command line, the folders and files in concealed places that it names and may have, with what they belong to. */
  namedBy(argv: readonly string[]): string[];
}

export interface HostPathsOptions {
  hostEnv: Record<string, string | undefined>;
  /** Names in it whose values may be paths that replicas need. */
  replicaEnv: readonly string[];
  /** Of Toolyard's data and caches. */
  ownFolders: readonly string[];
  hiddenPaths: readonly string[];
  visiblePaths: readonly string[];
  /** Never written to by replicas, besides `visiblePaths`. */
  ownCode: string;
  /** Folders that launches may name; null: any that is not protected, for where nobody but the operator writes launches. */
  allowedPaths: readonly string[] | null;
}

/** Folders of which replicas have their own. */
export const OWN_FOLDERS = ["/tmp", "/var/tmp"];
const HOMES = ["/home", "/root", "/Users"];
/** Of the system, or with what makes the system run programs. */
const SYSTEM = [
  "/bin",
  "/boot",
  "/dev",
  "/etc",
  "/lib",
  "/lib32",
  "/lib64",
  "/proc",
  "/run",
  "/sbin",
  "/sys",
  "/usr",
  "/var",
];
/** Of package managers in a home folder, what a program on PATH there needs besides the folder it is in. */
const TOOLCHAIN_IN_HOME = [".local/lib", ".local/pipx", ".local/share/pipx", ".local/share/uv", ".rustup"];
/** Folders in a home whose `bin` is shown, but not the rest of them. */
const MIXED = ["", ".local", ".local/share", ".config", ".cargo"];
/** What makes a folder the root of a project. */
const PROJECT_MARKS = ["package.json", "pyproject.toml", "pyvenv.cfg", ".git"];
/** How many of the paths in a command line name programs: the command, and the script that it may be given. */
const PROGRAMS = 2;

export function createHostPaths(options: HostPathsOptions): HostPaths {
  const { hostEnv, replicaEnv } = options;
  const ownFolders = options.ownFolders.map(realPathOf);
  const hidden = options.hiddenPaths.map(realPathOf);
  const allowed = options.allowedPaths?.map((path) => realPathOf(resolve(path))) ?? null;
  const hostHome = hostEnv["HOME"];
  const realHome = hostHome !== undefined && isAbsolute(hostHome) ? realPathOf(hostHome) : null;
  const isUsable = realHome !== null && isDirectory(realHome) && !isWithin(realHome, "/usr") && !isSystem(realHome);
  const home = isUsable && !ownFolders.some((folder) => isWithin(folder, realHome)) ? realHome : null;
  const concealed = [...new Set([...HOMES.map(realPathOf).filter(isDirectory), ...(home === null ? [] : [home])])];
  const unseen = [...concealed, ...OWN_FOLDERS];
  const isConcealed = (path: string): boolean => unseen.some((folder) => isWithin(folder, path));

  const visible = options.visiblePaths.map(realPathOf);
  const shown = [
    ...visible,
    ...(hostEnv["PATH"] ?? "")
      .split(":")
      .filter(isAbsolute)
      .flatMap((folder) => toolchainOf(realPathOf(folder), home)),
    ...(home === null ? [] : TOOLCHAIN_IN_HOME.map((name) => join(home, name))),
    ...replicaEnv.map((name) => hostEnv[name] ?? "").filter((value) => value !== hostHome && isAbsolute(value)),
  ].filter((path) => isConcealed(path) && statusOf(path) && !unseen.includes(path));

  /** Why no launch may name it, or null. */
  const whyProtected = (path: string, write: boolean): string | null => {
    // What is shown has those hidden in it; what is written to would show them again.
    const touches = (other: string): boolean => isWithin(other, path) || (write && isWithin(path, other));
    if (ownFolders.some(touches)) return "Toolyard's data is there";
    if (hidden.some(touches)) return "replicas must not see what is there";
    if (write && [options.ownCode, ...visible].some(touches)) return "Toolyard's own code is there";
    if (unseen.some((folder) => isWithin(path, folder))) return "more than one program's files are there";
    const by = allowed?.find((folder) => isWithin(folder, path));
    if (allowed !== null && by === undefined) return "it is not below a folder that REPLICA_PATHS allows";
    const isPrivate = (each: string): boolean =>
      home !== null && isWithin(home, each) && relative(home, each).startsWith(".");
    if (isPrivate(path) && !(by !== undefined && isPrivate(by))) return "programs keep settings and credentials there";
    if (by !== undefined) return null;
    if (write && isSystem(path)) return "the system's files are there";
    const isOthers = (home === null || !isWithin(home, path)) && HOMES.some((folder) => isWithin(folder, path));
    return isOthers ? "it is another user's" : null;
  };

  const refuse = (what: string, path: string, reason: string): never => {
    throw new ToolyardError(
      "BAD_USER_INPUT",
      `The launch's ${what} ${JSON.stringify(path)} cannot be used: ${reason}.`,
    );
  };

  return {
    concealed,
    home,
    hidden,
    isConcealed,
    shown: [...new Set(shown)],
    grant(what, path, { write }) {
      if (!isAbsolute(path)) refuse(what, path, "it is not an absolute path");
      if (!statusOf(path)) refuse(what, path, "it does not exist");
      const real = realPathOf(path);
      if (write || (isConcealed(real) && !shown.some((folder) => isWithin(folder, real)))) {
        const reason = whyProtected(real, write);
        if (reason !== null) refuse(what, path, reason);
      }
      return real;
    },
    whyUnseen(path, granted) {
      for (const place of placesOf(path)) {
        if (ownFolders.some((folder) => isWithin(folder, place)))
          return "it lies in Toolyard's data folder, which replicas do not see";
        const by = [...hidden, "/run"].find((folder) => isWithin(folder, place));
        if (by !== undefined) return `replicas do not see ${by}`;
        const isSeen = [...shown, ...granted].some((folder) => isWithin(folder, place));
        const folder = isSeen ? undefined : unseen.find((each) => isWithin(each, place));
        if (folder !== undefined) return `replicas have a ${folder} of their own; name its folder as workingDirectory`;
      }
      return null;
    },
    namedBy: (argv) =>
      argv
        .filter((arg) => isAbsolute(arg) && statusOf(arg))
        .flatMap((arg, index) => placesOf(arg).map((place) => surroundingsOf(place, index < PROGRAMS, unseen)))
        .flatMap((paths) => paths.find((path) => isConcealed(path) && whyProtected(path, false) === null) ?? []),
  };
}

/** What has to be seen of a home folder for the programs in one folder of PATH to run. */
function toolchainOf(folder: string, home: string | null): string[] {
  const parent = dirname(folder);
  const isPart = /\/(?:bin|shims)$/.test(folder) && home !== null && isWithin(home, folder);
  return isPart && !MIXED.includes(relative(home, parent)) ? [parent] : [folder];
}

/** Where a path is, and where what it links to is: a program in a virtual environment is found by the former. */
function placesOf(path: string): string[] {
  return [...new Set([placeOf(path), realPathOf(path)])];
}

/**
 * What a path may be shown with, the most first: the folders of the projects it is in, as packages of a workspace are in two; of a
 * program, its folder; itself.
 */
function surroundingsOf(path: string, isProgram: boolean, limits: readonly string[]): string[] {
  const projects: string[] = [];
  for (let folder = path; folder !== dirname(folder) && !limits.includes(folder); folder = dirname(folder)) {
    if (PROJECT_MARKS.some((mark) => statusOf(join(folder, mark)))) projects.unshift(folder);
  }
  return [...projects, ...(isProgram && !isDirectory(path) ? [dirname(path)] : []), path];
}

function isSystem(path: string): boolean {
  return path === "/" || SYSTEM.some((folder) => isWithin(folder, path));
}

function isDirectory(path: string): boolean {
  return statusOf(path)?.isDirectory() ?? false;
}
