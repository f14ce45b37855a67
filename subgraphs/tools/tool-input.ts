import { launchInput } from "@toolyard/launch";
import { isId } from "@toolyard/service-kit";
import { line, plainText, tags } from "@toolyard/service-kit/text-input.ts";
import { z } from "zod";
import { isSlug, MAX_SLUG_LENGTH, MIN_SLUG_LENGTH } from "./slug.ts";

const name = line(100);
const description = plainText(10_000);
const slug = z
  .string()
  .refine((text) => !isId(text), { error: "must not have the form of an id", abort: true })
  .refine(
    isSlug,
    `must be ${MIN_SLUG_LENGTH} to ${MAX_SLUG_LENGTH} of a-z, 0-9 and -, beginning with a letter, as in my-tool`,
  );

/** CreateToolInput of the graph. `configSchema` is checked apart: by SchemaValidator. */
export const createToolInput = z.object({
  slug: slug.nullish().transform((value) => value ?? null),
  name,
  description,
  tags: tags.nullish().transform((value) => value ?? []),
  launch: launchInput,
  configSchema: z
    .unknown()
    .optional()
    .transform((value) => value ?? null),
});

/** FromTemplateInput of the graph. `configuration` is checked apart: by the template's schema. */
export const fromTemplateInput = z
  .object({
    slug: slug.nullish().transform((value) => value ?? null),
    name: name.nullish(),
    configuration: z.unknown().optional(),
    reuse: z
      .boolean()
      .nullish()
      .transform((value) => value ?? false),
  })
  .check(({ value, issues }) => {
    const refused =
      value.reuse && (value.slug !== null ? "slug" : value.configuration != null ? "configuration" : null);
    if (refused)
      issues.push({
        code: "custom",
        input: value,
        path: [refused],
        message: "is for a new tool: leave it out, or reuse",
      });
  });

/** UpdateToolInput of the graph: null counts as left out, but for `configSchema`, which it removes. */
export const updateToolInput = z.object({
  expectedVersion: z.int().nullish(),
  name: name.nullish(),
  description: description.nullish(),
  tags: tags.nullish(),
  launch: launchInput.nullish(),
  configSchema: z.unknown().optional(),
  changeSummary: line(500).nullish(),
});
