import { createHmac, timingSafeEqual } from "node:crypto";
import {
  ToolyardError,
  notFound,
  parseInput,
  preconditionFailed,
  type Caller,
  type Logger,
} from "@toolyard/service-kit";
import { line } from "@toolyard/service-kit/text-input.ts";
import type { GitHubClient } from "@toolyard/github";
import type { Task, TaskQueue } from "@toolyard/tasks";
import { z } from "zod";
import type { Tool, ToolStore } from "../tool-store.ts";
import type { RepositoryTemplates } from "../templates/repository/repository-templates.ts";
import type { ToolService } from "../tool-service.ts";
import type { GitHubConnection } from "./connection.ts";
import type { ConnectionStore } from "./connection-store.ts";
import { parsePush } from "./push-event.ts";
import { SYNC_ATTEMPTS, type SyncJob } from "./repository-sync.ts";

/** A delivery whose handling was begun this long ago, and did not end, is handled when it comes again. */
const STALE_DELIVERY_MS = 60_000;

const folder = line(200)
  .transform((path) => path.replace(/^\/+|\/+$/g, ""))
  .refine(
    (path) => !path.split("/").some((part) => ["", ".", ".."].includes(part)) || path === "",
    "must be a folder's path from the repository's root, without . and .. in it",
  );

const connectInput = z.object({
  toolId: z.string().max(64, "is not a tool's id"),
  owner: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,38}$/, "must be the name of a user or an organization"),
  repository: z
    .string()
    .regex(/^[\w.-]{1,100}$/, "must be the repository's name, without its owner")
    .refine((name) => name !== "." && name !== "..", "must be the repository's name"),
  branch: line(200)
    // git-check-ref-format(1)
    .refine((name) => !/[\s~^:?*[\\]|\.\.|@\{|\/\/|^[/-]|[/.]$/.test(name), "must be the name of a branch")
    .nullish()
    .transform((name) => name ?? "main"),
  path: z
    .union([z.literal(""), folder])
    .nullish()
    .transform((path) => path ?? ""),
});

const deliveryId = z.string().regex(/^[\w-]{1,64}$/, "is not the id of a delivery");

/** `X-Hub-Signature-256` and the rest of a delivery. */
interface Delivery {
  event: string;
  deliveryId: string;
  signature: string;
  bodyBase64: string;
}

/**
 * Connections of tools to repositories. Reading takes `tool:read`; a change `tool:write` on the tool.
 * @throws ToolyardError of each: UNAUTHENTICATED, FORBIDDEN, BAD_USER_INPUT with problems, NOT_FOUND
 */
export interface ConnectionService {
  /** Nothing is read yet; `lastError` says at once where nothing can be as things stand. CONFLICT where the tool is deleted, or follows another place. */
  connect(caller: Caller, input: unknown): Promise<GitHubConnection>;
  /** The sync that waits already, or a new one. CONFLICT where it is disconnected, or the tool is deleted. */
  sync(caller: Caller, id: string): Promise<Task>;
  /** Documents and versions stay. Idempotent. */
  disconnect(caller: Caller, id: string): Promise<GitHubConnection>;
  /** With `internal:github-event`. @throws ToolyardError PRECONDITION_FAILED where there is no secret to tell by that GitHub sent a delivery */
  checkTakes(caller: Caller): void;
  /**
   * With `internal:github-event`. Queues syncs of what a push may have changed. False for a delivery that was here before.
   * @throws ToolyardError UNAUTHENTICATED unless GitHub signed it; PRECONDITION_FAILED as `checkTakes`
   */
  receive(caller: Caller, delivery: Delivery): Promise<boolean>;
}

export function createConnectionService(options: {
  store: ConnectionStore;
  tools: Pick<ToolService, "changeable">;
  toolStore: Pick<ToolStore, "findByIds">;
  tasks: TaskQueue;
  github: Pick<GitHubClient, "refusalOf">;
  /** Follows pushes as well. */
  templateRepository: Pick<RepositoryTemplates, "pushed"> | null;
  webhookSecret: string | null;
  logger: Pick<Logger, "info">;
  now: () => number;
}): ConnectionService {
  const { store, tools, toolStore, tasks, github, templateRepository, webhookSecret, logger, now } = options;

  async function changeable(
    caller: Caller,
    id: string,
    action: string,
  ): Promise<{ connection: GitHubConnection; tool: Tool }> {
    caller.require("tool:write", undefined, action);
    const [connection] = await store.findByIds([id]);
    if (!connection || !caller.reaches(connection.toolId)) throw notFound("connection", id);
    return { connection, tool: await tools.changeable(caller, connection.toolId, action) };
  }

  /** A sync that has not begun to read will see the branch as it is now. */
  async function queueSync(
    found: GitHubConnection,
    requestedById: string | null,
    ownerId: string | null,
  ): Promise<Task | null> {
    for (let connection: GitHubConnection | undefined = found; connection && connection.status !== "DISCONNECTED";) {
      const { id, taskId, runningTaskId, toolId } = connection;
      const [last] = taskId === null ? [] : await tasks.store.getMany([taskId]);
      if (last && (last.status === "QUEUED" || (last.status === "RUNNING" && runningTaskId !== last.id))) return last;
      const input: SyncJob = { connectionId: id };
      const task = await tasks.enqueue({
        kind: "REPOSITORY_SYNC",
        input,
        requestedById,
        toolId,
        ownerId,
        maxAttempts: SYNC_ATTEMPTS,
      });
      if (await store.queued(id, task.id, taskId)) return task;
      await tasks.cancel(task.id);
      [connection] = await store.findByIds([id]);
    }
    return null;
  }

  function secretFor(caller: Caller): string {
    caller.require("internal:github-event");
    if (webhookSecret !== null) return webhookSecret;
    throw preconditionFailed(
      "GITHUB_WEBHOOK_SECRET",
      "Toolyard takes no webhooks: its operator sets GITHUB_WEBHOOK_SECRET to the secret that the webhook has on GitHub.",
    );
  }

  async function pushed(body: string): Promise<void> {
    const push = parsePush(body);
    if (!push) return;
    templateRepository?.pushed(push);
    const concerned = (await store.following(push)).filter(({ path }) => push.mayTouch(path));
    const found = await toolStore.findByIds(concerned.map(({ toolId }) => toolId));
    const byId = new Map(found.map((tool) => [tool.id, tool]));
    for (const connection of concerned) {
      const tool = byId.get(connection.toolId);
      if (tool?.deletedAt === null) await queueSync(connection, null, tool.authorId);
    }
  }

  return {
    async connect(caller, input) {
      caller.require("tool:write", undefined, "connect this tool to a repository");
      const { toolId, ...place } = parseInput(connectInput, input);
      const tool = await tools.changeable(caller, toolId, "connect this tool to a repository");
      if (tool.deletedAt !== null) throw deleted(tool);
      if (caller.userId === null) throw new Error("Only users may change tools, and this caller is none.");
      const refusal = github.refusalOf({ owner: place.owner, name: place.repository });
      const by = { connectedById: caller.userId, now: now(), lastError: refusal?.message ?? null };
      const connection = await store.connect({ ...place, toolId: tool.id }, by);
      if (connection === "following")
        throw new ToolyardError(
          "CONFLICT",
          `The tool ${JSON.stringify(tool.slug)} follows a repository already: see its \`connection\`. Disconnect that one first.`,
        );
      logger.info(
        { tool_id: tool.id, connection_id: connection.id, by: caller.subject },
        "a tool follows a repository",
      );
      return connection;
    },

    async sync(caller, id) {
      const { connection, tool } = await changeable(caller, id, "sync this tool");
      if (tool.deletedAt !== null) throw deleted(tool);
      const task = await queueSync(connection, caller.userId, tool.authorId);
      if (!task)
        throw new ToolyardError("CONFLICT", "The tool follows this repository no longer. Connect it again to sync it.");
      return task;
    },

    async disconnect(caller, id) {
      const { connection } = await changeable(caller, id, "disconnect this tool from its repository");
      if (connection.status !== "DISCONNECTED") {
        await store.disconnect(id);
        if (connection.taskId !== null) await tasks.cancel(connection.taskId);
        logger.info({ tool_id: connection.toolId, connection_id: id, by: caller.subject }, "a tool was disconnected");
      }
      const [after] = await store.findByIds([id]);
      if (!after) throw notFound("connection", id);
      return after;
    },

    checkTakes: (caller) => void secretFor(caller),

    async receive(caller, { event, deliveryId: given, signature, bodyBase64 }) {
      const secret = secretFor(caller);
      const body = Buffer.from(bodyBase64, "base64");
      if (!isSigned(body, signature, secret))
        throw new ToolyardError(
          "UNAUTHENTICATED",
          "The signature does not fit the body: X-Hub-Signature-256 must be made with the secret that Toolyard has as GITHUB_WEBHOOK_SECRET.",
        );
      const id = parseInput(deliveryId, given, "deliveryId");
      const at = now();
      if (!(await store.beginDelivery(id, at, at - STALE_DELIVERY_MS))) return false;
      try {
        if (event === "push") await pushed(body.toString("utf8"));
      } catch (error) {
        await store.forgetDelivery(id);
        throw error;
      }
      await store.finishDelivery(id);
      return true;
    },
  };
}

function isSigned(body: Buffer, signature: string, secret: string): boolean {
  const [, hex] = /^sha256=([0-9a-f]{64})$/.exec(signature) ?? [];
  return (
    hex !== undefined && timingSafeEqual(Buffer.from(hex, "hex"), createHmac("sha256", secret).update(body).digest())
  );
}

function deleted({ slug }: Tool): ToolyardError {
  return new ToolyardError("CONFLICT", `The tool ${JSON.stringify(slug)} is deleted. Restore it first.`);
}
