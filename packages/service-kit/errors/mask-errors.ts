import { GraphQLError } from "graphql";
import { isPublic, messageOf, publicMessage } from "./errors.ts";
import type { Logger } from "../process/log.ts";

/**
 * Makes errors fit for clients: errors with a public code stay; graphql-js's own errors about bad input or documents stay;
 * anything else is logged with the request id and answered as INTERNAL_SERVER_ERROR without internals.
 */
export function maskErrors(
  errors: readonly GraphQLError[],
  options: { logger: Pick<Logger, "error">; requestId: string },
): GraphQLError[] {
  return errors.map((error) => {
    const cause = rootCause(error);
    const extensions: Record<string, unknown> = { ...error.extensions, requestId: options.requestId };
    if (isPublic(cause)) return rebuild(error, cause.message, { ...cause.extensions, ...extensions, code: cause.code });
    if (cause === undefined || cause instanceof GraphQLError) {
      const code =
        typeof extensions.code === "string" ? extensions.code : error.path ? "INTERNAL_SERVER_ERROR" : "BAD_USER_INPUT";
      if (code === "INTERNAL_SERVER_ERROR" && error.extensions.code === undefined) {
        options.logger.error({ err: error, request_id: options.requestId, path: error.path }, "an operation failed");
        return rebuild(error, publicMessage(error), { ...extensions, code });
      }
      return rebuild(error, error.message, { ...extensions, code });
    }
    options.logger.error(
      { err: cause, request_id: options.requestId, path: error.path },
      `a resolver failed: ${messageOf(cause)}`,
    );
    return rebuild(error, publicMessage(cause), { ...extensions, code: "INTERNAL_SERVER_ERROR" });
  });
}

function rootCause(error: GraphQLError): Error | undefined {
  let cause = error.originalError;
  while (cause instanceof GraphQLError && cause.originalError) cause = cause.originalError;
  return cause ?? undefined;
}

function rebuild(error: GraphQLError, message: string, extensions: Record<string, unknown>): GraphQLError {
  return new GraphQLError(message, {
    ...(error.nodes && { nodes: error.nodes }),
    ...(error.path && { path: error.path }),
    ...(error.source && { source: error.source }),
    ...(error.positions && { positions: error.positions }),
    extensions,
  });
}
