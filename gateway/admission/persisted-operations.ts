import { createHash } from "node:crypto";
import { createMemoryCache, type Cache, type CacheCount } from "@toolyard/cache";
import { jsonProblem, ToolyardError } from "@toolyard/service-kit";
import type { GraphQLError } from "graphql";
import { z } from "zod";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";

/**
 * Operations known by an id. Those from a file are permanent; others are registered by clients as Apollo's clients do it (automatic
 * persisted queries: first the SHA-256 alone, and when it is not known the text with it) and kept while there is room.
 */
export interface PersistedOperations {
  /**
   * The text to run for a request.
   * @returns an error with the code PERSISTED_QUERY_NOT_FOUND or BAD_USER_INPUT
   */
  textOf(request: { query: string | null; id: string | null; sha256: string | null }): Promise<string | GraphQLError>;
  /** Whether a text is in the file. */
  isListed(query: string): boolean;
}

export interface PersistedOperationsOptions {
  /** The file's operations, by id. */
  listed?: ReadonlyMap<string, string>;
  /** Whether clients may register operations; with a safelist there is nothing to register. */
  automatic: boolean;
  /** The texts that clients registered, by their SHA-256; in memory unless given. */
  registered?: Cache<string>;
}

/** Bounds of what clients register; lengths in characters. */
const MAX_OPERATIONS = 10_000;
const MAX_LENGTH_OF_ALL = 8_000_000;

export function createOperationCache(count?: CacheCount): Cache<string> {
  const sizeOf = (text: string) => text.length + 1;
  return createMemoryCache({ maxEntries: MAX_OPERATIONS, maxSize: MAX_LENGTH_OF_ALL, sizeOf, ...(count && { count }) });
}

export function createPersistedOperations(options: PersistedOperationsOptions): PersistedOperations {
  const { listed = new Map<string, string>(), automatic, registered = createOperationCache() } = options;
  const texts = new Set(listed.values());
  const byHash = new Map([...texts].map((text) => [sha256Of(text), text]));

  return {
    async textOf({ query, id, sha256 }) {
      const name = id ?? sha256;
      if (query === null) {
        if (name === null) return graphqlError("BAD_USER_INPUT", "There is nothing to run: send a `query`.");
        const text = listed.get(name) ?? byHash.get(name) ?? (await registered.get(name));
        if (text !== undefined) return text;
        // Apollo's clients decide by both the code and the message.
        return automatic && id === null
          ? graphqlError("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
          : graphqlError("PERSISTED_QUERY_NOT_FOUND", "There is no persisted operation of this id.");
      }
      if (sha256 !== null && automatic) {
        if (sha256Of(query) !== sha256)
          return graphqlError("BAD_USER_INPUT", "extensions.persistedQuery.sha256Hash is not the query's SHA-256.");
        await registered.set(sha256, query);
      }
      return query;
    },
    isListed: (query) => texts.has(query),
  };
}

function sha256Of(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

const apolloManifest = z.object({
  format: z.literal("apollo-persisted-query-manifest"),
  version: z.literal(1),
  operations: z.array(z.object({ id: z.string(), body: z.string() })),
});
const plainManifest = z.record(z.string(), z.string());

/**
 * Reads a file of operations: Apollo's persisted query manifest, or a JSON object of texts by id as Relay's compiler and
 * GraphQL Code Generator write it.
 * @throws ToolyardError BAD_USER_INPUT naming the fault
 */
export function parsePersistedOperations(json: string): Map<string, string> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new ToolyardError(
      "BAD_USER_INPUT",
      `The file of persisted operations is not JSON: ${jsonProblem(json, cause)}.`,
      {
        cause,
      },
    );
  }
  const apollo = apolloManifest.safeParse(value);
  if (apollo.success) return new Map(apollo.data.operations.map(({ id, body }) => [id, body]));
  const plain = plainManifest.safeParse(value);
  if (plain.success) return new Map(Object.entries(plain.data));
  throw new ToolyardError(
    "BAD_USER_INPUT",
    'The file of persisted operations is neither an "apollo-persisted-query-manifest" of version 1 nor an object of texts by id.',
  );
}
