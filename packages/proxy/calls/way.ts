import type { Dispatcher } from "undici";
import type { Call } from "./call.ts";
import { isMcpEndpoint, isMcpPath, USUAL_MCP_PATH, type CallPath } from "./call-path.ts";
import { mayBeLegacy, streamPaths } from "../legacy/transport.ts";
import { pathOf } from "../mcp/references.ts";
import type { Replica } from "../routing/replica.ts";
import type { DeploymentRoute } from "../routing/routes.ts";

/** How a call goes to its replica. */
export interface Way {
  dispatcher: Dispatcher;
  /** Path and query. */
  asked: string;
  /** Name, value…: what the target takes, by the proxy's word. */
  own: readonly string[];
  /** Whether a server of somebody's answers it, and not a bridge. */
  isForeign: boolean;
}

/** What was found out of a call's way before. */
export interface Trail {
  /** Where a redirect within the replica led; "": none did. */
  movedTo: string;
  hops: number;
  /** Whether it was asked already whether the server is one of HTTP+SSE. */
  isLegacyKnown: boolean;
}

export const NO_TRAIL: Trail = { movedTo: "", hops: 0, isLegacyKnown: false };

/** Whether an answer may be that of an HTTP+SSE server to what it does not know. */
export function isUncertain({ request, session, body, standing }: Call, status: number): boolean {
  if (session !== null || !mayBeLegacy(status)) return false;
  if (request.method === "POST") return body.content === null || Buffer.isBuffer(body.content);
  return request.method === "GET" && standing;
}

/** Where the server may have its stream. */
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

/** Whether a call is one of the newer transport, which a bridge makes one of the older. */
export function isBridged({ request, session }: Call): boolean {
  return request.method === "POST" || request.method === "DELETE" || session !== null;
}

/** Whether a target is the other one with a slash more or less at the end of its path. */
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
