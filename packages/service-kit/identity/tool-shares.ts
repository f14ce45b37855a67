import { z } from "zod";
import { AWAY_RETRY_SECONDS, ToolyardError } from "../errors/errors.ts";
import type { GraphClient } from "../graph/graph-client.ts";
import { ROWS_AT_ONCE, createLoader } from "../graph/loader.ts";
import type { Caller } from "./caller.ts";
import { SHARE_ACCESS, type Permission, type ShareAccess } from "./permissions.ts";

/** Tools that are asked about at once. */
export const MAX_TOOLS_ASKED = 100;

/** A thing of a tool: the tool itself, or a deployment or a document of it. */
interface ThingOfTool {
  ownerId: string | null;
  /** Null: of none, so that nothing is shared. */
  toolId: string | null;
}

/** Permissions on things that authors share by their tools. Shares are asked for only where they decide, and never kept. */
export interface ToolShares {
  /** @throws ToolyardError UPSTREAM_UNAVAILABLE when the tools service is asked and does not answer */
  can(caller: Caller, permission: Permission, on: ThingOfTool): Promise<boolean>;
  /**
   * @param action As with `Caller.require`.
   * @throws ToolyardError UNAUTHENTICATED, FORBIDDEN; UPSTREAM_UNAVAILABLE when the tools service is asked and does not answer
   */
  require(caller: Caller, permission: Permission, on: ThingOfTool, action?: string): Promise<void>;
}

/** @param read How each of these tools is shared with the user, in the order of the ids. */
export function createToolShares(
  read: (userId: string, toolIds: readonly string[]) => Promise<(ShareAccess | null)[]>,
): ToolShares {
  interface Asked {
    userId: string;
    toolId: string;
  }
  const access = createLoader<Asked, ShareAccess | null>(
    async (asked) => {
      const found = new Map<Asked, ShareAccess | null>();
      for (const [userId, group] of Map.groupBy(asked, (each) => each.userId)) {
        const accesses = await read(
          userId,
          group.map(({ toolId }) => toolId),
        );
        for (const [index, each] of group.entries()) found.set(each, accesses[index] ?? null);
      }
      return asked.map((each) => found.get(each) ?? null);
    },
    { keeps: false, rowsOfEach: ROWS_AT_ONCE / MAX_TOOLS_ASKED },
  );

  async function can(caller: Caller, permission: Permission, { ownerId, toolId }: ThingOfTool): Promise<boolean> {
    if (caller.can(permission, { ownerId, toolId })) return true;
    const { userId } = caller;
    const mayDecide = userId !== null && toolId !== null && caller.can(permission, { ownerId, toolId, shared: "EDIT" });
    return mayDecide && caller.can(permission, { ownerId, toolId, shared: await access.load({ userId, toolId }) });
  }
  return {
    can,
    async require(caller, permission, on, action) {
      if (!(await can(caller, permission, on))) caller.require(permission, on, action);
    },
  };
}

const ACCESS = `query SharedAccess($userId: ID!, $toolIds: [ID!]!) { sharedAccess(userId: $userId, toolIds: $toolIds) }`;
const CHANGES = `subscription ShareChanges($after: String) { sharesChanged(after: $after) { sequence toolId userId access } }`;
const accessAnswer = z.object({ sharedAccess: z.array(z.enum(SHARE_ACCESS).nullable()) });
const shareChange = z.object({
  sequence: z.string(),
  toolId: z.string(),
  userId: z.string(),
  access: z.enum(SHARE_ACCESS).nullable(),
});

/** A share that was given, changed or ended. */
export type ShareChange = z.output<typeof shareChange>;

/** The tools service as others ask it: `as` has `internal:tool-shares`. */
interface Asking {
  graph: GraphClient;
  as: Caller;
  signal?: AbortSignal;
}

/**
 * How each of at most `MAX_TOOLS_ASKED` tools is shared with the user.
 * @throws ToolyardError UPSTREAM_UNAVAILABLE with `retryAfterSeconds` when the tools service does not answer, as for credentials that cannot be checked
 */
export async function sharedAccessOf(
  { graph, ...asking }: Asking,
  userId: string,
  toolIds: readonly string[],
): Promise<(ShareAccess | null)[]> {
  try {
    const data = await graph.query({ query: ACCESS, variables: { userId, toolIds }, ...asking });
    return accessAnswer.parse(data).sharedAccess;
  } catch (cause) {
    throw new ToolyardError(
      "UPSTREAM_UNAVAILABLE",
      "Whether this tool is shared with you cannot be checked now: the tools service is away. Try again.",
      { cause, retryAfterSeconds: AWAY_RETRY_SECONDS },
    );
  }
}

/** Changes of shares after a place in the log of tools; null: from now. Throws when the stream breaks. */
export async function* shareChanges({ graph, ...asking }: Asking, after: string | null): AsyncIterable<ShareChange> {
  for await (const data of graph.subscribe({ query: CHANGES, variables: { after }, ...asking }))
    yield z.object({ sharesChanged: shareChange }).parse(data).sharesChanged;
}

/** For a subgraph, which asks the tools service. */
export function createGraphToolShares({ graph, as }: Asking): ToolShares {
  return createToolShares((userId, toolIds) => sharedAccessOf({ graph, as }, userId, toolIds));
}
