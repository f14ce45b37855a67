import { badInput, ToolyardError } from "@toolyard/service-kit";
import { parseClientJson } from "@toolyard/service-kit/http/request-body.ts";
import { parseClientExactly } from "../formats/exact-json.ts";
import type { Fields } from "./inputs.ts";
import type { Upload } from "./rest-route.ts";

/** A body of multipart/form-data. */
export interface Form {
  fields: ReadonlyMap<string, readonly string[]>;
  file: FormFile | null;
}

export interface FormFile {
  /** The name of its field. */
  field: string;
  /** Of the file, without folders; "" where the client gave none. */
  name: string;
  /** Its media type, as the client has it. */
  type: string;
  bytes: Buffer;
}

/** The field of a form that has the file. */
export const FILE_FIELD = "file";

/**
 * The body that a form stands for: texts as they are, lists as a repeated field or as JSON, and any JSON as JSON.
 * @throws ToolyardError BAD_USER_INPUT
 */
export function bodyOfForm({ fields, file }: Form, upload: Upload, inputs: Fields): Record<string, unknown> {
  if (file === null || file.field !== FILE_FIELD)
    throw badInput([{ path: FILE_FIELD, message: "is missing: send the file in a field of this name" }]);
  const forms = new Map([...inputs.values()].map(({ name, form }) => [name, form]));
  const given = [...fields].map(([name, values]): [string, unknown] => {
    if (upload.instead.includes(name)) throw badInput([{ path: name, message: "is not sent beside a file" }]);
    const [only = "", ...others] = values;
    switch (others.length === 0 ? forms.get(name) : "list") {
      case "json":
        return [name, jsonIn(name, only)];
      case "list":
        return [name, only.startsWith("[") && others.length === 0 ? jsonIn(name, only) : values];
      default:
        return [name, only];
    }
  });
  return { ...upload.values(file), ...Object.fromEntries(given) };
}

function jsonIn(name: string, text: string): unknown {
  try {
    return parseClientJson(text, name, parseClientExactly);
  } catch (error) {
    if (!(error instanceof ToolyardError) || error.code !== "BAD_USER_INPUT") throw error;
    throw badInput([{ path: name, message: error.message.slice(`${name} `.length) }]);
  }
}
