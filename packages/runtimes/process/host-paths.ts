import { lstatSync, readlinkSync } from "node:fs";
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { isWithin, placeOf, realPathOf, statusOf } from "./paths.ts";

/** The paths of this host that sandboxed replicas see, and those that a launch may add. */
export interface HostPaths {
  /** Folders that replicas see as empty ones of their own, but for paths that `shown` or a launch names. */
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
  /**
   * Paths in concealed places that a command line names and may see, each with the folder that it belongs to. Relative arguments are
   * relative to `directory`; null: to the replica's own folder, which has nothing of the host.
   */
  namedBy(argv: readonly string[], directory: string | null): NamedPaths;
  /** The first of the arguments, by its position from 0, that names something of the host which is then not seen. */
  firstUnseen(
    args: readonly string[],
    directory: string | null,
    seen: Pick<NamedPaths, "granted" | "linked">,
  ): { index: number; reason: string } | null;
}

interface NamedPaths {
  granted: string[];
  /** The same, or part of it, where names lead to it over symbolic links. */
  linked: LinkedPath[];
}

/** `path`, to be seen as `at`. */
export interface LinkedPath {
  path: string;
  at: string;
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

/** Folders that replicas have of their own. */
export const OWN_FOLDERS = ["/tmp", "/var/tmp"];
const HOMES = ["/home", "/root", "/Users"];
/** Folders of the system, or with files that make the system run programs. */
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
/** Files that make a folder the root of a project. */
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
    // A shown folder hides those within it; a writable one would show them again.
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

  /** Whether something in the folder is hidden where it is, and would be seen were the folder mounted elsewhere. */
  const holdsHidden = (folder: string): boolean =>
    isSystem(folder) || [...ownFolders, ...hidden, ...unseen].some((path) => isWithin(folder, path));
  /** Links are mounted as their targets. */
  const mayShow = (path: string): boolean => {
    const real = realPathOf(path);
    if (whyProtected(path, false) !== null) return false;
    return real === path || (whyProtected(real, false) === null && !holdsHidden(real));
  };

  /** What a path, which may lead over links in concealed places, has to be mounted as to be found by its own name. */
  const linkedTo = (path: string, granted: readonly string[]): LinkedPath[] => {
    const linked: LinkedPath[] = [];
    for (const link of linksIn(path)) {
      if (!isConcealed(link) || [...shown, ...granted, ...linked.map(({ at }) => at)].some((at) => isWithin(at, link)))
        continue;
      const target = realPathOf(link);
      const isSeen = !isConcealed(target) || [...shown, ...granted].some((folder) => isWithin(folder, target));
      const parts = isSeen ? [target] : granted.filter((folder) => isWithin(target, folder));
      for (const part of parts.filter((each) => whyProtected(each, false) === null && !holdsHidden(each)))
        linked.push({ path: part, at: join(link, relative(target, part)) });
    }
    return linked;
  };

  const whyUnseen = (path: string, granted: readonly string[]): string | null => {
    for (const place of placesOf(path)) {
      if (ownFolders.some((folder) => isWithin(folder, place)))
        return "it lies in Toolyard's data folder, which replicas do not see";
      const by = [...hidden, "/run"].find((folder) => isWithin(folder, place));
      if (by !== undefined) return `replicas do not see ${by}`;
      const isSeen = [...shown, ...granted].some((folder) => isWithin(folder, place));
      const folder = isSeen ? undefined : unseen.find((each) => isWithin(each, place));
      if (folder === undefined) continue;
      const reason = whyProtected(place, false) ?? whyProtected(realPathOf(place), false);
      return `replicas have a ${folder} of their own; ${reason ?? "name its folder as workingDirectory"}`;
    }
    return null;
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
    whyUnseen,
    namedBy(argv, directory) {
      const named = argv.flatMap((arg) => pathIn(arg, directory) ?? []);
      const granted = named
        .flatMap((path, index) => placesOf(path).map((place) => surroundingsOf(place, index < PROGRAMS, unseen)))
        .flatMap((paths) => paths.find((path) => isConcealed(path) && mayShow(path)) ?? []);
      return { granted, linked: named.flatMap((path) => linkedTo(path, granted)) };
    },
    firstUnseen(args, directory, { granted, linked }) {
      const seen = [...granted, ...linked.map(({ at }) => at)];
      for (const [index, arg] of args.entries()) {
        const path = pathIn(arg, directory);
        // A whole home or temporary folder is the replica's own, and may be meant.
        if (path === null || unseen.some((folder) => isWithin(path, folder))) continue;
        const real = realPathOf(path);
        const reason =
          whyUnseen(real, seen) ?? (isFound(path, seen) ? null : "it leads over a link that replicas do not see");
        if (reason !== null) return { index, reason };
      }
      return null;
    },
  };

  /** Whether a path whose end is seen is found by its own name. */
  function isFound(path: string, seen: readonly string[]): boolean {
    const first = linksIn(path).find((link) => isConcealed(link));
    return first === undefined || [...shown, ...seen].some((at) => isWithin(at, path) || isWithin(at, first));
  }
}

/** The path of the host that an argument names, as `/srv/notes`, `--root=/srv/notes` or `notes`; null where there is none. */
function pathIn(arg: string, directory: string | null): string | null {
  const named = /^--?[\w-]+=(\/.*)$/s.exec(arg)?.[1] ?? arg;
  if (!isAbsolute(named) && (directory === null || named === "" || named.startsWith("-"))) return null;
  const path = resolve(directory ?? "/", named);
  return statusOf(path) ? path : null;
}

/** Of links that lead to links; Linux follows as many (path_resolution(7)). */
const MAX_LINKS = 40;

/** The symbolic links that a path leads over, the first first. */
function linksIn(path: string): string[] {
  const links: string[] = [];
  let [place, ahead] = ["/", path.split("/")];
  for (let name = ahead.shift(); name !== undefined; name = ahead.shift()) {
    const next = resolve(place, name);
    if (lstatSync(next, { throwIfNoEntry: false })?.isSymbolicLink() && links.length < MAX_LINKS) {
      links.push(next);
      ahead = [...resolve(place, readlinkSync(next)).split("/"), ...ahead];
      place = "/";
    } else place = next;
  }
  return [...new Set(links)];
}

/** The parts of a home folder that the programs in one folder of PATH need. */
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
