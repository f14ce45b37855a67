import { createJobProcesses } from "@toolyard/job-processes";
import { badInput, ToolyardError, type Logger } from "@toolyard/service-kit";
import { isObject } from "@toolyard/service-kit/json.ts";
import { problemOfJson, type JsonBounds, type JsonObject } from "@toolyard/service-kit/bounded-json.ts";
import { VALUE_BOUNDS, type SchemaJobs } from "./worker/schema-jobs.ts";

/**
 * JSON Schemas (2020-12) that users wrote, and values for them. Both are evaluated in a process of their own, within a deadline, with
 * patterns that match in linear time; a schema may say only what is understood (see worker/schema-rules.ts).
 * `subject` is whose work it is: callers take turns.
 * @throws ToolyardError of each: BAD_USER_INPUT with a problem for each place, TIMEOUT; RATE_LIMITED and CAPACITY_EXHAUSTED as JobProcesses.
 */
export interface SchemaValidator {
  /** The schema as plain JSON, when values can be checked by it. Problems are at places below `path`. */
  checkSchema(schema: unknown, path: string, subject: string | null): Promise<JsonObject>;
  /** The value as the schema takes it, its defaults filled in; null takes any. Problems of the schema are below "configSchema". */
  checkValue(schema: unknown, value: unknown, path: string, subject: string | null): Promise<JsonObject>;
  close(): Promise<void>;
}

const SCHEMA_BOUNDS: JsonBounds = { depth: 32, characters: 65_536 };

export function createSchemaValidator(options: {
  logger: Logger;
  deadlineMs?: number;
  /** Aborts when Toolyard begins to stop. */
  signal?: AbortSignal | undefined;
}): SchemaValidator {
  const { logger, deadlineMs = 5_000, signal } = options;
  const processes = createJobProcesses<SchemaJobs>({
    name: "check against a JSON Schema",
    module: new URL("./worker/schema-worker.ts", import.meta.url),
    logger,
    deadlineMs,
    signal,
  });

  return {
    async checkSchema(schema, path, subject) {
      const checked = boundedObject(schema, SCHEMA_BOUNDS, path, SCHEMA_HINT);
      const problems = await processes.run("checkSchema", { schema: checked, path }, subject).catch(tooMuch(path));
      if (problems.length > 0) throw badInput(problems);
      return checked;
    },

    async checkValue(schema, value, path, subject) {
      const given = boundedObject(value, VALUE_BOUNDS, path, "must be a JSON object");
      if (schema === null) return given;
      const checked = boundedObject(schema, SCHEMA_BOUNDS, "configSchema", SCHEMA_HINT);
      const result = await processes
        .run("checkValue", { schema: checked, value: given, path }, subject)
        .catch(tooMuch(path));
      if ("problems" in result) throw badInput(result.problems);
      return result.value;
    },

    close: () => processes.close("now"),
  };
}

const SCHEMA_HINT = 'must be a JSON Schema, which is an object, as in {"type": "object", "properties": {}}';

/** The object as plain JSON. */
function boundedObject(value: unknown, bounds: JsonBounds, path: string, hint: string): JsonObject {
  const problem = isObject(value) ? problemOfJson(value, bounds) : hint;
  if (problem !== null) throw badInput([{ path, message: problem }]);
  // An object went in, and JSON has no other kind of it.
  return JSON.parse(JSON.stringify(value)) as JsonObject;
}

/** What was given took all the time or memory there is: nothing of Toolyard's is wrong. */
function tooMuch(path: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof ToolyardError && error.code === "TIMEOUT") {
      throw new ToolyardError(
        "TIMEOUT",
        `${path}: checking this takes too long. Make the schema or the value simpler.`,
      );
    }
    throw error;
  };
}
