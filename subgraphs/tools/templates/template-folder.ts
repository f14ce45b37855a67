import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseInput, type Logger } from "@toolyard/service-kit";
import { parse } from "yaml";
import { templateFile } from "./template-file.ts";
import { hasWords, isTemplateId, type Template, type TemplateCatalogue } from "./template.ts";

const ENDING = ".yaml";

/**
 * The templates of a folder: each a file whose name, without `.yaml`, is its id. They are read once, when they are first asked for; a file that
 * is none is left out and logged. Ids never become paths: only names that the folder has are looked up.
 */
export function createTemplateFolder(options: { folder: string; logger: Pick<Logger, "error"> }): TemplateCatalogue {
  const { folder, logger } = options;
  let reading: Promise<ReadonlyMap<string, Template>> | null = null;

  async function read(): Promise<ReadonlyMap<string, Template>> {
    const files = (await readdir(folder)).filter((file) => file.endsWith(ENDING));
    const templates = new Map<string, Template>();
    for (const file of files.toSorted()) {
      try {
        const template = templateOf(file, await readFile(join(folder, file), "utf8"));
        templates.set(template.id, template);
      } catch (error) {
        logger.error({ err: error, file: join(folder, file) }, "a template is left out: its file cannot be read");
      }
    }
    return templates;
  }
  const all = () =>
    (reading ??= read().catch((error: unknown) => {
      reading = null;
      throw error;
    }));

  return {
    async findByIds(ids) {
      const templates = await all();
      return ids.flatMap((id) => templates.get(id) ?? []);
    },
    async idsOf(words) {
      return [...(await all()).values()].filter((template) => hasWords(template, words)).map(({ id }) => id);
    },
  };
}

/** The template in a file. @throws ToolyardError BAD_USER_INPUT with problems; YAMLParseError */
export function templateOf(file: string, text: string): Template {
  const id = file.slice(0, -ENDING.length);
  if (!isTemplateId(id))
    throw new Error(`The name of a template's file is words of a-z and 0-9, joined by ".", "_" or "-".`);
  return { id, ...parseInput(templateFile, parse(text), ""), source: "CATALOGUE", authorId: null };
}
