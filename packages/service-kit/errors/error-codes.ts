/** One code of an error (`extensions.code`). docs/errors.md is held to these rows. */
interface ErrorRow {
  /** HTTP status in REST and at the proxy; null when the error comes only within an answer or a stream. */
  status: number | null;
  /** HTTP status of a refused request in GraphQL over HTTP, where its specification differs. */
  graphqlStatus?: number;
  /** HTTP status where the error has `retryAfterSeconds`. */
  laterStatus?: number;
  /** What is wrong, and how a client should react. */
  meaning: string;
}

/** Codes that services throw. */
export const serviceErrors = {
  UNAUTHENTICATED: {
    status: 401,
    meaning: "The credential is missing, wrong, expired or revoked. Log in, or send another one.",
  },
  FORBIDDEN: { status: 403, meaning: "The caller is known but may not do this." },
  NOT_FOUND: {
    status: 404,
    meaning: "There is no such thing, or the caller may not know of it. `suggestions` names what is close.",
  },
  BAD_USER_INPUT: {
    status: 422,
    graphqlStatus: 400,
    meaning:
      "The request or its input is not valid. `problems: [{path, message}]` says what; `oldestSequence` where `after` lies before the log.",
  },
  CONFLICT: { status: 409, meaning: "It conflicts with something that exists already or happened meanwhile." },
  PRECONDITION_FAILED: {
    status: 412,
    meaning: "A condition is not met: `unmet: [{gate, reason}]` names it.",
  },
  PAYLOAD_TOO_LARGE: { status: 413, meaning: "The body is too large or has too many values." },
  RATE_LIMITED: { status: 429, meaning: "Too much at once or in a row. Try again after `retryAfterSeconds`." },
  SLOW_CONSUMER: {
    status: 429,
    meaning: "The stream was read too slowly and ended. Subscribe again after `lastSequence`.",
  },
  CAPACITY_EXHAUSTED: { status: 503, meaning: "There is no room for more just now. Try again later." },
  UPSTREAM_UNAVAILABLE: {
    status: 502,
    laterStatus: 503,
    meaning:
      "A subgraph, a tool's server or another service behind this one cannot be reached, or broke the connection. With `retryAfterSeconds` (503) nothing was begun: try again then.",
  },
  TIMEOUT: { status: 504, meaning: "It took too long and was given up." },
  INTERNAL_SERVER_ERROR: {
    status: 500,
    meaning: "Something went wrong here. The message gives no details; the log has them under `requestId`.",
  },
} as const satisfies Record<string, ErrorRow & { status: number }>;

/** The gateway's own codes for operations and streams. */
export const graphqlErrors = {
  GRAPHQL_PARSE_FAILED: { status: 400, meaning: "The document is not GraphQL." },
  GRAPHQL_VALIDATION_FAILED: { status: 400, meaning: "The document is not valid for this graph." },
  OPERATION_RESOLUTION_FAILURE: {
    status: 400,
    meaning: "The document has no operation of this name, or several and none is named.",
  },
  OPERATION_LIMIT_EXCEEDED: {
    status: 400,
    meaning: "The operation is too large: `limit` names the limit, with `max` and `found`.",
  },
  INTROSPECTION_DISABLED: { status: 400, meaning: "Introspection of the schema is turned off." },
  PERSISTED_QUERY_NOT_FOUND: {
    status: 400,
    meaning:
      "No operation is known by this id or hash. Send the text with the hash, where operations may be registered.",
  },
  PERSISTED_QUERY_NOT_IN_LIST: {
    status: 400,
    meaning: "Only operations on the safelist may run, and this one is not on it.",
  },
  UNAUTHORIZED_FIELD_OR_TYPE: {
    status: null,
    meaning:
      "The caller may not have this field (`@authenticated`, `@requiresScopes`, `@policy`). The rest is answered.",
  },
  SUBSCRIPTION_SCHEMA_CHANGED: {
    status: null,
    meaning: "The graph has changed and the subscription is not valid any more. `lastSequence` is the last one sent.",
  },
  GOING_AWAY: { status: null, meaning: "The gateway stops. Connect again." },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof serviceErrors;
/** Every `extensions.code` that Toolyard makes. */
export type GraphqlErrorCode = ErrorCode | keyof typeof graphqlErrors;

const allErrors: Record<GraphqlErrorCode, ErrorRow> = { ...serviceErrors, ...graphqlErrors };

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(serviceErrors, value);
}

/** The HTTP status of an error with this code. @param retryAfterSeconds as in the error's extensions */
export function statusOf(code: ErrorCode, retryAfterSeconds?: unknown): number {
  const { status, laterStatus }: ErrorRow & { status: number } = serviceErrors[code];
  return retryAfterSeconds === undefined ? status : (laterStatus ?? status);
}

/** The HTTP status of a GraphQL request that is refused with this code, which may be another's. */
export function graphqlStatusOf(code: unknown, retryAfterSeconds?: unknown): number {
  if (isErrorCode(code)) return allErrors[code].graphqlStatus ?? statusOf(code, retryAfterSeconds);
  if (typeof code !== "string" || !Object.hasOwn(allErrors, code)) return 400;
  return allErrors[code as GraphqlErrorCode].status ?? 400;
}

/**
 * Why a WebSocket of a GraphQL protocol is closed. Its clients do not connect again after 4401, and do after the others:
 * the service that identifies callers may be away for a moment.
 */
export function closeCodeOf(code: ErrorCode): number {
  if (code === "INTERNAL_SERVER_ERROR") return 4500;
  return code === "UNAUTHENTICATED" ? 4401 : 4403;
}
