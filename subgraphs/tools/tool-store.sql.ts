import type { EventLog } from "@toolyard/events";
import { mapRows } from "@toolyard/service-kit";
import { readPage, type Database, type Transaction } from "@toolyard/storage";
import { In, IsNull, Like, Not, QueryFailedError, type QueryDeepPartialEntity } from "typeorm";
import { toolEntity, toolTagEntity, toolVersionEntity, type ToolRow } from "./database.ts";
import type { Tool, ToolChangeKind, ToolStore, ToolVersion } from "./tool-store.ts";

/** An event says no more than its kind and whose it is: the tool itself is read as of now. */
export type ToolEventPayload = Record<string, never>;

export function createSqlToolStore(options: { database: Database; events: EventLog<ToolEventPayload> }): ToolStore {
  const { database, events } = options;
  const tools = () => database.read.getRepository(toolEntity);
  const versions = () => database.read.getRepository(toolVersionEntity);

  const log = (tx: Transaction, kind: ToolChangeKind, toolId: string, at: number) =>
    events.append(tx, [{ kind, subjectId: toolId, payload: {}, at }]);

  async function writeTags({ manager }: Transaction, toolId: string, tags: readonly string[]): Promise<void> {
    const rows = manager.getRepository(toolTagEntity);
    await rows.delete({ toolId });
    if (tags.length > 0) await rows.insert(tags.map((tag) => ({ toolId, tag })));
  }

  return {
    async insert(tool, firstVersion) {
      try {
        return await database.transaction(async (tx) => {
          if (await tx.manager.getRepository(toolEntity).existsBy({ slug: tool.slug })) return "slug-taken";
          await tx.manager.getRepository(toolVersionEntity).insert(asRow(firstVersion));
          await tx.manager.getRepository(toolEntity).insert({ ...tool, searchText: searchTextOf(tool) });
          await writeTags(tx, tool.id, tool.tags);
          await log(tx, "CREATED", tool.id, tool.createdAt);
          return "inserted";
        });
      } catch (error) {
        // Another process took it between the look and the write; ids are unique by themselves.
        if (isUniqueViolation(error)) return "slug-taken";
        throw error;
      }
    },

    commit: (version, afterVersionId) =>
      database.transaction(async (tx) => {
        const { toolId, name, description, tags } = version;
        const rows = tx.manager.getRepository(toolEntity);
        const current = await rows.findOneBy({ id: toolId, currentVersionId: afterVersionId, deletedAt: IsNull() });
        if (!current) return "superseded";
        const { affected } = await rows.update(
          { id: toolId, currentVersionId: afterVersionId, deletedAt: IsNull() },
          {
            name,
            description,
            tags,
            searchText: searchTextOf({ slug: current.slug, name, description, tags }),
            currentVersionId: version.id,
            currentNumber: version.number,
            updatedAt: version.createdAt,
          },
        );
        if (!affected) return "superseded";
        await tx.manager.getRepository(toolVersionEntity).insert(asRow(version));
        await writeTags(tx, toolId, tags);
        await log(tx, "UPDATED", toolId, version.createdAt);
        return "committed";
      }),

    setDeleted: (id, deleted, now) =>
      database.transaction(async (tx) => {
        const { affected } = await tx.manager
          .getRepository(toolEntity)
          .update(
            { id, deletedAt: deleted ? IsNull() : Not(IsNull()) },
            { deletedAt: deleted ? now : null, updatedAt: now },
          );
        if (!affected) return false;
        await log(tx, deleted ? "DELETED" : "RESTORED", id, now);
        return true;
      }),

    findByIds: async (ids) => (await tools().findBy({ id: In(ids) })).map(toTool),
    findBySlugs: async (slugs) => (await tools().findBy({ slug: In(slugs) })).map(toTool),
    findVersionsByIds: (ids) => versions().findBy({ id: In(ids) }),
    findVersion: (toolId, number) => versions().findOneBy({ toolId, number }),

    page({ words, tag, includeDeleted }, page) {
      const query = tools().createQueryBuilder("tool");
      if (!includeDeleted) query.andWhere("tool.deletedAt IS NULL");
      if (tag !== null) {
        const tagged = query
          .subQuery()
          .select("tagged.toolId")
          .from(toolTagEntity, "tagged")
          .where("tagged.tag = :tag")
          .getQuery();
        query.andWhere(`tool.id IN ${tagged}`, { tag });
      }
      for (const [index, word] of words.entries()) {
        query.andWhere(`tool.searchText LIKE :word${index} ESCAPE '!'`, {
          [`word${index}`]: `%${searchable(word).replaceAll(/[!%_]/g, "!$&")}%`,
        });
      }
      return mapRows(readPage(query, page), toTool);
    },

    versionPage: (toolId, page) =>
      readPage(versions().createQueryBuilder("version").where("version.toolId = :toolId", { toolId }), page, {
        idColumn: "number",
      }),

    async slugsBeginningWith(prefix) {
      // A slug has neither of LIKE's wildcards.
      const found = await tools().find({ select: { slug: true }, where: { slug: Like(`${prefix}%`) } });
      return found.map(({ slug }) => slug);
    },

    async newestSlugs(limit) {
      const found = await tools().find({
        select: { id: true, slug: true },
        where: { deletedAt: IsNull() },
        order: { id: "DESC" },
        take: limit,
      });
      return found.map(({ slug }) => slug);
    },

    count: async () => ({ ever: await tools().count(), current: await tools().countBy({ deletedAt: IsNull() }) }),
  };
}

function toTool({ searchText: _searchText, ...tool }: ToolRow): Tool {
  return tool;
}

/** TypeORM's insert types see a deep partial in every JSON column; the values are whole. */
function asRow(version: ToolVersion): QueryDeepPartialEntity<ToolVersion> {
  return version as QueryDeepPartialEntity<ToolVersion>;
}

function searchTextOf({ slug, name, description, tags }: Pick<Tool, "slug" | "name" | "description" | "tags">): string {
  return searchable([slug, name, description, ...tags].join("\n"));
}

/**
 * Lower case of every script, compatibility forms as one: LIKE folds only ASCII by itself. No letter has more than thirty marks
 * (UAX #15, Stream-Safe Text Format): sorting them takes time that grows with the square of their number.
 */
function searchable(text: string): string {
  return text
    .replaceAll(/(\p{M}{30})\p{M}+/gu, "$1")
    .normalize("NFKC")
    .toLowerCase();
}

function isUniqueViolation(error: unknown): boolean {
  if (!(error instanceof QueryFailedError)) return false;
  const { code } = error.driverError as { code?: unknown }; // a driver's error is an Error with its own code
  return code === "SQLITE_CONSTRAINT_UNIQUE" || code === "ER_DUP_ENTRY";
}
