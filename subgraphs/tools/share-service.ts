import {
  MAX_TOOLS_ASKED,
  ToolyardError,
  badInput,
  notFound,
  parsePage,
  toConnection,
  type Caller,
  type Connection,
  type GraphClient,
  type Logger,
  type PageArguments,
  type ShareAccess,
  type ToolShares,
} from "@toolyard/service-kit";
import { subscriptionStream, type EventTail } from "@toolyard/events";
import { z } from "zod";
import type { Loaders } from "./loaders.ts";
import { reachedBy } from "./reached-tools.ts";
import { requireTool } from "./tool-reference.ts";
import type { Tool, ToolEventPayload, ToolShare, ToolStore } from "./tool-store.ts";

/** Users that one tool is shared with. */
export const MAX_SHARES = 100;

interface ShareChange {
  sequence: string;
  toolId: string;
  userId: string;
  access: ShareAccess | null;
}

/** Who tools are shared with: given and ended with `tool:share`, by their authors and administrators. */
export interface ShareService {
  /**
   * @param who.userId An id; of administrators also a username.
   * @throws ToolyardError NOT_FOUND for an unknown tool or user; BAD_USER_INPUT for a disabled user and the tool's author; CONFLICT when the tool is
   *   deleted, or shared with `MAX_SHARES` users.
   */
  share(requester: Requester, toolId: string, who: { userId: string; access: ShareAccess }): Promise<Tool>;
  /** Idempotent. @throws ToolyardError NOT_FOUND for an unknown tool, and an unknown user with whom it is not shared. */
  unshare(requester: Requester, toolId: string, userId: string): Promise<Tool>;
  /** Those that the caller may see. @throws ToolyardError FORBIDDEN when there are none of theirs */
  sharesOf(caller: Caller, loaders: Pick<Loaders, "shares">, tool: Tool): Promise<ToolShare[]>;
  ownTools(caller: Caller, page: PageArguments): Connection<Tool>;
  sharedTools(caller: Caller, page: PageArguments): Connection<Tool>;
  /** With `internal:tool-shares`. */
  accessOf(caller: Caller, userId: string, toolIds: readonly string[]): Promise<(ShareAccess | null)[]>;
  /** With `internal:tool-shares`. */
  changes(caller: Caller, after: string | null): AsyncIterableIterator<{ sharesChanged: ShareChange }>;
}

interface Requester {
  caller: Caller;
  requestId: string;
}

const SHARE = "share this tool";
const SEE = "see who this tool is shared with";
const USER = "query UserToShareWith($id: ID!) { user(id: $id) { id disabled } }";
const userAnswer = z.object({ user: z.object({ id: z.string(), disabled: z.boolean() }).nullable() });

export function createShareService(options: {
  store: ToolStore;
  shares: ToolShares;
  tail: EventTail<ToolEventPayload>;
  graph: GraphClient;
  logger: Pick<Logger, "info">;
  now: () => number;
}): ShareService {
  const { store, shares, tail, graph, logger, now } = options;

  /** The user as the caller may find them: others than administrators find nobody by a name. */
  async function findUser({ caller, requestId }: Requester, reference: string) {
    const variables = { id: reference };
    const { user } = userAnswer.parse(await graph.query({ query: USER, variables, as: caller, requestId }));
    if (user === null) throw notFound("user", reference);
    return user;
  }

  function pageOf(caller: Caller, list: Parameters<ToolStore["pageOf"]>[0], given: PageArguments): Connection<Tool> {
    caller.require("tool:read");
    const page = parsePage(given);
    return toConnection(reachedBy(caller, store).pageOf(list, page), page, ({ id }) => id);
  }

  return {
    async share(requester, reference, { userId: named, access }) {
      const { caller } = requester;
      const tool = await requireTool({ store, shares }, caller, "tool:share", reference, SHARE);
      const { id: userId, disabled } = await findUser(requester, named);
      if (userId === tool.authorId)
        throw badInput([{ path: "userId", message: "is the tool's author, who needs no share of it" }]);
      if (disabled) throw badInput([{ path: "userId", message: "this user is disabled" }]);
      const at = now();
      const share = { toolId: tool.id, userId, access, sharedById: caller.userId, createdAt: at, updatedAt: at };
      switch (await store.share(share, MAX_SHARES)) {
        case "gone":
          throw new ToolyardError("CONFLICT", `The tool ${JSON.stringify(tool.slug)} is deleted. Restore it first.`);
        case "too-many":
          throw new ToolyardError(
            "CONFLICT",
            `The tool is shared with ${MAX_SHARES} users, as many as can be. End other shares first.`,
          );
        case "shared":
          logger.info(
            { tool_id: tool.id, slug: tool.slug, user_id: userId, access, by: caller.subject },
            "a tool was shared",
          );
          return tool;
      }
    },

    async unshare(requester, reference, named) {
      const { caller } = requester;
      const tool = await requireTool({ store, shares }, caller, "tool:share", reference, SHARE);
      const ended = async (userId: string) => {
        if (!(await store.unshare(tool.id, userId, now()))) return false;
        logger.info(
          { tool_id: tool.id, slug: tool.slug, user_id: userId, by: caller.subject },
          "a tool is shared with a user no longer",
        );
        return true;
      };
      if (!(await ended(named))) await ended((await findUser(requester, named)).id);
      return tool;
    },

    async sharesOf(caller, loaders, tool) {
      caller.require("tool:read");
      const all = await loaders.shares.load(tool.id);
      const shared = { ownerId: tool.authorId, toolId: tool.id };
      if (caller.can("tool:share", shared)) return all;
      const own = all.filter(({ userId }) => userId === caller.userId);
      if (own.length === 0) caller.require("tool:share", shared, SEE);
      return own;
    },

    ownTools: (caller, page) => pageOf(caller, { authorId: caller.userId ?? "" }, page),
    sharedTools: (caller, page) => pageOf(caller, { sharedWith: caller.userId ?? "" }, page),

    async accessOf(caller, userId, toolIds) {
      caller.require("internal:tool-shares");
      if (toolIds.length === 0) return [];
      if (toolIds.length > MAX_TOOLS_ASKED)
        throw badInput([{ path: "toolIds", message: `must be at most ${MAX_TOOLS_ASKED}` }]);
      return store.accessOf(userId, toolIds);
    },
    changes(caller, after) {
      caller.require("internal:tool-shares");
      return subscriptionStream(
        tail,
        { after, filter: isOfShare },
        ({ sequence, subjectId, payload: { userId = "", access = null } }) => ({
          sharesChanged: { sequence: String(sequence), toolId: subjectId, userId, access },
        }),
      );
    },
  };
}

function isOfShare({ kind }: { kind: string }): boolean {
  return kind === "SHARED" || kind === "UNSHARED";
}

/** Whether the caller may be told of an event of the tools' log: of shares, as `sharesOf` shows them. */
export function mayBeTold(
  caller: Caller,
  { kind, subjectId: toolId, payload }: { kind: string; subjectId: string; payload: ToolEventPayload },
): boolean {
  if (!caller.reaches(toolId)) return false;
  if (!isOfShare({ kind })) return true;
  return payload.userId === caller.userId || caller.can("tool:share", { ownerId: payload.authorId ?? null, toolId });
}
