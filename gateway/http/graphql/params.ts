import { inWords, ToolyardError } from "@toolyard/service-kit";
import { parseClientJson } from "@toolyard/service-kit/http/request-body.ts";
import { z } from "zod";
import { isObject } from "@toolyard/service-kit/json.ts";
import { parseClientExactly } from "../../formats/exact-json.ts";

/** One GraphQL request as a client sends it (https://graphql.github.io/graphql-over-http/draft/#sec-Request). */
export interface GraphqlParams {
  query: string | null;
  operationName: string | null;
  variables: Record<string, unknown> | null;
  /** Of a persisted operation: its id in a list, or its text's SHA-256 as Apollo's clients send it. */
  id: string | null;
  sha256: string | null;
  /** The client asks for the protocol of subscriptions by HTTP callback. */
  wantsCallback: boolean;
}

const json = z.custom<Record<string, unknown>>(isObject, "must be an object");
const shape = z.object({
  query: z.string("must be a string").nullish(),
  operationName: z.string("must be a string").nullish(),
  variables: json.nullish(),
  extensions: json.nullish(),
  id: z.string("must be a string").nullish(),
  documentId: z.string("must be a string").nullish(),
});

/** @throws ToolyardError BAD_USER_INPUT naming the fault */
export function parseParams(value: unknown): GraphqlParams {
  const parsed = shape.safeParse(value, { error: inWords });
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const where = issue?.path.length
      ? `\`${issue.path.join(".")}\` ${issue.message}`
      : "send a JSON object with a `query`";
    throw new ToolyardError("BAD_USER_INPUT", `The body is not a GraphQL request: ${where}.`);
  }
  const { query, operationName, variables, extensions, id, documentId } = parsed.data;
  const persisted = extensions?.["persistedQuery"];
  const hash = isObject(persisted) ? persisted["sha256Hash"] : null;
  const named = id ?? documentId ?? null;
  const sha256 = typeof hash === "string" ? hash.toLowerCase() : null;
  // An empty text is how some clients leave it out.
  const text = query === "" && (named ?? sha256) !== null ? null : (query ?? null);
  if (text === null && named === null && sha256 === null)
    throw new ToolyardError("BAD_USER_INPUT", "The body is not a GraphQL request: send JSON with a `query`.");
  return {
    query: text,
    operationName: operationName === "" ? null : (operationName ?? null),
    variables: variables ?? null,
    id: named,
    sha256,
    wantsCallback: extensions?.["subscription"] !== undefined,
  };
}

/** The parameters of a GET. @throws ToolyardError BAD_USER_INPUT */
export function parseSearch(search: URLSearchParams): GraphqlParams {
  return parseParams({
    query: search.get("query"),
    operationName: search.get("operationName"),
    variables: jsonOf(search, "variables"),
    extensions: jsonOf(search, "extensions"),
    id: search.get("id"),
    documentId: search.get("documentId"),
  });
}

function jsonOf(search: URLSearchParams, name: string): unknown {
  const text = search.get(name);
  if (text === null || text === "") return null;
  return parseClientJson(text, `The parameter \`${name}\``, parseClientExactly);
}
