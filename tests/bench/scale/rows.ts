/** Rows of tools, users, tasks and documents, by their index. */
import type { UserRow } from "@toolyard/subgraph-identity/database.ts";
import type { ApiKey, LoginSession } from "@toolyard/subgraph-identity/identity-store.ts";
import { launchSchema } from "@toolyard/launch";
import type { UploadedContent } from "@toolyard/subgraph-knowledge/content/document-content.ts";
import type { NewDocument } from "@toolyard/subgraph-knowledge/document-store.ts";
import type { ToolTagRow, ToolTextRow } from "@toolyard/subgraph-tools/database.ts";
import type { Tool, ToolVersion } from "@toolyard/subgraph-tools/tool-store.ts";
import type { TaskRow } from "@toolyard/tasks/database.ts";
import {
  DAY_MS,
  HOT,
  RARE_WORD,
  createdAt,
  digestOf,
  idOf,
  now,
  slugOf,
  toolId,
  toolText,
  userId,
  word,
} from "./names.ts";

const isDeleted = (index: number) => index % 20 === 19;

export function toolRow(index: number): Tool {
  const slug = slugOf(index);
  const { name, description, tags } = toolText(index);
  return {
    id: toolId(index),
    slug,
    name,
    description,
    tags,
    authorId: userId(index % 100),
    templateId: null,
    currentVersionId: idOf(`version-${index}`, 1),
    currentNumber: 1,
    createdAt: createdAt(index),
    updatedAt: createdAt(index),
    deletedAt: isDeleted(index) ? now : null,
  };
}

export function tagRows(index: number): ToolTagRow[] {
  return toolText(index).tags.map((tag) => ({ toolId: toolId(index), tag, deleted: isDeleted(index) }));
}

/** As `searchTextOf` of the store makes it of such names. */
export function toolTextRow(index: number): Omit<ToolTextRow, "position"> {
  const { name, description, tags } = toolText(index);
  const text = [slugOf(index), name, description, ...tags, ""].join("\n").toLowerCase();
  return { toolId: toolId(index), deleted: isDeleted(index), text, indexed: false };
}

export const launch = launchSchema.parse({
  kind: "stdio",
  command: "node",
  args: ["server.mjs"],
  env: [{ name: "REGION", value: "north", secret: false }],
});

export function versionRow(index: number, number: number): ToolVersion & { contentId: null } {
  return {
    ...toolText(index),
    id: idOf(`version-${index}`, number),
    toolId: toolId(index),
    number,
    contentId: null,
    // Both subgraphs read the same JSON.
    launch: launch as ToolVersion["launch"],
    configSchema: null,
    digest: digestOf(`version-${index}-${number}`),
    changeSummary: null,
    source: "MANUAL",
    commitSha: null,
    createdById: userId(index % 100),
    createdAt: createdAt(index),
  };
}

export function userRow(index: number): UserRow {
  const username = `user-${index}`;
  return {
    id: userId(index),
    username,
    usernameKey: username,
    email: `${username}@example.com`,
    role: "DEVELOPER",
    disabled: false,
    passwordHash: "!",
    passwordExpiresAt: null,
    createdAt: createdAt(index),
  };
}

/** Each user has one, but all that this many have are of one. */
const HOT_KEYS = 200;

export function apiKeyRow(index: number): ApiKey {
  return {
    id: idOf("key", index),
    ownerId: userId(index < HOT_KEYS ? HOT : index),
    name: `key-${index}`,
    scopes: ["READ"],
    toolIds: null,
    hash: digestOf(`key-${index}`),
    createdAt: createdAt(index),
    lastUsedAt: null,
    expiresAt: null,
    revokedAt: null,
  };
}

export function sessionRow(index: number): LoginSession {
  return {
    id: idOf("session", index),
    userId: userId(index),
    passwordAt: now,
    createdAt: now,
    expiresAt: now + 20 * DAY_MS,
    revokedAt: null,
  };
}

export function taskRow(index: number): TaskRow {
  const failed = index % 10 === 0;
  return {
    id: idOf("task", index),
    kind: "IMPROVEMENTS",
    status: failed ? "FAILED" : "SUCCEEDED",
    progress: 1,
    message: null,
    input: { toolId: toolId(index % 100) },
    result: failed ? null : { summary: "Nothing to improve.", suggestions: [], provider: "rules" },
    resultId: null,
    errorCode: failed ? "INTERNAL" : null,
    errorMessage: failed ? "It failed." : null,
    attempts: 1,
    maxAttempts: 3,
    requestedById: userId(index % 100),
    toolId: toolId(index % 100),
    ownerId: userId(index % 100),
    cancelRequested: false,
    createdAt: now - DAY_MS,
    startedAt: now - DAY_MS,
    // Housekeeping has a tenth of them to remove.
    finishedAt: index % 10 === 1 ? now - 59 * DAY_MS : now - DAY_MS,
    dueAt: now - DAY_MS,
    priority: 0,
    leaseId: null,
  };
}
export function newDocument(index: number): NewDocument {
  return {
    id: idOf("document", index),
    title: `Notes on the ${word(index)}`,
    contentType: "text/plain",
    tags: [index % 2 === 0 ? "even" : "odd"],
    metadata: null,
    toolId: toolId(index % 100),
    uploadedById: userId(index % 100),
    createdAt: createdAt(index),
    updatedAt: createdAt(index),
  };
}

/** Some 2 KB: each document has "document", "doctrine" and "the lantern of the harbour". */
export function contentOf(index: number): UploadedContent {
  return { content: textOf(index, 2_000), encoding: "TEXT" };
}

export function textOf(seed: number, length: number): string {
  const head = `This document holds the lantern of the harbour as its doctrine${seed === 7 ? `, and a ${RARE_WORD}` : ""}. `;
  const words = Array.from({ length: length / 8 }, (_, index) => word(seed * 31 + index * (7 + (seed % 5))));
  return `${head}${words.join(" ")}`.slice(0, length);
}
