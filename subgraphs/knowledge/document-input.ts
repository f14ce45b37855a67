import { line } from "@toolyard/service-kit/text-input.ts";
import { z } from "zod";
import { MAX_CONTENT_BYTES } from "./content/document-content.ts";
import { parseContentType } from "./content-type.ts";

const MAX_METADATA_CHARACTERS = 16_384;
const MAX_METADATA_DEPTH = 32;

const title = line(200);
const tags = z
  .array(line(64))
  .max(32, "must have at most 32 tags")
  .transform((list) => [...new Set(list)]);
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
  .check((context) => {
    const message = problemOfJson(context.value, MAX_METADATA_DEPTH);
    if (message !== null) context.issues.push({ code: "custom", input: context.value, message });
    else if ((JSON.stringify(context.value) ?? "").length > MAX_METADATA_CHARACTERS) {
      const large = `is too large: at most ${MAX_METADATA_CHARACTERS} characters as JSON`;
      context.issues.push({ code: "custom", input: context.value, message: large });
    }
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

/** What keeps a value from being JSON that every store takes; null when nothing does. */
function problemOfJson(value: unknown, depth: number): string | null {
  if (depth < 0) return `is nested too deeply: at most ${MAX_METADATA_DEPTH} levels`;
  if (value == null || typeof value === "boolean") return null;
  if (typeof value === "number") return Number.isFinite(value) ? null : "must have finite numbers only";
  if (typeof value === "string") {
    return value.isWellFormed() && !value.includes("\0") ? null : "must be well-formed Unicode without NUL";
  }
  if (typeof value !== "object") return "must be JSON";
  for (const [key, item] of Object.entries(value)) {
    const problem = problemOfJson(key, depth) ?? problemOfJson(item, depth - 1);
    if (problem !== null) return problem;
  }
  return null;
}
