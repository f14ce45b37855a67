import { mkdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { bridgeCommand } from "@toolyard/bridge/arguments.ts";
import { firstInherited, type Handover } from "@toolyard/bridge/handover.ts";
import { ToolyardError } from "@toolyard/service-kit/errors.ts";
import type { ReplicaSpec } from "../runtime.ts";
import type { Sandbox } from "./bubblewrap.ts";
import { findOnPath, resolveCommand } from "./command-resolution.ts";
import { withoutEnvironment } from "./invocation.ts";
import type { Invocation } from "./invocation.ts";
import type { Limits } from "./limits.ts";
import { replicaEnvironment } from "./replica-environment.ts";
import type { ReplicaPaths } from "./replica-records.ts";
import { allowanceOf } from "./resources.ts";

/** What to spawn for a replica, checked: it fails only for reasons that nobody could know before. */
export interface LaunchPlan extends Invocation {
  workingDirectory: string;
}

export interface LaunchPlanner {
  /**
   * The replica's folders must be there already. `socket` is the descriptor of what its bridge, where it has one, listens on.
   * @throws ToolyardError BAD_USER_INPUT when the launch cannot be run, in a sentence a person can act on.
   */
  plan(spec: ReplicaSpec, paths: ReplicaPaths, socket: number | null): LaunchPlan;
}

export interface LaunchPlannerOptions {
  hostEnv: Record<string, string | undefined>;
  replicaEnv: readonly string[];
  /** Absolute path of the bridge's main file; undefined: this project's. */
  bridgeEntry: string | undefined;
  /** Absolute path of the folder for what replicas share and may lose. */
  cacheDirectory: string;
  sandbox: Sandbox | null;
  limits: Limits;
}

export function createLaunchPlanner(options: LaunchPlannerOptions): LaunchPlanner {
  const { hostEnv, replicaEnv, bridgeEntry, cacheDirectory, sandbox, limits } = options;
  const caches = packageCaches(hostEnv, cacheDirectory);
  // In a sandbox everything ends with the bridge.
  const setpriv = sandbox ? null : findOnPath("setpriv", hostEnv["PATH"] ?? "");

  const checkReachable = (what: string, path: string, startDirectory: string): void => {
    const reason = sandbox?.whyHidden(path, startDirectory) ?? null;
    if (reason === null) return;
    throw new ToolyardError(
      "BAD_USER_INPUT",
      `The launch's ${what} ${JSON.stringify(path)} cannot be used: ${reason}.`,
    );
  };

  return {
    plan(spec, paths, socket) {
      const { launch } = spec;
      if (launch.kind === "image") {
        throw new ToolyardError(
          "BAD_USER_INPUT",
          "An image launch needs docker or kubernetes (MCP_DEPLOYMENT_BACKEND); here replicas run as processes.",
        );
      }
      const temporaryDirectory = sandbox ? "/tmp" : paths.temporary;
      const environment = replicaEnvironment({
        // Under a sandbox the host user's own caches are read-only, and not for replicas to fill.
        hostEnv: sandbox ? { ...hostEnv, ...caches.environment } : hostEnv,
        replicaEnv: sandbox ? [...replicaEnv, ...Object.keys(caches.environment)] : replicaEnv,
        launchEnv: launch.env,
        temporaryDirectory,
        homeDirectory: paths.work,
      });
      const startDirectory = launch.workingDirectory === null ? paths.work : resolve(launch.workingDirectory);
      if (launch.workingDirectory !== null) {
        checkDirectory(startDirectory);
        checkReachable("working directory", startDirectory, startDirectory);
      }
      const command = resolveCommand(launch.command, environment["PATH"] ?? "", startDirectory);
      checkReachable("command", command, startDirectory);

      let inner: Invocation;
      if (launch.kind === "http") {
        environment["PORT"] = String(spec.port);
        environment["HOST"] = spec.host;
        const wanted = { argv: [command, ...launch.args], environment, inherited: [] };
        inner = sandbox ? wanted : withoutEnvironment(wanted);
      } else {
        const { args } = bridgeCommand({
          entry: bridgeEntry,
          listenFd: firstInherited + 1,
          sessions: launch.sessions === "SHARED" ? "shared" : "isolated",
          timeoutSeconds: launch.timeoutSeconds,
          workingDirectory: launch.workingDirectory === null ? null : startDirectory,
          command,
          args: launch.args,
        });
        const handover: Handover = {
          token: spec.token,
          secrets: spec.secrets,
          environment,
          setpriv,
          temporaryDirectory,
        };
        inner = {
          argv: [process.execPath, ...args],
          environment: {},
          inherited: [JSON.stringify(handover), ...(socket === null ? [] : [socket])],
        };
      }
      if (sandbox) for (const folder of caches.folders) mkdirSync(folder, { recursive: true, mode: 0o700 });
      const confinement = {
        temporaryDirectory: paths.temporary,
        workDirectory: paths.work,
        startDirectory,
        writable: caches.folders,
      };
      const invocation = sandbox?.wrap(inner, confinement) ?? inner;
      return {
        ...invocation,
        argv: [...limits.prefix(allowanceOf(spec.resources)), ...invocation.argv],
        workingDirectory: sandbox ? paths.work : startDirectory,
      };
    },
  };
}

/** Where npm, uv and what follows the XDG rules keep their caches when the home folder is read-only. */
function packageCaches(
  hostEnv: Record<string, string | undefined>,
  cacheDirectory: string,
): { environment: Record<string, string>; folders: string[] } {
  const folder = (name: string): string => join(cacheDirectory, name);
  const environment: Record<string, string> = {
    npm_config_cache: folder("npm"),
    UV_CACHE_DIR: folder("uv"),
    // `uvx` opens it even where it installs nothing there.
    UV_TOOL_DIR: folder("uv-tools"),
    XDG_CACHE_HOME: folder("xdg-cache"),
    XDG_STATE_HOME: folder("xdg-state"),
  };
  // Pythons that uv has already are used where they are; it can only fetch one where it may write.
  const pythons = hostEnv["UV_PYTHON_INSTALL_DIR"] ?? join(hostEnv["HOME"] ?? "/", ".local/share/uv/python");
  if (!statSync(pythons, { throwIfNoEntry: false })) environment["UV_PYTHON_INSTALL_DIR"] = folder("uv-python");
  return { environment, folders: Object.values(environment) };
}

function checkDirectory(directory: string): void {
  const named = `The launch's working directory ${JSON.stringify(directory)}`;
  const status = statSync(directory, { throwIfNoEntry: false });
  if (!status) throw new ToolyardError("BAD_USER_INPUT", `${named} does not exist.`);
  if (!status.isDirectory()) throw new ToolyardError("BAD_USER_INPUT", `${named} is not a folder.`);
}
