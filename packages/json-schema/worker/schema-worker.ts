/** The jobs of SchemaValidator, in a process of their own: see JobProcesses. */
import { serveJobs } from "@toolyard/job-processes/serve-jobs.ts";
import type { Problem } from "@toolyard/service-kit";
import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { problemOfJson } from "@toolyard/service-kit/bounded-json.ts";
import { formats } from "./formats.ts";
import { createLinearPattern } from "./linear-pattern.ts";
import { VALUE_BOUNDS, type SchemaJobs } from "./schema-jobs.ts";
import { problemsOfSchema } from "./schema-rules.ts";

const MAX_PROBLEMS = 50;
const MAX_MESSAGE = 1_000;

serveJobs<SchemaJobs>({
  checkSchema({ schema, path }) {
    const problems = problemsOfSchema(schema, path);
    if (problems.length > 0) return bounded(problems);
    const compiled = compile(schema, path);
    return "problem" in compiled ? [compiled.problem] : [];
  },

  checkValue({ schema, value, path }) {
    const problems = problemsOfSchema(schema, "configSchema");
    if (problems.length > 0) return { problems: bounded(problems) };
    const compiled = compile(schema, "configSchema");
    if ("problem" in compiled) return { problems: [compiled.problem] };
    const problem = fill(compiled.validate, value);
    if (problem !== null) return { problems: [{ path, message: problem }] };
    const { errors } = compiled.validate;
    // Only those that are told: an error may name all that a long enum allows.
    if (errors) return { problems: bounded(errors.slice(0, MAX_PROBLEMS).map((error) => toProblem(error, path))) };
    return { value };
  },
});

/** Validates the value and fills defaults in. What the schema made of it then: null, or a problem where that has no end or is too large. */
function fill(validate: ValidateFunction, value: object): string | null {
  try {
    validate(value);
  } catch (error) {
    // The value is of bounded depth; by defaults that have defaults in them it is not.
    if (error instanceof RangeError) return "has no end with the schema's defaults filled in";
    throw error;
  }
  // A default counts where it is filled in, as often as that is: whoever asked stores and sends the whole.
  const problem = problemOfJson(value, VALUE_BOUNDS);
  return problem === null ? null : `${problem}, with the schema's defaults filled in`;
}

function compile(schema: object, path: string): { validate: ValidateFunction } | { problem: Problem } {
  const ajv = new Ajv2020({
    allErrors: true,
    useDefaults: true,
    // The rules say what a schema may hold: ajv need not warn of what it finds odd.
    strict: false,
    logger: false,
    inlineRefs: false,
    formats,
    code: { regExp: createLinearPattern },
  });
  try {
    return { validate: ajv.compile(schema) };
  } catch (error) {
    const reason = messageOf(error);
    return { problem: { path, message: `is not a JSON Schema (2020-12) that can be used: ${reason}` } };
  }
}

function bounded(problems: readonly Problem[]): Problem[] {
  return problems
    .slice(0, MAX_PROBLEMS)
    .map(({ path, message }) => ({ path: path.slice(0, MAX_MESSAGE), message: message.slice(0, MAX_MESSAGE) }));
}

function toProblem(error: ErrorObject, at: string): Problem {
  const place = error.instancePath.split("/").slice(1).map(unescapePointer);
  const params: Record<string, unknown> = error.params;
  if (error.keyword === "required") {
    return { path: [at, ...place, String(params["missingProperty"])].join("."), message: "is required" };
  }
  if (error.keyword === "additionalProperties") {
    const name = String(params["additionalProperty"]);
    return { path: [at, ...place, name].join("."), message: "is not part of the tool's configuration" };
  }
  const allowed = error.keyword === "enum" ? `: ${JSON.stringify(params["allowedValues"])}` : "";
  return { path: [at, ...place].join("."), message: `${error.message ?? "is not valid"}${allowed}` };
}

/** RFC 6901. */
function unescapePointer(part: string): string {
  return part.replaceAll("~1", "/").replaceAll("~0", "~");
}
