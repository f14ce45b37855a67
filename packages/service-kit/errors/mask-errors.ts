import { GraphQLError } from "graphql";
import { isPublic, messageOf, publicMessage } from "./errors.ts";
import type { Logger } from "../process/log.ts";

/**
 * Makes errors fit for clients: errors with a public code stay; graphql-js's own errors about bad input or documents stay;
 * anything else is logged with the request id and answered as INTERNAL_SERVER_ERROR, without its message and extensions.
 */
export function maskErrors(
  errors: readonly GraphQLError[],
  { logger, requestId }: { logger: Pick<Logger, "error">; requestId: string },
): GraphQLError[] {
  return errors.map((error) => {
    const { extensions, path } = error;
    const cause = rootCause(error);
    if (isPublic(cause))
      return rebuild(error, cause.message, { ...cause.extensions, ...extensions, requestId, code: cause.code });
    if (cause === undefined || cause instanceof GraphQLError) {
      const { code = path ? "INTERNAL_SERVER_ERROR" : "BAD_USER_INPUT" } = extensions;
      if (code !== "INTERNAL_SERVER_ERROR") return rebuild(error, error.message, { ...extensions, requestId, code });
    }
    const failure = cause ?? error;
    logger.error({ err: failure, request_id: requestId, path }, `a resolver failed: ${messageOf(failure)}`);
    return rebuild(error, publicMessage(failure), { requestId, code: "INTERNAL_SERVER_ERROR" });
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
