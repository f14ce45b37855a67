import {
  MAX_CANDIDATES,
  SCOPES,
  ToolyardError,
  badInput,
  closeTo,
  newId,
  notFound,
  parseInput,
  parsePage,
  type Caller,
  type GraphClient,
  type Logger,
  type PageArguments,
  type RequestContext,
  type Scope,
} from "@toolyard/service-kit";
import { z } from "zod";
import { requireCurrentAccount } from "./caller-account.ts";
import { effectiveScopes } from "./effective-scopes.ts";
import type { ApiKey, IdentityStore, IdentityWrites } from "./identity-store.ts";
import type { Loaders } from "./loaders.ts";
import { mintCredential } from "./opaque-credential.ts";
import type { RevocationLog } from "./revocation-log.ts";
import type { ShownUser } from "./user-service.ts";

/** A key's last use is written at most this often, and this much after the use: never while somebody waits. */
const USE_PRECISION_MS = 60_000;
const USE_DELAY_MS = 1_000;
/** Keys that one list has, unless fewer are asked for. */
const MAX_LISTED = 100;
/** Tools that one key is limited to; they are in every signed header of its caller. */
const MAX_TOOLS = 50;
/** As in "You may not …". */
const REVOKE = "revoke this API key";

const TOOL = "query ToolOfKey($id: ID!) { tool(id: $id) { id } }";
const toolAnswer = z.object({ tool: z.object({ id: z.string() }).nullable() });

export interface ApiKeyService {
  /** @throws ToolyardError FORBIDDEN for somebody else's, unless an administrator asks; BAD_USER_INPUT */
  listOf(caller: Caller, loaders: Loaders, owner: ShownUser, page: PageArguments): Promise<ApiKey[]>;
  /** Of the whole list. @throws ToolyardError FORBIDDEN as `listOf` */
  countOf(caller: Caller, loaders: Loaders, owner: ShownUser): Promise<number>;
  /** `secret` is the whole key; it is not kept. @throws ToolyardError BAD_USER_INPUT, FORBIDDEN */
  create(
    requester: Pick<RequestContext, "caller" | "requestId">,
    input: NewApiKey,
  ): Promise<{ apiKey: ApiKey; secret: string }>;
  /** By id, or by the name of one of the caller's own. @throws ToolyardError NOT_FOUND also for somebody else's, FORBIDDEN */
  revoke(caller: Caller, reference: string): Promise<ApiKey>;
  /** Notes, some time later, that a key was used. */
  noteUse(key: ApiKey): void;
  /** Writes the noted uses. */
  close(): Promise<void>;
}

interface NewApiKey {
  name: string;
  scopes: readonly Scope[];
  /** Ids or slugs; null: all tools. */
  toolIds?: readonly string[] | null | undefined;
  /** Epoch ms. */
  expiresAt?: number | null | undefined;
}

/** How a key's text begins. */
export function prefixOf(key: ApiKey): string {
  return `ty_${key.id}`;
}

export function createApiKeyService(options: {
  store: IdentityStore;
  revocations: RevocationLog;
  /** For looking tools up. */
  graph: GraphClient;
  logger: Logger;
  now: () => number;
}): ApiKeyService {
  const { store, revocations, graph, logger, now } = options;
  /** Last uses not yet written. */
  let uses = new Map<string, number>();
  let timer: NodeJS.Timeout | null = null;

  async function writeUses(): Promise<void> {
    if (timer) clearTimeout(timer);
    timer = null;
    if (uses.size === 0) return;
    const written = uses;
    uses = new Map();
    try {
      await store.transaction(async (tx) => {
        for (const [id, at] of written) await tx.setApiKeyUsed(id, at);
      });
    } catch (error) {
      logger.warn({ err: error }, "noting the use of API keys failed");
    }
  }

  /** The tools as the key's owner sees them. */
  async function idsOf(requester: Parameters<ApiKeyService["create"]>[0], named: readonly string[]): Promise<string[]> {
    const ids = new Set<string>();
    for (const [index, id] of named.entries()) {
      const answer = await graph.query({
        query: TOOL,
        variables: { id },
        as: requester.caller,
        requestId: requester.requestId,
      });
      const { tool } = toolAnswer.parse(answer);
      if (tool === null)
        throw badInput([{ path: `input.toolIds.${index}`, message: `there is no tool ${JSON.stringify(id)}` }]);
      ids.add(tool.id);
    }
    return [...ids];
  }

  function requireSight(caller: Caller, owner: ShownUser): void {
    if (owner.isCaller) return;
    const permission = caller.userId === owner.id ? "user:read-self" : "user:admin";
    caller.require(permission, undefined, "see this user's API keys");
  }

  return {
    async listOf(caller, loaders, owner, { first, after, offset }) {
      requireSight(caller, owner);
      // Not a cursor: `after` is an id here.
      const page = { ...parsePage({ first: first ?? MAX_LISTED, offset }), afterId: after ?? null };
      return (await loaders.apiKeys(owner.id, {}, page).rows()).slice(0, page.limit);
    },

    async countOf(caller, loaders, owner) {
      requireSight(caller, owner);
      return loaders.apiKeys(owner.id, {}, { limit: 1, afterId: null, offset: 0 }).totalCount();
    },

    async create(requester, input) {
      const { caller } = requester;
      caller.require("credential:write", undefined, "create API keys");
      const at = now();
      const { name, scopes, toolIds: named, expiresAt } = parseInput(newApiKey(at), input);
      if (caller.credential?.type === "api-key") requireWithin(caller, scopes, expiresAt);
      const toolIds = named && (await idsOf(requester, named));
      const id = newId();
      const { text, hash } = mintCredential("ty", id);
      const apiKey = await store.transaction(async (tx) => {
        const owner = await requireCurrentAccount(tx, caller);
        const key: ApiKey = {
          id,
          ownerId: owner.id,
          name,
          scopes,
          toolIds,
          hash,
          createdAt: at,
          lastUsedAt: null,
          expiresAt,
          revokedAt: null,
        };
        await tx.insertApiKey(key);
        return key;
      });
      logger.info(
        { api_key_id: id, user_id: apiKey.ownerId, scopes: scopes.join(" "), tools: toolIds?.length },
        "an API key was made",
      );
      return { apiKey, secret: text };
    },

    async revoke(caller, reference) {
      const { credential } = caller;
      // The finder of a leaked key may end it with the key itself.
      const itself = credential?.type === "api-key" && credential.apiKeyId === reference;
      if (!itself) {
        caller.require("credential:write", undefined, REVOKE);
        if (credential?.type === "api-key") caller.require("user:admin", undefined, REVOKE);
      }
      return store.transaction(async (tx) => {
        const user = await requireCurrentAccount(tx, caller);
        const key = (await tx.findApiKey(reference)) ?? (await ownKeyNamed(tx, user.id, reference));
        if (!key || (key.ownerId !== user.id && !(caller.can("user:admin") && user.role === "ADMIN"))) {
          throw notFound("API key", reference, await closeTo(reference, () => liveNames(tx, user.id)));
        }
        // A stream ticket is its key's, too, but for reading only.
        if (itself && !effectiveScopes(user.role, key.scopes).every((scope) => caller.scopes.includes(scope)))
          caller.require("credential:write", undefined, REVOKE);
        if (key.revokedAt !== null) return key;
        const at = now();
        await revocations.revokeApiKey(tx, key.id, at);
        tx.transaction.afterCommit(() =>
          logger.info({ api_key_id: key.id, user_id: key.ownerId, by: caller.userId }, "an API key was revoked"),
        );
        return { ...key, revokedAt: at };
      });
    },

    noteUse(key) {
      const at = now();
      if (key.lastUsedAt !== null && at - key.lastUsedAt < USE_PRECISION_MS) return;
      uses.set(key.id, at);
      timer ??= setTimeout(() => void writeUses(), USE_DELAY_MS).unref();
    },

    close: writeUses,
  };
}

async function liveNames(tx: IdentityWrites, userId: string): Promise<string[]> {
  return (await tx.findLiveApiKeys(userId, null, MAX_CANDIDATES)).map(({ name }) => name);
}

/** The user's key of this name; of several of one name none is guessed. */
async function ownKeyNamed(tx: IdentityWrites, userId: string, name: string): Promise<ApiKey | null> {
  const named = await tx.findLiveApiKeys(userId, name, MAX_LISTED);
  if (named.length < 2) return named[0] ?? null;
  const ids = named.map(({ id }) => id).join(", ");
  throw badInput([
    {
      path: "id",
      message: `you have ${named.length} API keys named ${JSON.stringify(name)}: give the id of one, ${ids}`,
    },
  ]);
}

function newApiKey(now: number) {
  return z.object({
    name: z.string().trim().min(1, "must not be empty").max(100, "must be at most 100 characters long"),
    scopes: z
      .array(z.enum(SCOPES))
      .min(1, "must name at least one scope")
      .transform((scopes) => SCOPES.filter((scope) => scopes.includes(scope))),
    toolIds: z
      .array(z.string().min(1, "must not be empty").max(64, "is neither an id nor a slug"))
      .min(1, "must name at least one tool; leave it out for a key that is for all")
      .max(MAX_TOOLS, `must name at most ${MAX_TOOLS} tools`)
      .nullish()
      .transform((ids) => ids ?? null),
    expiresAt: z
      .number()
      .nullish()
      .transform((time) => time ?? null)
      .refine((time) => time === null || time > now, "must be in the future"),
  });
}

/** A key makes no key that can do more or lasts longer than itself. */
function requireWithin(caller: Caller, scopes: readonly Scope[], expiresAt: number | null): void {
  if (!caller.scopes.includes("ADMIN")) {
    throw new ToolyardError("FORBIDDEN", "An API key may make others only with the scope ADMIN: log in instead.");
  }
  const beyond = scopes.filter((scope) => !caller.scopes.includes(scope));
  if (beyond.length > 0) {
    throw new ToolyardError("FORBIDDEN", `An API key may not give scopes that it lacks: ${beyond.join(", ")}.`);
  }
  if (caller.expiresAt !== null && (expiresAt === null || expiresAt > caller.expiresAt)) {
    throw new ToolyardError(
      "FORBIDDEN",
      `An API key may not make one that outlasts it: set expiresAt to ${new Date(caller.expiresAt).toISOString()} or before.`,
    );
  }
}
