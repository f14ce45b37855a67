import type { EventLog } from "@toolyard/events";
import { createApartReader } from "@toolyard/mongodb/kept-apart.ts";
import { newId, type Logger } from "@toolyard/service-kit";
import {
  CHUNK_ROWS,
  countByParent,
  dialectOf,
  insertIfAbsent,
  readPage,
  readPagesByParent,
  type Database,
  type SqlTransaction,
} from "@toolyard/storage";
import { In, IsNull, Not, type QueryDeepPartialEntity } from "typeorm";
import { toolEntity, toolShareEntity, toolTagEntity, toolVersionEntity, type ToolVersionRow } from "./database.ts";
import { createToolSearch } from "./tool-search.sql.ts";
import type { Tool, ToolChangeKind, ToolEventPayload, ToolStore, ToolVersion } from "./tool-store.ts";
import type { VersionContents } from "./version-contents.ts";

export function createSqlToolStore(options: {
  database: Database;
  events: EventLog<ToolEventPayload>;
  /** Null: contents of versions are in their rows. */
  contents?: VersionContents | null;
  /** Is told of contents that are missing. */
  logger?: Pick<Logger, "error">;
  now?: () => number;
  /** As of createToolSearch: of few texts, tests have many blocks. */
  blockTexts?: number;
}): ToolStore {
  const { database, events, contents = null, logger, now = Date.now } = options;
  const tools = () => database.read.getRepository(toolEntity);
  const versions = () => database.read.getRepository(toolVersionEntity);
  const search = createToolSearch(database, options.blockTexts);

  const log = (tx: SqlTransaction, kind: ToolChangeKind, toolId: string, at: number, payload: ToolEventPayload = {}) =>
    events.append(tx, [{ kind, subjectId: toolId, payload, at }]);

  async function writeTags({ manager }: SqlTransaction, toolId: string, tags: readonly string[]): Promise<void> {
    const rows = manager.getRepository(toolTagEntity);
    await rows.delete({ toolId });
    if (tags.length > 0) await rows.insert(tags.map((tag) => ({ toolId, tag, deleted: false })));
  }

  const findByIds = (ids: readonly string[]) => tools().findBy({ id: In(ids) });

  async function inOrder(ids: readonly string[]): Promise<Tool[]> {
    if (ids.length === 0) return [];
    const byId = new Map((await findByIds(ids)).map((tool) => [tool.id, tool]));
    return ids.flatMap((id) => byId.get(id) ?? []);
  }

  /** What a change to a new version comes to. `change` is handed the version's row; its content is there before. */
  async function withNewVersion<Outcome extends string>(
    version: ToolVersion,
    done: Outcome,
    change: (tx: SqlTransaction, row: QueryDeepPartialEntity<ToolVersionRow>) => Promise<Outcome>,
  ): Promise<Outcome> {
    if (!contents) return database.transaction((tx) => change(tx, asRow({ ...version, contentId: null })));
    const { id: versionId, toolId, number, digest, source, commitSha, createdById, createdAt, ...content } = version;
    const contentId = newId();
    await contents.write({ ...content, id: contentId, versionId, at: now() });
    const row = { id: versionId, toolId, number, contentId, digest, source, commitSha, createdById, createdAt };
    const outcome = await database.transaction((tx) => change(tx, row));
    // What cannot be removed now is found later: see removeStrayContents.
    if (outcome !== done) await contents.remove([contentId]).catch(() => undefined);
    return outcome;
  }

  const readContents = createApartReader({ read: contents?.read, what: "contents of versions", logger });

  /** Rows with their contents, wherever these are. */
  async function whole(rows: readonly ToolVersionRow[]): Promise<ToolVersion[]> {
    const contentOf = await readContents(rows.flatMap(({ contentId }) => contentId ?? []));
    return rows.map(({ contentId, ...row }) =>
      contentId === null ? (row as ToolVersion) : { ...row, ...contentOf(contentId) },
    );
  }

  /** Contents up to this one are known to have rows, or were removed. */
  let looked: string | null = null;

  return {
    insert: (tool, firstVersion) =>
      withNewVersion(firstVersion, "inserted", async (tx, row) => {
        if (!(await insertIfAbsent(tx.manager, toolEntity, tool))) return "slug-taken";
        await tx.manager.getRepository(toolVersionEntity).insert(row);
        await search.insert(tx, tool);
        await writeTags(tx, tool.id, tool.tags);
        await log(tx, "CREATED", tool.id, tool.createdAt);
        return "inserted";
      }),

    commit: (version, afterVersionId) =>
      withNewVersion(version, "committed", async (tx, row) => {
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
            currentVersionId: version.id,
            currentNumber: version.number,
            updatedAt: version.createdAt,
          },
        );
        if (!affected) return "superseded";
        await tx.manager.getRepository(toolVersionEntity).insert(row);
        await search.update(tx, { id: toolId, slug: current.slug, name, description, tags });
        await writeTags(tx, toolId, tags);
        await log(tx, "UPDATED", toolId, version.createdAt);
        return "committed";
      }),

    setDeleted: (id, deleted, now, atVersionId) =>
      database.transaction(async (tx) => {
        const { affected } = await tx.manager.getRepository(toolEntity).update(
          {
            id,
            deletedAt: deleted ? IsNull() : Not(IsNull()),
            ...(atVersionId !== undefined && { currentVersionId: atVersionId }),
          },
          { deletedAt: deleted ? now : null, updatedAt: now },
        );
        if (!affected) return false;
        await search.setDeleted(tx, id, deleted);
        await tx.manager.getRepository(toolTagEntity).update({ toolId: id }, { deleted });
        await log(tx, deleted ? "DELETED" : "RESTORED", id, now);
        return true;
      }),

    share: (share, maxUsers) =>
      database.transaction(async (tx) => {
        const { toolId, userId, access } = share;
        const rows = tx.manager.getRepository(toolShareEntity);
        // Holding the tool: its shares are counted by one at a time.
        const where = { id: toolId, deletedAt: IsNull() };
        const tool = await tx.manager.getRepository(toolEntity).findOne({ where, ...dialectOf(tx.manager).forUpdate });
        if (!tool) return "gone";
        const before = await rows.findOneBy({ toolId, userId });
        if (before?.access === access) return "shared";
        if (before) {
          const { sharedById, updatedAt } = share;
          await rows.update({ toolId, userId }, { access, sharedById, updatedAt });
        } else {
          if ((await rows.countBy({ toolId })) >= maxUsers) return "too-many";
          await rows.insert(share);
        }
        await log(tx, "SHARED", toolId, share.updatedAt, { userId, access, authorId: tool.authorId });
        return "shared";
      }),

    unshare: (toolId, userId, now) =>
      database.transaction(async (tx) => {
        const { affected } = await tx.manager.getRepository(toolShareEntity).delete({ toolId, userId });
        if (!affected) return false;
        const tool = await tx.manager.getRepository(toolEntity).findOneByOrFail({ id: toolId });
        await log(tx, "UNSHARED", toolId, now, { userId, access: null, authorId: tool.authorId });
        return true;
      }),

    async sharesOf(toolIds) {
      const found = await database.read
        .getRepository(toolShareEntity)
        .find({ where: { toolId: In(toolIds) }, order: { toolId: "ASC", userId: "ASC" } });
      const byTool = Map.groupBy(found, ({ toolId }) => toolId);
      return toolIds.map((id) => (byTool.get(id) ?? []).toSorted((a, b) => a.createdAt - b.createdAt));
    },

    async accessOf(userId, toolIds) {
      const found = await database.read
        .createQueryBuilder(toolShareEntity, "share")
        .innerJoin(toolEntity.options.name, "tool", "tool.id = share.toolId AND tool.deletedAt IS NULL")
        .where("share.userId = :userId AND share.toolId IN (:...toolIds)", { userId, toolIds })
        .getMany();
      const byTool = new Map(found.map(({ toolId, access }) => [toolId, access]));
      return toolIds.map((id) => byTool.get(id) ?? null);
    },

    pageOf(list, page) {
      const query = tools().createQueryBuilder("tool").where("tool.deletedAt IS NULL");
      if ("authorId" in list) return readPage(query.andWhere("tool.authorId = :authorId", list), page);
      query
        .innerJoin(toolShareEntity.options.name, "share", "share.toolId = tool.id")
        .andWhere("share.userId = :sharedWith", list);
      return readPage(query, page, "share.toolId");
    },

    findByIds,
    async ofTemplate(templateId, authorId, name) {
      const where = { templateId, authorId, name, deletedAt: IsNull() };
      const [newest] = await tools().find({ where, order: { id: "DESC" }, take: 1 });
      return newest ?? null;
    },
    findBySlugs: (slugs) => tools().findBy({ slug: In(slugs) }),
    findVersionsByIds: async (ids) => whole(await versions().findBy({ id: In(ids) })),
    async findVersion(toolId, number) {
      const [version] = await whole(await versions().findBy({ toolId, number }));
      return version ?? null;
    },
    findVersionsOf: async (toolIds, number) => whole(await versions().findBy({ toolId: In(toolIds), number })),

    page(filter, page) {
      const { words, tag, includeDeleted } = filter;
      if (words.length > 0) {
        const { rows, totalCount } = search.page(filter, page);
        return { rows: () => rows().then(inOrder), totalCount };
      }
      const query = tools().createQueryBuilder("tool");
      if (tag === null) {
        if (!includeDeleted) query.where("tool.deletedAt IS NULL");
        return readPage(query, page);
      }
      query
        .innerJoin(toolTagEntity.options.name, "tagged", "tagged.toolId = tool.id")
        .where("tagged.tag = :tag", { tag });
      if (!includeDeleted) query.andWhere("tagged.deleted = 0");
      return {
        rows: readPage(query, page, "tagged.toolId").rows,
        totalCount: () => database.read.countBy(toolTagEntity, { tag, ...(!includeDeleted && { deleted: false }) }),
      };
    },

    async versionPages(toolIds, page) {
      const of = { parentColumn: "toolId", orderColumn: "number" } as const;
      const pages = await readPagesByParent(versions(), toolIds, page, of);
      const found = await whole(pages.flat());
      let start = 0;
      return pages.map((rows) => found.slice(start, (start += rows.length)));
    },
    versionCounts: (toolIds) => countByParent(versions(), toolIds, { parentColumn: "toolId" }),

    async takenOf(slugs) {
      const found = await tools().find({ select: { slug: true }, where: { slug: In(slugs) } });
      return new Set(found.map(({ slug }) => slug));
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

    async removeStrayContents(before, { signal } = {}) {
      let removed = 0;
      while (contents && !signal?.aborted) {
        const part = await contents.list(looked, before, CHUNK_ROWS);
        if (part.length === 0) break;
        const rows = await versions().find({
          select: { id: true, contentId: true },
          where: { id: In(part.map(({ versionId }) => versionId)) },
        });
        const named = new Set(rows.map(({ contentId }) => contentId));
        const stray = part.map(({ id }) => id).filter((id) => !named.has(id));
        if (stray.length > 0) await contents.remove(stray);
        removed += stray.length;
        looked = part.at(-1)?.id ?? null;
      }
      return removed;
    },

    count: async () => ({ ever: await tools().count(), current: await tools().countBy({ deletedAt: IsNull() }) }),
    completeSearch: (work) => search.complete(work),
  };
}

/** TypeORM's insert types see a deep partial in every JSON column; the values are whole. */
function asRow(version: ToolVersion & { contentId: null }): QueryDeepPartialEntity<ToolVersionRow> {
  return version as QueryDeepPartialEntity<ToolVersionRow>;
}
