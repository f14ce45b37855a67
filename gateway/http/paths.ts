/** The path of the graph. */
export const GRAPHQL_PATH = "/graphql";
/** The path at which clients of graphql-sse reserve streams. */
export const STREAM_PATH = "/graphql/stream";
