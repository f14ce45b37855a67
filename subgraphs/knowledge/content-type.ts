/** The accepted types of documents; aliases that are in use lead to the registered name. */
const CONTENT_TYPES: ReadonlyMap<string, string> = new Map([
  ["text/plain", "text/plain"],
  ["text/markdown", "text/markdown"],
  ["text/x-markdown", "text/markdown"],
  ["text/html", "text/html"],
  ["application/json", "application/json"],
  ["application/yaml", "application/yaml"],
  ["application/x-yaml", "application/yaml"],
  ["text/yaml", "text/yaml"],
  ["text/x-yaml", "text/yaml"],
]);

export type ContentTypeResult =
  | { type: string }
  /** PDF: known, but not in this version. */
  | { unsupported: string }
  | { problem: string };

/** The media type without its parameters, in lower case: one of those that are taken. */
export function parseContentType(text: string): ContentTypeResult {
  const [essence = "", ...parameters] = text
    .toLowerCase()
    .split(";")
    .map((part) => part.trim());
  if (essence === "application/pdf") {
    return { unsupported: "PDF text extraction is not part of this version of Toolyard. Upload the text instead." };
  }
  const type = CONTENT_TYPES.get(essence);
  if (type === undefined) {
    return { problem: `is not one of ${[...new Set(CONTENT_TYPES.values())].join(", ")}` };
  }
  const charset = parameters.find((parameter) => parameter.startsWith("charset="))?.slice("charset=".length);
  if (charset !== undefined && !["utf-8", "utf8", "us-ascii"].includes(charset.replaceAll('"', ""))) {
    return { problem: "must be UTF-8: leave the charset out and convert the content" };
  }
  return { type };
}
