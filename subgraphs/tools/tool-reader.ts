import { showLaunch, type ShownStoredLaunch, type StoredLaunch } from "@toolyard/launch";
import {
  ToolyardError,
  badInput,
  isId,
  notFound,
  parsePage,
  toConnection,
  type Caller,
  type Connection,
  type PageArguments,
  type ToolShares,
} from "@toolyard/service-kit";
import type { GitHubConnection } from "./github/connection.ts";
import type { Loaders } from "./loaders.ts";
import { searchWords } from "./search-words.ts";
import { findTool, noSuchTool } from "./tool-reference.ts";
import type { Tool, ToolStore, ToolVersion } from "./tool-store.ts";

interface SealedLaunch {
  toolId: string;
  versionId: string;
  slug: string;
  number: number;
  digest: string;
  launch: StoredLaunch;
  configSchema: unknown;
}

/** Reads tools for callers. Everything takes `tool:read`; missing things are null unless said otherwise. */
export interface ToolReader {
  /**
   * By id, or by slug in either.
   * @throws ToolyardError BAD_USER_INPUT unless exactly one of the two is given; NOT_FOUND where there is none, but a slug that is close.
   */
  find(caller: Caller, key: { id?: string | null; slug?: string | null }): Promise<Tool | null>;
  /** The tool that an entity's key names, which other subgraphs kept. */
  byKey(caller: Caller, key: { id?: string | null; slug?: string | null }): Promise<Tool | null>;
  /** The id for an id, which may be unknown, or a slug. @throws ToolyardError NOT_FOUND */
  idOf(caller: Caller, reference: string): Promise<string>;
  list(caller: Caller, filter: ListFilter & PageArguments): Promise<Connection<Tool>>;
  currentVersion(caller: Caller, tool: Tool): Promise<ToolVersion>;
  version(caller: Caller, tool: Tool, number: number): Promise<ToolVersion | null>;
  versionById(caller: Caller, id: string): Promise<ToolVersion | null>;
  versions(caller: Caller, tool: Tool, page: PageArguments): Promise<Connection<ToolVersion>>;
  connection(caller: Caller, id: string): Promise<GitHubConnection | null>;
  connectionOfTool(caller: Caller, toolId: string): Promise<GitHubConnection | null>;
  /** The launch as this caller may see it: values of own tools and those shared with them, secrets never. */
  launch(caller: Caller, version: ToolVersion): Promise<ShownStoredLaunch>;
  /**
   * With `internal:sealed-launch`. The tool by id or slug. The current version without a number.
   * @throws ToolyardError NOT_FOUND: no such tool or version, or a deleted tool, which cannot be deployed anew.
   */
  sealedLaunch(caller: Caller, reference: string, number: number | null): Promise<SealedLaunch>;
}

interface ListFilter {
  search?: string | null | undefined;
  tag?: string | null | undefined;
  includeDeleted?: boolean | null | undefined;
}

export function createToolReader(options: { store: ToolStore; shares: ToolShares; loaders: Loaders }): ToolReader {
  const { store, shares, loaders } = options;

  async function versionOf(tool: Tool, id: string): Promise<ToolVersion> {
    const version = await loaders.versionById.load(id);
    if (!version) throw new Error(`The tool ${tool.id} points to the version ${id}, which is not there.`);
    return version;
  }

  return {
    async find(caller, { id, slug }) {
      caller.require("tool:read");
      if ((id == null) === (slug == null)) {
        throw badInput([{ path: "id", message: "give exactly one of id and slug" }]);
      }
      const reference = id ?? slug ?? "";
      const found = id != null && (await loaders.toolById.load(id));
      const tool = found || (await loaders.toolBySlug.load(reference));
      if (tool) return tool;
      const close = await loaders.closeSlugs.load(reference);
      if (close.length > 0) throw notFound("tool", reference, close);
      return null;
    },
    async byKey(caller, { id, slug }) {
      caller.require("tool:read");
      if (id != null) return loaders.toolById.load(id);
      return slug == null ? null : loaders.toolBySlug.load(slug);
    },
    async idOf(caller, reference) {
      caller.require("tool:read");
      if (isId(reference)) return reference;
      const tool = await findTool(store, reference);
      if (!tool) throw await noSuchTool(store, reference);
      return tool.id;
    },
    async list(caller, { search, tag, includeDeleted, ...pageArguments }) {
      caller.require("tool:read");
      const page = parsePage(pageArguments);
      const words = searchWords(search ?? "");
      const filter = { words, tag: tag ?? null, includeDeleted: includeDeleted ?? false };
      return toConnection(store.page(filter, page), page, (tool) => tool.id);
    },
    async currentVersion(caller, tool) {
      caller.require("tool:read");
      return versionOf(tool, tool.currentVersionId);
    },
    async version(caller, tool, number) {
      caller.require("tool:read");
      return loaders.versionByNumber.load(tool.id, { number });
    },
    async versionById(caller, id) {
      caller.require("tool:read");
      return loaders.versionById.load(id);
    },
    async versions(caller, tool, pageArguments) {
      caller.require("tool:read");
      const page = parsePage(pageArguments, "number");
      return toConnection(loaders.versions(tool.id, {}, page), page, (version) => String(version.number));
    },
    async connection(caller, id) {
      caller.require("tool:read");
      const connection = await loaders.connectionById.load(id);
      return connection && caller.reaches(connection.toolId) ? connection : null;
    },
    async connectionOfTool(caller, toolId) {
      caller.require("tool:read");
      return loaders.connectionOfTool.load(toolId);
    },
    async launch(caller, version) {
      caller.require("tool:read");
      const tool = await loaders.toolById.load(version.toolId);
      const thing = { ownerId: tool?.authorId ?? null, toolId: version.toolId };
      const showValues = await shares.can(caller, "deployment:inspect", thing);
      return showLaunch(version.launch, { showValues });
    },
    async sealedLaunch(caller, reference, number) {
      caller.require("internal:sealed-launch");
      const tool = await findTool(store, reference);
      if (!tool) throw await noSuchTool(store, reference);
      const toolId = tool.id;
      if (tool.deletedAt !== null) {
        throw new ToolyardError(
          "NOT_FOUND",
          `The tool ${JSON.stringify(tool.slug)} is deleted and cannot be deployed. Restore it first.`,
        );
      }
      const version =
        number === null ? await versionOf(tool, tool.currentVersionId) : await store.findVersion(toolId, number);
      if (!version) throw notFound(`version of the tool ${JSON.stringify(tool.slug)} with the number`, String(number));
      const { id, digest, launch, configSchema } = version;
      return { toolId, versionId: id, slug: tool.slug, number: version.number, digest, launch, configSchema };
    },
  };
}
