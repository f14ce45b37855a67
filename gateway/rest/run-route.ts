import { createHash } from "node:crypto";
import {
  ToolyardError,
  badInput,
  isErrorCode,
  preconditionFailed,
  type ErrorCode,
  type Problem,
} from "@toolyard/service-kit";
import { parseInput } from "@toolyard/service-kit/errors/validation.ts";
import type { ExecutionResult, GraphQLError } from "graphql";
import { badCredentialOf } from "../admission/open-operations.ts";
import type { GatewayContext, OperationGate } from "../admission/operation-gate.ts";
import type { AbortSignalLike } from "@toolyard/service-kit/process/light-abort.ts";
import type { CompiledRoute } from "./compiled-route.ts";
import { toRestPath } from "./inputs.ts";
import { toSnake } from "./names.ts";

/** A request as REST sees it. */
export interface RestRequest {
  params: unknown;
  search: unknown;
  /** Parsed; undefined: there is none. */
  body: unknown;
  ifMatch: string | undefined;
  ifNoneMatch: string | undefined;
  context: GatewayContext;
  signal: AbortSignalLike;
}

export interface RestAnswer {
  status: number;
  headers: Record<string, string>;
  /** Undefined: there is none. */
  body?: unknown;
}

/** Characters of base64url: 96 bits. */
const TAG_DIGEST_LENGTH = 16;

/** Runs a route's operation. @throws ToolyardError */
export async function runRoute(
  gate: Pick<OperationGate, "inspect" | "execute">,
  compiled: CompiledRoute,
  request: RestRequest,
): Promise<RestAnswer> {
  const { route, query } = compiled;
  const { context, signal } = request;
  // Requests with a bad body count as well.
  const inspected = gate.inspect({ query, operationName: null, context });
  if ("errors" in inspected)
    throw badCredentialOf(context.caller, inspected) ?? errorOf(inspected.errors, compiled, request.ifMatch);
  const variables = variablesOf(compiled, request);
  const result = await gate.execute({ query, operationName: null, variables, context, signal });
  const found = answerIn(result, compiled.answerAt);
  if (found === null || found === undefined) {
    if (result.errors?.length) throw errorOf(result.errors, compiled, request.ifMatch);
    throw new ToolyardError("NOT_FOUND", `There is no such ${route.noun}.`);
  }
  const headers: Record<string, string> = {};
  if (route.status === 204) return { status: 204, headers };
  const body = compiled.answer.convert(found) as Record<string, unknown>;
  if (route.version) {
    headers["etag"] = entityTag(route.version(found as Record<string, unknown>), body);
    // Kept by the client alone, and asked for each time: what is answered depends on who asks.
    headers["cache-control"] = "private, no-cache";
    if (route.method === "GET" && matches(request.ifNoneMatch, headers["etag"])) return { status: 304, headers };
  }
  if (route.location !== undefined)
    headers["location"] = route.location.replace(/\{(\w+)\}/g, (_, name: string) => String(body[name]));
  if (!compiled.answer.isPage) return { status: route.status, headers, body };
  const total = route.totalAt && (answerIn(result, route.totalAt) as number);
  return { status: route.status, headers, body: pageOf(body, total, variables) };
}

function variablesOf(compiled: CompiledRoute, { params, search, body, ifMatch }: RestRequest): Record<string, unknown> {
  const { schemas, fields, expectedVersion } = compiled;
  const variables = { ...parseInput(schemas.path, params, ""), ...parseInput(schemas.query, search, "") };
  if (schemas.body === null) {
    const isEmpty = body === undefined || (typeof body === "object" && body !== null && Object.keys(body).length === 0);
    if (!isEmpty) throw new ToolyardError("BAD_USER_INPUT", "This takes no body.");
  } else {
    const input: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(parseInput(schemas.body, body === undefined ? {} : body, "")))
      (fields.has(name) ? input : variables)[name] = value;
    if (fields.size > 0) variables["input"] = input;
  }
  if (expectedVersion !== null && ifMatch !== undefined && ifMatch.trim() !== "*") {
    const expected = { expectedVersion: versionIn(ifMatch) };
    if (expectedVersion === "variable") Object.assign(variables, expected);
    else variables["input"] = { ...(variables["input"] as object), ...expected };
  }
  return variables;
}

/** Begins with the version, which is all that changes go by; the rest tells apart what is answered, which may differ between two versions and by who asks. */
function entityTag(version: number, body: unknown): string {
  const digest = createHash("sha256").update(JSON.stringify(body)).digest("base64url");
  return `"${version}-${digest.slice(0, TAG_DIGEST_LENGTH)}"`;
}

/** @throws ToolyardError PRECONDITION_FAILED where no version can have this tag */
function versionIn(ifMatch: string): number {
  const [, version] = /^\s*"(\d{1,9})(?:-[\w-]*)?"\s*$/.exec(ifMatch) ?? [];
  if (version !== undefined) return Number(version);
  const [, meant] = /^\s*(?:W\/)?"?(\d{1,9}(?:-[\w-]*)?)"?\s*$/.exec(ifMatch) ?? [];
  const hint =
    meant === undefined
      ? 'Send one ETag as it was answered, or a version in quotes: `If-Match: "2"`.'
      : `Send it in quotes, and without W/: \`If-Match: "${meant}"\`.`;
  throw preconditionFailed("If-Match", `No version has the entity tag ${ifMatch}. ${hint}`);
}

/** Whether `If-None-Match` names the tag; by the weak comparison (RFC 9110, section 13.1.2). */
function matches(ifNoneMatch: string | undefined, tag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  return ifNoneMatch.trim() === "*" || ifNoneMatch.split(",").some((one) => one.trim().replace(/^W\//, "") === tag);
}

function answerIn({ data }: ExecutionResult, at: readonly string[]): unknown {
  return at.reduce<unknown>((value, key) => (value as Record<string, unknown> | null | undefined)?.[key], data);
}

/** @param total Of a list that is a page already; a whole one is cut here. */
function pageOf(body: unknown, total: number | undefined, { first, offset }: Record<string, unknown>): object {
  const [limit, skipped] = [first as number, offset as number];
  if (!Array.isArray(body)) return { ...(body as object), limit, offset: skipped };
  const items = total === undefined ? body.slice(skipped, skipped + limit) : body;
  return { items, total: total ?? body.length, limit, offset: skipped };
}

/** The graph's first error, with REST's names. */
export function errorOf(errors: readonly GraphQLError[], compiled?: CompiledRoute, ifMatch?: string): ToolyardError {
  const [first] = errors;
  // Another subgraph adds to the answer once the change is made.
  const isBegun = compiled?.route.method !== "GET" && (first?.path?.length ?? 0) > 1;
  const { code, problems, retryAfterSeconds, requestId: _requestId, ...extensions } = first?.extensions ?? {};
  const message = first?.message ?? "The graph answered without data.";
  if (ifMatch !== undefined && code === "CONFLICT" && "currentVersion" in extensions)
    return preconditionFailed("If-Match", message);
  const all = new Map(Object.values(compiled?.inputs ?? {}).flatMap((inputs) => [...inputs]));
  const toRest = ({ path, message: problem }: Problem) => ({ path: toRestPath(path, all), message: problem });
  const ours = Array.isArray(problems) ? (problems as Problem[]).map(toRest) : null;
  // The message of most is made of the places, with the graph's names.
  const isMade = ours && message === badInput(problems as Problem[]).message;
  return new ToolyardError(codeOf(code), isMade ? badInput(ours).message : message, {
    extensions: Object.fromEntries(Object.entries(extensions).map(([name, value]) => [toSnake(name), value])),
    ...(ours && { problems: ours }),
    ...(typeof retryAfterSeconds === "number" && !isBegun && { retryAfterSeconds }),
  });
}

/** Codes for documents cannot concern a client, which sends none. */
function codeOf(code: unknown): ErrorCode {
  if (isErrorCode(code)) return code;
  return code === "OPERATION_LIMIT_EXCEEDED" ? "PAYLOAD_TOO_LARGE" : "INTERNAL_SERVER_ERROR";
}
