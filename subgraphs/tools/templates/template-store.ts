import type { Template, TemplateCatalogue } from "./template.ts";

export interface ImportedTemplate extends Template {
  source: "IMPORTED";
  authorId: string;
  /** The server's name in the registry. */
  serverName: string;
  /** Epoch milliseconds. */
  importedAt: number;
}

/** Templates that users imported. */
export interface TemplateStore extends TemplateCatalogue {
  findByIds(ids: readonly string[]): Promise<ImportedTemplate[]>;
  /**
   * Writes a template, in place of the one with its id if `mayReplace` allows that; else "taken". "full" when a new one would be more than `most`
   * of its author's. Nothing is written then.
   */
  put(
    template: ImportedTemplate,
    options: { mayReplace: (existing: ImportedTemplate) => boolean; most: number },
  ): Promise<"put" | "taken" | "full">;
  /** False when there was none. */
  remove(id: string): Promise<boolean>;
}
