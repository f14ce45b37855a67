import { createHash } from "node:crypto";
import { notFound, ToolyardError, type Caller, type Logger } from "@toolyard/service-kit";
import { templateOfServer } from "./server-json.ts";
import type { ImportedTemplate, TemplateStore } from "./template-store.ts";
import { MAX_ID_LENGTH, type Template, type TemplateCatalogue } from "./template.ts";

/** Of one user. */
const MAX_OF_AUTHOR = 100;
const HASH_LENGTH = 12;

/** Templates that users bring. All take `tool:write`; changes of what is there, by who imported it or an administrator. */
export interface TemplateImports {
  /**
   * The template of a server of the official MCP registry, by its `server.json`; in place of what was imported of this server before.
   * @throws ToolyardError BAD_USER_INPUT with problems; FORBIDDEN where another user imported it; CONFLICT where its id is taken, or the user has too many
   */
  importServer(caller: Caller, json: unknown): Promise<Template>;
  /** Tools that were made of it stay. @throws ToolyardError NOT_FOUND; FORBIDDEN */
  delete(caller: Caller, id: string): Promise<Template>;
}

export function createTemplateImports(options: {
  store: TemplateStore;
  /** Whose ids cannot be imported. */
  catalogues: readonly TemplateCatalogue[];
  logger: Pick<Logger, "info">;
  now: () => number;
}): TemplateImports {
  const { store, catalogues, logger, now } = options;
  const note = ({ id, version }: Template, { subject }: Caller, what: string) =>
    logger.info({ template_id: id, version, by: subject }, what);

  return {
    async importServer(caller, json) {
      const { userId } = caller;
      caller.require("tool:write", { ownerId: userId, toolId: null }, "import templates");
      if (userId === null) throw new ToolyardError("FORBIDDEN", "Only users import templates.");
      const made = templateOfServer(json);
      const id = templateIdOf(made.serverName);
      const taken = await Promise.all(catalogues.map((catalogue) => catalogue.findByIds([id])));
      if (taken.flat().length > 0) throw idTaken(id);
      const template: ImportedTemplate = { ...made, id, source: "IMPORTED", authorId: userId, importedAt: now() };
      const outcome = await store.put(template, {
        mayReplace({ authorId, serverName }) {
          caller.require("tool:write", { ownerId: authorId, toolId: null }, "replace this template");
          return serverName === made.serverName;
        },
        most: MAX_OF_AUTHOR,
      });
      if (outcome === "taken") throw idTaken(id);
      if (outcome === "full")
        throw new ToolyardError(
          "CONFLICT",
          `You have ${MAX_OF_AUTHOR} imported templates, or Toolyard has too many. Delete one first.`,
        );
      note(template, caller, "a template was imported");
      return template;
    },
    async delete(caller, id) {
      caller.require("tool:write", { ownerId: caller.userId, toolId: null }, "delete templates");
      const [template] = await store.findByIds([id]);
      if (!template) throw notFound("imported template", id);
      caller.require("tool:write", { ownerId: template.authorId, toolId: null }, "delete this template");
      await store.remove(id);
      note(template, caller, "a template was deleted");
      return template;
    },
  };
}

function idTaken(id: string): ToolyardError {
  return new ToolyardError("CONFLICT", `The id ${JSON.stringify(id)} is another template's.`);
}

/** The template id of a server: its name, in the form that such ids have. */
export function templateIdOf(serverName: string): string {
  const id = serverName
    .toLowerCase()
    .replace("/", "-")
    .replaceAll(/[._-]{2,}/g, "-")
    .replaceAll(/^[._-]+|[._-]+$/g, "");
  if (id !== "" && id.length <= MAX_ID_LENGTH) return id;
  const hash = createHash("sha256").update(serverName).digest("hex").slice(0, HASH_LENGTH);
  return `${id.slice(0, MAX_ID_LENGTH - HASH_LENGTH - 1).replace(/[._-]+$/, "") || "server"}-${hash}`;
}
