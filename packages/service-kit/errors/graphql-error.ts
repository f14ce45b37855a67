import { GraphQLError, type GraphQLErrorOptions } from "graphql";
import type { GraphqlErrorCode } from "./error-codes.ts";

/** An error of GraphQL with a code from the table. */
export function graphqlError(code: GraphqlErrorCode, message: string, options: GraphQLErrorOptions = {}): GraphQLError {
  return new GraphQLError(message, { ...options, extensions: { code, ...options.extensions } });
}

/** A library's error with a code from the table, its message cut to a length that may be sent. */
export function withCode(code: GraphqlErrorCode, { message, nodes, source, positions, extensions }: GraphQLError) {
  return graphqlError(code, shortened(message), {
    nodes: nodes ?? null,
    source: source ?? null,
    positions: positions ?? null,
    extensions: { ...extensions, code },
  });
}

/** Names are as long as a client likes, and some errors repeat them for each place. */
export function shortened(text: string, max = MAX_MESSAGE_LENGTH): string {
  return text.length > max ? `${text.slice(0, max)}…` : text;
}

const MAX_MESSAGE_LENGTH = 1_000;
