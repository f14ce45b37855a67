import { problemOfJson, sizeProblem } from "@toolyard/service-kit/bounded-json.ts";
import { line, tags } from "@toolyard/service-kit/text-input.ts";
import { z } from "zod";
import { MAX_CONTENT_BYTES } from "./content/document-content.ts";
import { parseContentType } from "./content-type.ts";

const METADATA_BOUNDS = { depth: 32, characters: 16_384 };

const title = line(200);
// What cannot fit, in base64 with line breaks either, is not handed to another thread to find that out.
const content = z
  .string()
  .max(2 * MAX_CONTENT_BYTES, `is too large: at most ${MAX_CONTENT_BYTES} bytes (5 MiB) are taken`);
const encoding = z
  .enum(["TEXT", "BASE64"])
  .nullish()
  .transform((value) => value ?? "TEXT");
const contentType = z.string().max(255, "must have at most 255 characters");
const metadata = z
  .unknown()
  .optional()
  .check(({ value, issues }) => {
    if (value == null) return;
    const tooLarge = () => JSON.stringify(value).length > METADATA_BOUNDS.characters;
    const message = problemOfJson(value, METADATA_BOUNDS) ?? (tooLarge() ? sizeProblem(METADATA_BOUNDS) : null);
    if (message !== null) issues.push({ code: "custom", input: value, message });
  });
const toolId = z.string().max(64, "is not a tool's id").nullish();

/** UploadDocumentInput of the graph. */
export const uploadDocumentInput = z.object({
  title,
  content,
  encoding,
  contentType: contentType.nullish().transform((value) => typeIn(value ?? "text/plain")),
  tags: tags.nullish().transform((value) => value ?? []),
  metadata: metadata.transform((value) => value ?? null),
  toolId: toolId.transform((value) => value ?? null),
});

/** SyncedDocumentInput of the graph. */
export const syncedDocumentInput = z.object({
  id: z.uuid(),
  toolId: z.uuid(),
  uploadedById: z.string().max(64, "is not a user's id").nullable(),
  title,
  content,
  contentType: contentType.transform((value) => typeIn(value)),
  metadata: metadata.transform((value) => value ?? null),
});

/** UpdateDocumentInput of the graph: null counts as left out, but for `metadata` and `toolId`, which it removes. */
export const updateDocumentInput = z.object({
  title: title.nullish(),
  content: content.nullish(),
  encoding,
  contentType: contentType.nullish().transform((value) => (value == null ? null : typeIn(value))),
  tags: tags.nullish(),
  metadata,
  toolId,
});

const typeIn = parseContentType;
