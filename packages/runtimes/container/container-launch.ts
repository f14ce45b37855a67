import { randomBytes } from "node:crypto";
import { HANDOVER_VARIABLE, type Handover } from "@toolyard/bridge/child/handover.ts";
import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { bridgeLaunch } from "../bridge-launch.ts";
import type { ReplicaSpec } from "../runtime.ts";
import { TRUST_FOLDER } from "./passed-on.ts";

/** A launch, put in terms of an image. */
export interface ContainerLaunch {
  image: string;
  /** Null: the image's own. */
  entrypoint: string[] | null;
  args: string[];
  env: Record<string, string>;
  workingDirectory: string | null;
  /** Besides /tmp. */
  writablePaths: string[];
  /** Where the server listens in the container. */
  port: number;
  /** Of lines that its bridge prints: see `markOf`; null where it has none. */
  logKey: string | null;
}

/** Where the Dockerfile puts the bridge. */
const BRIDGE = "/opt/toolyard/packages/bridge/start.mjs";
/** In the container, whose alone it is. */
const PORT = 8_080;
/** The variables that programs need and no launch says. All but /tmp is read-only. */
const SURROUNDINGS = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/tmp",
  TMPDIR: "/tmp",
};

/**
 * A launch put in terms of an image: its own, or the runner image, in which commands run; those on stdio under a bridge.
 * @param given Variables that the launch may set otherwise.
 * @throws ToolyardError BAD_USER_INPUT for what no container can run
 */
export function containerLaunch(
  spec: ReplicaSpec,
  runnerImage: string | null,
  given: Readonly<Record<string, string>> = {},
): ContainerLaunch {
  const { launch } = spec;
  if (launch.kind === "image") {
    const { image, args, port } = launch;
    const env = { ...given, ...launch.env };
    const own = { entrypoint: null, workingDirectory: null, logKey: null };
    return { ...own, image, args, env, port, writablePaths: foldersOf(launch.writablePaths) };
  }
  if (launch.kind === "remote" || runnerImage === null)
    throw new ToolyardError("BAD_USER_INPUT", `A launch of kind ${launch.kind} is no container.`);
  if (launch.writablePaths.length > 0)
    throw new ToolyardError("BAD_USER_INPUT", "A container has no folders of the host: leave out writablePaths.");
  const { command, args, workingDirectory } = launch;
  const env = { ...SURROUNDINGS, ...given, ...launch.env };
  const common = { image: runnerImage, workingDirectory, writablePaths: [], port: PORT };
  if (launch.kind === "http") return { ...common, entrypoint: [command], args, env, logKey: null };
  const logKey = randomBytes(32).toString("base64url");
  const bridge = bridgeLaunch(launch, spec.resources, {
    entry: BRIDGE,
    host: "0.0.0.0",
    port: PORT,
    workingDirectory,
    command,
    args,
  });
  const handover: Handover = {
    token: spec.token,
    logKey,
    secrets: spec.secrets,
    environment: env,
    // The container's init ends with the bridge, and all with the init.
    setpriv: null,
    temporaryDirectory: "/tmp",
  };
  return {
    ...common,
    workingDirectory: null,
    entrypoint: ["node"],
    args: bridge.args,
    env: { [HANDOVER_VARIABLE]: JSON.stringify(handover) },
    logKey,
  };
}

function foldersOf(writablePaths: readonly string[]): string[] {
  const taken = writablePaths.find((path) => `${path}/`.startsWith(`${TRUST_FOLDER}/`));
  if (taken !== undefined)
    throw new ToolyardError("BAD_USER_INPUT", `Nothing can be writable at ${taken} (writablePaths): it is Toolyard's.`);
  return writablePaths.filter((path) => path !== "/tmp");
}
