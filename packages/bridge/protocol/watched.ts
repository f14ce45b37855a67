/** Resources that one session, or one stream of `subscriptions/listen`, may be told of. */
export const MAX_WATCHED = 1_024;
const MAX_URI_CHARS = 8_192;

/** Why a resource cannot be watched beside these; null: it can. */
export function unwatchable(watched: ReadonlySet<string>, uri: string): string | null {
  if (uri.length > MAX_URI_CHARS) return `the URI of a resource has at most ${MAX_URI_CHARS} characters`;
  if (watched.size < MAX_WATCHED || watched.has(uri)) return null;
  return `at most ${MAX_WATCHED} resources are watched at once`;
}
