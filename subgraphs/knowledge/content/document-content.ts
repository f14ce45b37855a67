import { jsonProblem } from "@toolyard/service-kit/errors/json-text.ts";
import { createHash } from "node:crypto";
import { textOfHtml } from "./html-text.ts";
import { textOfJson } from "./json-text.ts";

/** 5 MiB. */
export const MAX_CONTENT_BYTES = 5 * 1024 * 1024;

/** Content as it came. */
export interface UploadedContent {
  content: string;
  encoding: "TEXT" | "BASE64";
}

export interface PreparedContent {
  /** As uploaded, as text. */
  content: string;
  /** The searched text, without markup. */
  text: string;
  /** Bytes. */
  size: number;
  /** SHA-256 of the bytes, hexadecimal. */
  digest: string;
}

/** The content cannot be taken; the message says what to do. */
export class ContentError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ContentError";
  }
}

/**
 * Decodes and checks content, and takes out the text to search. Some hundred milliseconds for 5 MiB: not for the event loop.
 * @throws ContentError when it is too large, not UTF-8, or not what its type says.
 */
export function prepareContent(uploaded: UploadedContent, contentType: string): PreparedContent {
  const bytes = uploaded.encoding === "BASE64" ? decodeBase64(uploaded.content) : encodeText(uploaded.content);
  if (bytes.length > MAX_CONTENT_BYTES) throw tooLarge(`${bytes.length}`);
  const content = uploaded.encoding === "BASE64" ? decodeUtf8(bytes) : uploaded.content;
  if (content.includes("\0")) throw new ContentError("must be text: it has NUL bytes");
  return {
    content,
    text: withoutControls(textOf(content, contentType)),
    size: bytes.length,
    digest: createHash("sha256").update(bytes).digest("hex"),
  };
}

function tooLarge(bytes: string): ContentError {
  return new ContentError(`is too large: ${bytes} bytes, where at most ${MAX_CONTENT_BYTES} (5 MiB) are taken`);
}

function encodeText(content: string): Buffer {
  if (!content.isWellFormed()) throw new ContentError("must be well-formed Unicode");
  return Buffer.from(content, "utf8");
}

function decodeBase64(content: string): Buffer {
  const compact = content.replaceAll(/[\r\n\t ]+/g, "");
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(compact) || compact.replace(/=+$/, "").length % 4 === 1) {
    throw new ContentError("is not base64 (RFC 4648), as `encoding` says");
  }
  return Buffer.from(compact, "base64");
}

function decodeUtf8(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ContentError("must be text in UTF-8: convert it, or give its text", { cause });
  }
}

function textOf(content: string, contentType: string): string {
  switch (contentType) {
    case "text/html":
      return textOfHtml(content);
    case "application/json":
      return textOfJson(parseJson(content));
    default:
      return content;
  }
}

function parseJson(content: string): unknown {
  const text = content.replace(/^\uFEFF/, "");
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ContentError(`is not JSON, as \`contentType\` says: ${jsonProblem(text, cause)}`, { cause });
  }
}

/** The store marks matches by control characters: a text has none but white space. */
function withoutControls(text: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  return text.replaceAll(/[\u0001-\u0008\u000e-\u001f]/g, " ");
}
