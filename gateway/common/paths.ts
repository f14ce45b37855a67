/** Where the graph is asked. */
export const GRAPHQL_PATH = "/graphql";
/** Where clients of graphql-sse reserve streams. */
export const STREAM_PATH = "/graphql/stream";
