import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "@toolyard/service-kit";
import { TEMPLATE_ENDING, readTemplate } from "./template-file.ts";
import { hasWords, type Template, type TemplateCatalogue } from "./template.ts";

/**
 * The templates of a folder: each a file whose name, without `.yaml`, is its id. They are read once, when they are first asked for; a file that
 * is none is left out and logged. Ids never become paths: only names that the folder has are looked up.
 */
export function createTemplateFolder(options: { folder: string; logger: Pick<Logger, "error"> }): TemplateCatalogue {
  const { folder, logger } = options;
  let reading: Promise<ReadonlyMap<string, Template>> | null = null;

  async function read(): Promise<ReadonlyMap<string, Template>> {
    const files = (await readdir(folder)).filter((file) => file.endsWith(TEMPLATE_ENDING));
    const templates = new Map<string, Template>();
    for (const file of files.toSorted()) {
      const path = join(folder, file);
      try {
        const read = readTemplate(file, await readFile(path, "utf8"));
        if ("problems" in read)
          logger.error({ file: path, problems: read.problems }, "a template is left out: its file is wrong");
        else templates.set(read.template.id, { ...read.template, source: "CATALOGUE" });
      } catch (error) {
        logger.error({ err: error, file: path }, "a template is left out: its file cannot be read");
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
