import type { Dispatcher } from "undici";
import type { Call } from "./call.ts";
import { isMcpEndpoint, isMcpPath, pathOf, USUAL_MCP_PATH, type CallPath } from "./call-path.ts";
import { mayBeLegacy, streamPaths } from "../legacy/transport.ts";
import type { Replica } from "../routing/replica.ts";
import type { DeploymentRoute } from "../routing/routes.ts";

/** Where a call is sent: a replica, or the bridge to it. */
export interface UpstreamTarget {
  dispatcher: Pick<Dispatcher, "dispatch">;
  /** Path and query. */
  path: string;
  /** Name, value…: headers for the target, set by the proxy. */
  headers: readonly string[];
  /** Whether a user's own server answers it, not a bridge. */
  isForeign: boolean;
}

/** The replica that a call goes to. */
export interface Place {
  readonly deployment: DeploymentRoute;
  readonly replica: Replica;
  /** Ids of replicas that were tried in vain before. */
  readonly tried: ReadonlySet<string> | undefined;
}

/** Facts found by earlier attempts of a call. */
export interface Trail {
  /** The target of a redirect within the replica; "": there was none. */
  movedTo: string;
  hops: number;
  /** Whether the server was already asked whether it speaks HTTP+SSE. */
  isLegacyKnown: boolean;
}

export const NO_TRAIL: Trail = { movedTo: "", hops: 0, isLegacyKnown: false };

/** Whether an answer may be an HTTP+SSE server's to an unknown request. */
export function isUncertain({ request, session, body, isStream }: Call, status: number): boolean {
  if (session !== null || !mayBeLegacy(status)) return false;
  if (request.method === "POST") return body.content === null || Buffer.isBuffer(body.content);
  return request.method === "GET" && isStream;
}

/** Paths at which the server may have its stream. */
export function streamPathsOf(replica: Replica, deployment: DeploymentRoute, status?: number): string[] {
  const named = targetOf(replica, deployment, { path: deployment.mcpPathname, query: "" });
  return streamPaths(named, { isRemote: replica.target.remote, ...(status !== undefined && { status }) });
}

/** Whether a path of a server that runs here may be another name of its MCP endpoint: the usual one, or that of its stream. */
export function isOtherName(path: string, replica: Replica, { paths }: DeploymentRoute): boolean {
  if (paths !== null || replica.legacy === null) return false;
  const stream = replica.legacy.path;
  return isMcpPath(path, USUAL_MCP_PATH) || (stream !== null && isMcpPath(path, pathOf(stream)));
}

/** Whether a call uses the newer transport, which a bridge translates to the older. */
export function isBridged({ request, session }: Call): boolean {
  return request.method === "POST" || request.method === "DELETE" || session !== null;
}

/** Whether two targets differ only by a trailing slash of the path. */
export function isOtherSlash(target: string, other: string): boolean {
  const [path, otherPath] = [pathOf(target), pathOf(other)];
  return isMcpPath(path, otherPath) && target.slice(path.length) === other.slice(otherPath.length);
}

/** Path and query of a call at its replica. */
export function targetOf(
  replica: Replica,
  deployment: DeploymentRoute,
  { path, query }: Pick<CallPath, "path" | "query">,
): string {
  const { pathPrefix, movedTo, target } = replica;
  if (!isMcpEndpoint(path, deployment)) return pathPrefix + path + query;
  const mcp = movedTo ?? (target.mcpTarget === "" ? pathPrefix + deployment.mcpPathname : target.mcpTarget);
  // Its own query comes first, and a client's after it.
  return mcp + (mcp.includes("?") ? query.replace("?", "&") : query);
}
