import { serviceErrors, type ErrorCode } from "@toolyard/service-kit/errors/error-codes.ts";
import type { GraphQLSchema } from "graphql";
import { z } from "zod";
import type { Components } from "./answers.ts";
import type { CompiledRoute } from "./compiled-route.ts";
import type { Fields, InputNotes } from "./inputs.ts";
import type { JsonSchema } from "./json-schema.ts";
import { FILE_FIELD } from "./form.ts";
import { takesIdempotencyKey, type Upload } from "./rest-route.ts";

/** Operations by path and method. */
type Paths = Record<string, Record<string, JsonSchema>>;

/** Describes URLs that are no routes of the table. Schemas that they share go into `components`. */
export type PathDescriber = (schema: GraphQLSchema, components: Components) => Paths;

/** @param schema What else is said of the text */
export function headerParameter(name: string, description: string, schema: JsonSchema = {}): JsonSchema {
  return { name, in: "header", description, schema: { type: "string", ...schema } };
}

export const ifNoneMatch = headerParameter("If-None-Match", "The ETag of what is known already.");
/** The response to it. */
export const notModified: JsonSchema = { description: "It is what `If-None-Match` names." };

/** The content of a body or an answer. */
export const inJson = (schema: JsonSchema): JsonSchema => ({ "application/json": { schema } });

/** Refusals that any route may answer. */
export const EVERYWHERE = [
  "BAD_USER_INPUT",
  "FORBIDDEN",
  "NOT_FOUND",
  "RATE_LIMITED",
  "UNAUTHENTICATED",
  "CAPACITY_EXHAUSTED",
  "UPSTREAM_UNAVAILABLE",
  "TIMEOUT",
  "INTERNAL_SERVER_ERROR",
] as const satisfies readonly ErrorCode[];

/** Refusals that some routes may answer. */
const SOMEWHERE = ["CONFLICT", "PRECONDITION_FAILED", "PAYLOAD_TOO_LARGE"] as const satisfies readonly ErrorCode[];
/** The name of the refusal of a body's type. */
const OTHER_TYPE = "UNSUPPORTED_MEDIA_TYPE";

const PROBLEM_TYPE = "application/problem+json";

/** The routes as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1). @param prefix The path below which they are, "" for none */
export function openApiOf(
  routes: readonly CompiledRoute[],
  {
    components,
    notes,
    prefix,
    others,
  }: { components: Components; notes: InputNotes; prefix: string; others: readonly Paths[] },
): JsonSchema {
  const schemas: Record<string, JsonSchema> = Object.fromEntries(components);

  /** The schema of an input, whose shared parts become components. */
  function inputSchema(schema: z.ZodType): JsonSchema {
    const {
      $schema: _dialect,
      $defs = {},
      ...own
    } = z.toJSONSchema(schema, { io: "input", metadata: notes, unrepresentable: "any" }) as JsonSchema & {
      $defs?: Record<string, JsonSchema>;
    };
    for (const [name, shared] of Object.entries($defs)) schemas[name] = inComponents(shared);
    return inComponents(own);
  }

  /** With the file; nothing else has to be there. */
  const formSchema = (body: Fields, { instead }: Upload): JsonSchema => ({
    type: "object",
    properties: {
      [FILE_FIELD]: { type: "string", format: "binary", contentMediaType: "application/octet-stream" },
      ...Object.fromEntries(
        [...body.values()]
          .filter(({ name }) => !instead.includes(name))
          .map(({ name, schema }) => [name, inputSchema(schema)]),
      ),
    },
    required: [FILE_FIELD],
    additionalProperties: false,
  });

  const parametersOf = (inputs: Fields, place: "path" | "query") =>
    [...inputs.values()].map(({ name, schema }) => {
      const { description, ...own } = inputSchema(schema);
      return {
        name,
        in: place,
        required: place === "path" || !schema.safeParse(undefined).success,
        ...(description !== undefined && { description }),
        schema: own,
      };
    });

  function operationOf(compiled: CompiledRoute): JsonSchema {
    const { route, inputs, schemas: parse, answer, expectedVersion } = compiled;
    const codes: ErrorCode[] = [...EVERYWHERE, "PAYLOAD_TOO_LARGE"];
    if (route.method !== "GET") codes.push("CONFLICT", "PRECONDITION_FAILED");
    const tag = { schema: { type: "string" } };
    return {
      tags: [route.tag],
      summary: route.summary,
      operationId: operationIdOf(route.operation),
      ...(route.isOpen && { security: [{}, { bearer: [] }] }),
      parameters: [
        ...(takesIdempotencyKey(route)
          ? [
              headerParameter(
                "Idempotency-Key",
                "A text of your choice, such as a UUID: what is sent again under it within a day is answered as the first time, and not done again.",
                { minLength: 1, maxLength: 255, pattern: "^[\\x21-\\x7e]+$" },
              ),
            ]
          : []),
        ...parametersOf(inputs.path, "path"),
        ...parametersOf(inputs.query, "query"),
        ...(expectedVersion !== null
          ? [headerParameter("If-Match", "The ETag of what is to be changed, or its version in quotes.")]
          : []),
        ...(route.version && route.method === "GET" ? [ifNoneMatch] : []),
      ],
      ...(parse.body && {
        requestBody: {
          required: !parse.body.safeParse({}).success,
          content: {
            ...inJson(inputSchema(parse.body)),
            ...(route.upload && { "multipart/form-data": { schema: formSchema(inputs.body, route.upload) } }),
          },
        },
      }),
      responses: {
        [route.status]: {
          description: route.summary,
          ...(route.status !== 204 && { content: inJson(answer.schema) }),
          headers: {
            ...(takesIdempotencyKey(route) && {
              "Idempotency-Replayed": {
                description: "`true`: what was answered to this `Idempotency-Key` before.",
                schema: { const: "true" },
              },
            }),
            ...(route.version && { ETag: { description: "The version, and what tells apart its answers.", ...tag } }),
            ...(route.location !== undefined && { Location: { description: "The address of what was made.", ...tag } }),
          },
        },
        ...(route.version && route.method === "GET" && { 304: notModified }),
        ...refusalsOf(codes),
        // Of what is sent as a body to a route that takes none as well.
        415: { $ref: `#/components/responses/${OTHER_TYPE}` },
      },
    };
  }

  const paths: Paths = {};
  for (const compiled of routes)
    (paths[compiled.route.path] ??= {})[compiled.route.method.toLowerCase()] = operationOf(compiled);
  Object.assign(paths, ...others);

  return {
    openapi: "3.1.1",
    info: {
      title: "Toolyard",
      version: "1.0.0",
      description:
        "REST for what the graph at /graphql does. Errors are problem+json (RFC 9457); names are in snake_case.",
    },
    // Paths are appended to it: "/" would double their slash.
    ...(prefix !== "" && { servers: [{ url: prefix }] }),
    security: [{ bearer: [] }],
    tags: tagsOf(paths).map((name) => ({ name })),
    paths,
    components: {
      schemas: { ...schemas, Problem: problemSchema },
      responses: refusals(),
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "An access token of a login, or an API key." },
        ticket: {
          type: "apiKey",
          in: "query",
          name: "ticket",
          description: "For browsers' streams, which send no headers: what POST /api/v1/auth/ticket gives, good once.",
        },
      },
    },
  };
}

const problemSchema: JsonSchema = {
  type: "object",
  description: "What is wrong (RFC 9457).",
  properties: {
    type: { type: "string" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string", description: "What is wrong and what to do about it, for people." },
    code: { type: "string", description: "The same for programs.", enum: Object.keys(serviceErrors) },
    problems: {
      type: "array",
      description: "With BAD_USER_INPUT: each place of the input with what is wrong there.",
      items: {
        type: "object",
        properties: { path: { type: "string" }, message: { type: "string" } },
        required: ["path", "message"],
      },
    },
    unmet: {
      type: "array",
      description: "With PRECONDITION_FAILED: what has to be true first.",
      items: {
        type: "object",
        properties: { gate: { type: "string" }, reason: { type: "string" } },
        required: ["gate", "reason"],
      },
    },
    retry_after_seconds: { type: "number" },
    request_id: { type: "string", description: "Under which the log has more." },
  },
  required: ["type", "title", "status", "detail", "code", "request_id"],
};

/** A refusal with a code, once for all routes. */
function refusal(description: string): JsonSchema {
  return { description, content: { [PROBLEM_TYPE]: { schema: { $ref: "#/components/schemas/Problem" } } } };
}

/** The refusals with these codes, by status. */
export function refusalsOf(codes: readonly ErrorCode[]): Record<string, JsonSchema> {
  return Object.fromEntries(
    codes.map((code) => [serviceErrors[code].status, { $ref: `#/components/responses/${code}` }]),
  );
}

/** All that any route may answer. */
function refusals(): Record<string, JsonSchema> {
  const codes: ErrorCode[] = [...EVERYWHERE, ...SOMEWHERE];
  return {
    ...Object.fromEntries(codes.map((code) => [code, refusal(`\`${code}\`: ${serviceErrors[code].meaning}`)])),
    [OTHER_TYPE]: refusal("`BAD_USER_INPUT`: The body's type is not one that this takes."),
  };
}

function tagsOf(paths: Paths): unknown[] {
  const operations = Object.values(paths).flatMap((methods) => Object.values(methods));
  return [...new Set(operations.flatMap(({ tags }) => tags))];
}

function operationIdOf(operation: string): string {
  const [, name = ""] = /^\w+\s+(\w+)/.exec(operation) ?? [];
  return name;
}

/** zod's references, which are to definitions of the same schema, as those of the document. */
function inComponents(schema: JsonSchema): JsonSchema {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/')) as JsonSchema;
}
