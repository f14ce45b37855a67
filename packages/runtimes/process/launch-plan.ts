import { resolve } from "node:path";
import { FIRST_INHERITED, type Handover } from "@toolyard/bridge/child/handover.ts";
import { commandLineProblems, scriptIndex, type CommandLine } from "@toolyard/launch/command-line.ts";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import type { ReplicaSpec } from "../runtime.ts";
import type { Sandbox } from "./bubblewrap.ts";
import type { Cgroups } from "./cgroups.ts";
import { checkRunnable, findOnPath, resolveCommand } from "./command-resolution.ts";
import type { HostPaths } from "./host-paths.ts";
import { withoutEnvironment } from "./invocation.ts";
import type { Invocation } from "./invocation.ts";
import type { Prlimit } from "./prlimit.ts";
import { replicaEnvironment } from "./replica-environment.ts";
import type { ReplicaPaths } from "./replica-records.ts";
import { placeOf, statusOf } from "./paths.ts";
import type { ReplicaStorage } from "./replica-storage.ts";
import { bridgeLaunch } from "../bridge-launch.ts";
import { allowanceOf } from "../resources.ts";

/** The checked plan for spawning a replica: it fails only for reasons that could not be known before. */
export interface LaunchPlan extends Invocation {
  workingDirectory: string;
  /** The launch's, without symbolic links; empty where nothing is kept from replicas. */
  writablePaths: string[];
  /** Paths of the host that it sees because the launch names them. */
  granted: string[];
}

export interface LaunchPlanner {
  /**
   * The replica's folders must be there already. `logKey` marks its bridge's lines. `socket` is the descriptor that its bridge, if it has one, listens on.
   * @throws ToolyardError BAD_USER_INPUT when the launch cannot be run, in a sentence a person can act on.
   */
  plan(spec: ReplicaSpec, paths: ReplicaPaths, logKey: string, socket: number | null): LaunchPlan;
}

/** Certificates that replicas trust, in a folder that they see. */
export interface KeptTrust {
  folder: string;
  environment: Readonly<Record<string, string>>;
}

export interface LaunchPlannerOptions {
  hostEnv: Record<string, string | undefined>;
  replicaEnv: readonly string[];
  trust: KeptTrust | null;
  /** Absolute path of the bridge's main file; undefined: this project's. */
  bridgeEntry: string | undefined;
  storage: ReplicaStorage;
  hostPaths: HostPaths;
  sandbox: Sandbox | null;
  prlimit: Prlimit;
  cgroups: Pick<Cgroups, "memoryKillCounts">;
}

export function createLaunchPlanner(options: LaunchPlannerOptions): LaunchPlanner {
  const { hostEnv, replicaEnv, trust, bridgeEntry, storage, hostPaths, sandbox, prlimit, cgroups } = options;
  // In a sandbox everything ends with the bridge.
  const setpriv = sandbox ? null : findOnPath("setpriv", hostEnv["PATH"] ?? "");

  const checkSeen = (what: string, path: string, granted: readonly string[]): void => {
    const reason = sandbox && hostPaths.whyUnseen(path, granted);
    if (!reason) return;
    throw new ToolyardError(
      "BAD_USER_INPUT",
      `The launch's ${what} ${JSON.stringify(path)} cannot be used: ${reason}.`,
    );
  };

  return {
    plan(spec, paths, logKey, socket) {
      const { launch } = spec;
      if (launch.kind === "image" || launch.kind === "remote")
        throw new ToolyardError("BAD_USER_INPUT", `A launch of kind ${launch.kind} is no process of this host.`);
      const temporaryDirectory = sandbox ? "/tmp" : paths.temporary;
      const kept = storage.prepare(spec);
      const own = { ...kept.environment, ...trust?.environment };
      const environment = replicaEnvironment({
        hostEnv: { ...hostEnv, ...own, ...(sandbox && { HOME: hostPaths.home ?? kept.home }) },
        replicaEnv: [...replicaEnv, ...Object.keys(own)],
        launchEnv: launch.env,
        temporaryDirectory,
        homeDirectory: paths.work,
      });
      let startDirectory = launch.workingDirectory === null ? paths.work : resolve(launch.workingDirectory);
      const granted: string[] = [];
      const writablePaths = sandbox
        ? launch.writablePaths.map((path) => hostPaths.grant("writable path", path, { write: true }))
        : [];
      if (launch.workingDirectory !== null) {
        checkDirectory(startDirectory);
        if (sandbox) {
          // Links to it are not in the sandbox.
          startDirectory = hostPaths.grant("working directory", startDirectory, { write: false });
          if (hostPaths.isConcealed(startDirectory)) granted.push(startDirectory);
        }
        checkSeen("working directory", startDirectory, granted);
      }
      const found = resolveCommand(launch.command, environment["PATH"] ?? "", startDirectory);
      // Links to its folder are not in the sandbox; the program's own name is kept, by which Python finds its environment.
      const command = sandbox ? placeOf(found) : found;
      const directory = launch.workingDirectory === null ? null : startDirectory;
      const named = hostPaths.namedBy(sandbox ? [command, ...launch.args] : [], directory);
      granted.push(...named.granted);
      checkSeen("command", command, granted);
      checkRunnable(launch.command, found, environment["PATH"] ?? "");
      checkScript(launch, startDirectory);
      const seen = { granted: [...granted, ...writablePaths], linked: named.linked };
      const unseen = sandbox && hostPaths.firstUnseen(launch.args, directory, seen);
      if (unseen) throw unusable(launch, unseen.index, unseen.reason);

      let inner: Invocation;
      if (launch.kind === "http") {
        environment["PORT"] = String(spec.port);
        environment["HOST"] = spec.host;
        const wanted = { argv: [command, ...launch.args], environment, inherited: [] };
        inner = sandbox ? wanted : withoutEnvironment(wanted);
      } else {
        const { args } = bridgeLaunch(launch, spec.resources, {
          entry: bridgeEntry,
          // By this name callers on other hosts ask for it.
          host: spec.host,
          listenFd: FIRST_INHERITED + 1,
          workingDirectory: launch.workingDirectory === null ? null : startDirectory,
          command,
          args: launch.args,
        });
        const memoryKillCounts = cgroups.memoryKillCounts(spec.name);
        const handover: Handover = {
          token: spec.token,
          logKey,
          secrets: spec.secrets,
          environment,
          setpriv,
          temporaryDirectory,
          ...(memoryKillCounts.length > 0 && { memoryKillCounts }),
        };
        inner = {
          argv: [process.execPath, ...args],
          environment: {},
          inherited: [JSON.stringify(handover), ...(socket === null ? [] : [socket])],
        };
      }
      const confinement = {
        own: { temporary: paths.temporary, sharedMemory: paths.sharedMemory, home: kept.home },
        startDirectory,
        shown: granted,
        linked: named.linked,
        readable: trust === null ? [] : [trust.folder],
        writable: [paths.work, ...kept.folders],
        writablePaths,
      };
      const invocation = sandbox?.wrap(inner, confinement) ?? inner;
      return {
        ...invocation,
        argv: [...prlimit.prefix(allowanceOf(spec.resources)), ...invocation.argv],
        workingDirectory: sandbox ? paths.work : startDirectory,
        writablePaths,
        granted: [...granted, ...named.linked.map(({ path }) => path)],
      };
    },
  };
}

function unusable({ args }: { args: readonly string[] }, index: number, reason: string): ToolyardError {
  const message = `The launch's argument ${index + 1} ${JSON.stringify(args[index])} cannot be used: ${reason}.`;
  return new ToolyardError("BAD_USER_INPUT", message);
}

/** A script that is not there: interpreters say so in many lines. */
function checkScript(line: CommandLine, startDirectory: string): void {
  const index = scriptIndex(line);
  const script = index === null ? undefined : line.args[index];
  if (index === null || script === undefined || /^[a-z]+:/i.test(script)) return;
  const file = resolve(startDirectory, script);
  if (statusOf(file)) return;
  const mistake = commandLineProblems(line).find(({ path }) => path === `args.${index}`)?.message;
  throw unusable(line, index, mistake === undefined ? `${file} does not exist` : `it ${mistake}`);
}

function checkDirectory(directory: string): void {
  const named = `The launch's working directory ${JSON.stringify(directory)}`;
  const status = statusOf(directory);
  if (!status) throw new ToolyardError("BAD_USER_INPUT", `${named} does not exist.`);
  if (!status.isDirectory()) throw new ToolyardError("BAD_USER_INPUT", `${named} is not a folder.`);
}
