import { join } from "node:path";
import { eventLogSchema } from "@toolyard/events";
import { jobEntity } from "@toolyard/scheduler";
import { column } from "@toolyard/storage";
import { EntitySchema } from "typeorm";
import { connectionEntities } from "./github/connection-database.ts";
import type { RepositoryTemplateFile, TemplateRepositoryState } from "./templates/repository/template-repository.ts";
import type { ImportedTemplate } from "./templates/template-store.ts";
import type { Tool, ToolShare, ToolVersion } from "./tool-store.ts";
import type { StatedContent } from "./version-contents.ts";

export interface ToolTagRow {
  toolId: string;
  tag: string;
  /** Whether the tool is. */
  deleted: boolean;
}

export interface ToolTextRow {
  /** The key of the full-text tables; rises as tools are registered. */
  position: number;
  toolId: string;
  /** Whether the tool is. */
  deleted: boolean;
  /** The text that searches look through: see `searchTextOf`. */
  text: string;
  /** Whether `tool_grams` has it: see TextBlocks. */
  indexed: boolean;
}

/** Some texts of a block have these characters. Nothing where the database has an index of trigrams. */
export interface ToolGramRow {
  gram: number;
  block: number;
}

/** A version, with its content or where that is. */
export type ToolVersionRow = Omit<ToolVersion, keyof StatedContent> &
  (({ contentId: null } & StatedContent) | ({ contentId: string } & Record<keyof StatedContent, null>));

export const toolEntity = new EntitySchema<Tool>({
  name: "tools",
  columns: {
    id: { ...column.primaryId },
    slug: { ...column.name, length: 63 },
    name: { ...column.name },
    description: { ...column.text },
    tags: { ...column.json },
    authorId: { ...column.nullableId },
    templateId: { ...column.nullableName },
    currentVersionId: { ...column.id },
    currentNumber: { ...column.integer },
    createdAt: { ...column.time },
    updatedAt: { ...column.time },
    deletedAt: { ...column.nullableTime },
  },
  indices: [
    { columns: ["slug"], unique: true },
    { columns: ["authorId", "id"] },
    { columns: ["id", "deletedAt"], where: '"deletedAt" IS NULL' },
    { columns: ["templateId", "authorId", "id"], where: '"templateId" IS NOT NULL' },
  ],
});

export const toolShareEntity = new EntitySchema<ToolShare>({
  name: "tool_shares",
  columns: {
    toolId: { ...column.primaryId },
    userId: { ...column.primaryId },
    access: { ...column.name },
    sharedById: { ...column.nullableId },
    createdAt: { ...column.time },
    updatedAt: { ...column.time },
  },
  indices: [{ columns: ["userId", "toolId"] }],
});

/** The tags once more, as rows, to find tools by. */
export const toolTagEntity = new EntitySchema<ToolTagRow>({
  name: "tool_tags",
  columns: {
    toolId: { ...column.primaryId },
    tag: { ...column.name, primary: true },
    deleted: { ...column.flag },
  },
  indices: [{ columns: ["tag", "toolId"] }, { columns: ["tag", "deleted", "toolId"] }],
});

export const toolTextEntity = new EntitySchema<ToolTextRow>({
  name: "tool_texts",
  columns: {
    position: { type: "integer", primary: true, generated: "increment" },
    toolId: { ...column.id },
    deleted: { ...column.flag },
    text: { ...column.text },
    indexed: { ...column.flag, default: false },
  },
  indices: [{ columns: ["toolId"], unique: true }, { columns: ["indexed", "position"] }],
});

export const toolGramEntity = new EntitySchema<ToolGramRow>({
  name: "tool_grams",
  columns: {
    gram: { ...column.integer, primary: true },
    block: { ...column.integer, primary: true },
  },
});

export const toolVersionEntity = new EntitySchema<ToolVersionRow>({
  name: "tool_versions",
  columns: {
    id: { ...column.primaryId },
    toolId: { ...column.id },
    number: { ...column.integer },
    contentId: { ...column.nullableId },
    name: { ...column.nullableName },
    description: { ...column.nullableText },
    tags: { ...column.nullableJson },
    launch: { ...column.nullableLaunch },
    configSchema: { ...column.nullableJson },
    digest: { ...column.id },
    changeSummary: { ...column.nullableText },
    source: { ...column.name },
    commitSha: { ...column.nullableId },
    createdById: { ...column.nullableId },
    createdAt: { ...column.time },
  },
  indices: [{ columns: ["toolId", "number"], unique: true }],
});

export const importedTemplateEntity = new EntitySchema<ImportedTemplate>({
  name: "imported_templates",
  columns: {
    id: { ...column.primaryId },
    name: { ...column.name },
    description: { ...column.text },
    launch: { ...column.json },
    configSchema: { ...column.json },
    repository: { ...column.nullableText },
    version: { ...column.nullableName },
    source: { ...column.name },
    authorId: { ...column.id },
    serverName: { ...column.name },
    importedAt: { ...column.time },
  },
  indices: [{ columns: ["authorId"] }],
});

export interface TemplateRepositoryRow extends TemplateRepositoryState {
  place: string;
  files: RepositoryTemplateFile[];
}

export const templateRepositoryEntity = new EntitySchema<TemplateRepositoryRow>({
  name: "template_repositories",
  columns: {
    place: { ...column.name, primary: true },
    commitSha: { ...column.nullableId },
    syncedAt: { ...column.nullableTime },
    checkedAt: { ...column.time },
    lastError: { ...column.nullableText },
    files: { ...column.json },
  },
});

export const toolEventSchema = eventLogSchema("tool");

export const entities = [
  toolEntity,
  toolShareEntity,
  toolTagEntity,
  toolTextEntity,
  toolGramEntity,
  toolVersionEntity,
  ...connectionEntities,
  importedTemplateEntity,
  templateRepositoryEntity,
  toolEventSchema.events,
  toolEventSchema.counter,
  jobEntity,
] as EntitySchema[]; // an EntitySchema of something is one of anything to those who only make tables of it

export const migrationsFolder = join(import.meta.dirname, "migrations");
