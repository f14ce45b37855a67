import type { AnswerFilter } from "./round-trips.ts";

/** In the query of a message's URL, the caller's signed right to post to a replica's stream. */
export const STREAM_PARAMETER = "toolyard-stream=";

/** The URL for messages, with that right at its end. */
export function withStreamId(url: string, streamId: string): string {
  return `${url}${url.includes("?") ? "&" : "?"}${STREAM_PARAMETER}${streamId}`;
}

export function streamIdOf(query: string): string {
  return new URLSearchParams(query).get(STREAM_PARAMETER.slice(0, -1)) ?? "";
}

/** A first event that is longer is no `endpoint` event. */
const MAX_HELD_BYTES = 64 * 1024;

/**
 * Holds the first event of a stream until it is whole: where it is the `endpoint` event of an HTTP+SSE server (2024-11-05), which
 * names the URL for messages, that becomes what `rewrite` makes of it. All that comes after goes on as it is.
 */
export function createEndpointFilter(rewrite: (endpoint: string) => string): AnswerFilter {
  let held: Buffer | null = Buffer.alloc(0);
  return {
    push(chunk) {
      if (held === null) return chunk;
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const text = held.toString("latin1");
      const end = endOfEvent(text);
      if (end === null && held.length <= MAX_HELD_BYTES) return null;
      const all = held;
      held = null;
      if (end === null) return all;
      return Buffer.concat([Buffer.from(rewriteEvent(text.slice(0, end), rewrite), "latin1"), all.subarray(end)]);
    },
    end() {
      const rest = held;
      held = null;
      return rest === null || rest.length === 0 ? null : rest;
    },
    drop() {
      held = null;
    },
  };
}

/** The index after the first event that has data: comments and times to reconnect may come before. */
function endOfEvent(text: string): number | null {
  const ends = /\r\n\r\n|\n\n|\r\r|\n\r\n/g;
  for (let found = ends.exec(text); found !== null; found = ends.exec(text)) {
    const end = found.index + found[0].length;
    if (/(^|[\r\n])data[:\r\n]/.test(text.slice(0, end))) return end;
  }
  return null;
}

function rewriteEvent(event: string, rewrite: (endpoint: string) => string): string {
  if (!/(^|[\r\n])event: ?endpoint[\r\n]/.test(event)) return event;
  return event.replace(/(^|[\r\n])(data: ?)([^\r\n]*)/, (_, before: string, field: string, endpoint: string) => {
    const rewritten = rewrite(Buffer.from(endpoint, "latin1").toString("utf8"));
    return `${before}${field}${Buffer.from(rewritten, "utf8").toString("latin1")}`;
  });
}
