import type { StoredLaunch } from "@toolyard/launch";

/** A ready-made tool. It holds no secrets: they are writeOnly properties of `configSchema`. */
export interface Template {
  /** See `isTemplateId`. */
  id: string;
  name: string;
  description: string;
  launch: StoredLaunch;
  /** JSON Schema (2020-12) of what its tools are configured by. */
  configSchema: Record<string, unknown>;
  /** The URL of its source. */
  repository: string | null;
  /** The server's. */
  version: string | null;
  source: TemplateSource;
  /** Who imported it. */
  authorId: string | null;
}

type TemplateSource = "CATALOGUE" | "REPOSITORY" | "IMPORTED";

/** A place that templates come from. */
export interface TemplateCatalogue {
  findByIds(ids: readonly string[]): Promise<Template[]>;
  /** Of all whose id, name or description has each of the words, in any case; in any order. */
  idsOf(words: readonly string[]): Promise<string[]>;
}

export const MAX_ID_LENGTH = 64;

/** Whether a text may name a template: words of `a-z` and `0-9` with `.`, `_` or `-` between them. A file may have it as its name. */
export function isTemplateId(text: string): boolean {
  return text.length <= MAX_ID_LENGTH && /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/.test(text);
}

/** Whether the id, name or description has each of the words, in any case. */
export function hasWords(
  { id, name, description }: Pick<Template, "id" | "name" | "description">,
  words: readonly string[],
): boolean {
  const text = `${id}\n${name}\n${description}`.toLowerCase();
  return words.every((word) => text.includes(word.toLowerCase()));
}
