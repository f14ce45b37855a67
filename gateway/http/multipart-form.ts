import type { IncomingMessage } from "node:http";
import { Busboy, type BusboyInstance } from "@fastify/busboy";
import { ToolyardError, messageOf } from "@toolyard/service-kit";
import { ByteCollector } from "@toolyard/service-kit/http/byte-collector.ts";
import type { Take } from "@toolyard/service-kit/http/read-body.ts";
import type { Form, FormFile } from "../rest/form.ts";

/** Texts beside a file are short, and few. */
const MAX_FIELD_BYTES = 64 * 1_024;
const MAX_FIELD_NAME_BYTES = 100;
const MAX_FIELDS = 100;
const MAX_PART_HEADERS = 20;

/** Whether a body is a form with a file; forms of other sites' pages have no credential, and routes with uploads want one. */
export function isMultipart(contentType: string | undefined): boolean {
  return contentType !== undefined && /^multipart\/form-data\s*;/i.test(contentType);
}

/** Reads a form with at most one file, whole. @throws ToolyardError BAD_USER_INPUT, PAYLOAD_TOO_LARGE, that of `take` */
export function readForm(request: IncomingMessage, maxBytes: number, take: Take): Promise<Form> {
  const { promise, resolve, reject } = Promise.withResolvers<Form>();
  const fields = new Map<string, string[]>();
  let file: FormFile | null = null;
  let size = 0;
  const refuse = (code: "BAD_USER_INPUT" | "PAYLOAD_TOO_LARGE", message: string, cause?: unknown) =>
    reject(new ToolyardError(code, message, { cause }));
  const tooLarge = () => refuse("PAYLOAD_TOO_LARGE", `The body is larger than ${maxBytes} bytes.`);
  const tooMany = () => refuse("PAYLOAD_TOO_LARGE", `A form has one file and at most ${MAX_FIELDS} fields.`);
  const notForm = (error: unknown) => refuse("BAD_USER_INPUT", `The body is not a form: ${messageOf(error)}.`, error);
  const endedEarly = () => refuse("BAD_USER_INPUT", "The body ended early.");
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) {
    tooLarge();
    return promise;
  }
  let parser: BusboyInstance;
  try {
    parser = new Busboy({
      headers: { ...request.headers, "content-type": request.headers["content-type"] ?? "" },
      limits: {
        fieldNameSize: MAX_FIELD_NAME_BYTES,
        fieldSize: MAX_FIELD_BYTES,
        fields: MAX_FIELDS,
        files: 1,
        parts: MAX_FIELDS + 1,
        headerPairs: MAX_PART_HEADERS,
      },
    });
  } catch (error) {
    notForm(error);
    return promise;
  }
  parser.on("field", (name, value, isNameCut, isCut) => {
    if (isNameCut || isCut) refuse("PAYLOAD_TOO_LARGE", `A field of the form is larger than ${MAX_FIELD_BYTES} bytes.`);
    else if (value.includes("\uFFFD")) refuse("BAD_USER_INPUT", "The form is not in UTF-8.");
    else fields.set(name, [...(fields.get(name) ?? []), value]);
  });
  parser.on("file", (field, stream, name, _encoding, type) => {
    const bytes = new ByteCollector();
    stream.on("data", (chunk: Buffer) => bytes.add(chunk));
    stream.once("error", notForm);
    stream.once("end", () => {
      file = { field, name: name ?? "", type, bytes: bytes.take() };
    });
  });
  parser.once("filesLimit", tooMany).once("fieldsLimit", tooMany).once("partsLimit", tooMany);
  parser.once("error", notForm);
  parser.once("finish", () => resolve({ fields, file }));
  const onData = (chunk: Buffer): void => {
    size += chunk.length;
    if (size > maxBytes) return tooLarge();
    try {
      take(chunk.length);
    } catch (error) {
      reject(error as Error);
    }
  };
  request.on("data", onData);
  request.once("aborted", endedEarly);
  request.once("error", reject);
  request.pipe(parser);
  return promise.catch((error: unknown) => {
    request.off("data", onData).unpipe(parser);
    parser.destroy();
    // Nothing of it is kept from here on.
    request.resume();
    throw error;
  });
}
