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

/** An event that is longer is not held. */
const MAX_HELD_LENGTH = 64 * 1024;
/** The length of a tail that may be the beginning of the sought field. */
const TAIL_LENGTH = 24;

/** A line's end, and blank lines: of thousands each is no event. If the text ends in the middle of the last one's end, the rest is one more. */
const EVENT_END = /(?:\r\n|\n|\r(?!\n))[\r\n]+/;
const OF_ENDPOINT = /(?:^(?:\xef\xbb\xbf)?|[\r\n])event: ?endpoint[\r\n]/;
/** The byte order mark that may begin a stream, which clients remove. */
const MARK = "\xef\xbb\xbf";

/**
 * Holds each event of a stream until it is whole, and passes the URL for messages that an `endpoint` event of an HTTP+SSE server
 * (2024-11-05) names through `rewrite`. Clients act on every such event, not only on the first. All else goes on unchanged.
 */
export function createEndpointFilter(rewrite: (endpoint: string) => string) {
  /** The incomplete event. */
  let held: string[] = [];
  let length = 0;
  let tail = "";
  /** It goes on in parts. */
  let isLong = false;
  let isFirst = true;
  /** An event that was too long names an endpoint: nothing more goes on, so that no client sees its end. */
  let isOver = false;
  const eventEnd = new RegExp(EVENT_END, "g");

  function takePart(part: string, isEnd: boolean): string {
    if (isLong) {
      isOver = OF_ENDPOINT.test(`\0${tail}${part}`);
      return isOver ? "" : part;
    }
    held.push(part);
    length += part.length;
    if (isEnd) return rewriteEvent(held.join(""), isFirst ? MARK : "", rewrite);
    if (length <= MAX_HELD_LENGTH) return "";
    const all = held.join("");
    held = [];
    isLong = true;
    isOver = OF_ENDPOINT.test(all);
    return isOver ? "" : all;
  }

  return {
    push(chunk: Buffer): Buffer | null {
      // Searched in place: joined or cut for each event it would be copied for each of thousands of blank lines.
      const text = tail + chunk.toString("latin1");
      let at = tail.length;
      const out: string[] = [];
      eventEnd.lastIndex = 0;
      while (at < text.length && !isOver) {
        const isEnd = eventEnd.test(text);
        const part = text.slice(at, isEnd ? eventEnd.lastIndex : text.length);
        out.push(takePart(part, isEnd));
        at += part.length;
        tail = isEnd ? "" : (tail + part).slice(-TAIL_LENGTH);
        if (isEnd) [held, length, isLong, isFirst] = [[], 0, false, false];
      }
      return out.every((part) => part === "") ? null : Buffer.from(out.join(""), "latin1");
    },
    end(): Buffer | null {
      const rest = isOver ? "" : held.join("");
      held = [];
      return rest === "" ? null : Buffer.from(rest, "latin1");
    },
    drop(): void {
      held = [];
    },
  } satisfies AnswerFilter;
}

/** With one line of data for all of them: clients join them before they read the URL. */
function rewriteEvent(event: string, mark: string, rewrite: (endpoint: string) => string): string {
  // Most events are not.
  if (!OF_ENDPOINT.test(event)) return event;
  const start = mark !== "" && event.startsWith(mark) ? mark : "";
  const lines = [...event.slice(start.length).matchAll(/([^\r\n]*)(\r\n|\n|\r)/g)].map(([, line = "", end = ""]) => {
    const [, field, value = ""] = /^(event|data)(?:: ?(.*))?$/.exec(line) ?? [];
    return { line, end, field, value };
  });
  const data = lines.filter(({ field }) => field === "data");
  if (lines.findLast(({ field }) => field === "event")?.value !== "endpoint" || data.length === 0) return event;
  const endpoint = rewrite(Buffer.from(data.map(({ value }) => value).join("\n"), "latin1").toString("utf8"));
  const written = `data: ${Buffer.from(endpoint, "utf8").toString("latin1")}`;
  // As comments, its other lines keep line ends apart that would otherwise merge.
  const lineOf = (it: (typeof lines)[number]) => (it === data[0] ? written : it.field === "data" ? ":" : it.line);
  return start + lines.map((it) => lineOf(it) + it.end).join("");
}
