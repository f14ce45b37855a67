/** The media types of answers in GraphQL over HTTP (https://graphql.github.io/graphql-over-http/draft/#sec-Media-Types). */
export type ResponseType = "application/json" | "application/graphql-response+json";

export const EVENT_STREAM = "text/event-stream";

/** The media types that a request's `Accept` asks for. */
export interface AcceptedTypes {
  /** For a single result: a query, a mutation, an error. Null when no available type is accepted. */
  result: ResponseType | typeof EVENT_STREAM | null;
  /** For a subscription. Null when no stream is named: clients that accept anything would not know how to read one. */
  stream: typeof EVENT_STREAM | "multipart/mixed" | null;
  /** Whether server-sent events are named at all. */
  eventStream: boolean;
}

const MAX_KNOWN = 200;

/**
 * Chooses by an `Accept` header (RFC 9110, 12.5.1): the highest `q`, and the one named first among equals. Clients send few distinct
 * headers: each is parsed once.
 */
export function createTypeChooser(): (accept: string | undefined) => AcceptedTypes {
  const known = new Map<string, AcceptedTypes>();
  return (accept = "*/*") => {
    const before = known.get(accept);
    if (before !== undefined) return before;
    const chosen = choose(accept);
    if (known.size < MAX_KNOWN) known.set(accept, chosen);
    return chosen;
  };
}

/** A media type of an `Accept` header, or a group of them. */
interface Range {
  name: string;
  quality: number;
  /** Of those with one quality the first is preferred. */
  place: number;
  isSubscriptionMultipart: boolean;
}

function choose(accept: string): AcceptedTypes {
  const ranges = rangesOf(accept);
  /** The quality of a type, by the most specific range that includes it. */
  const find = (...names: string[]): Range | null => {
    for (const name of names) {
      const found = ranges.find((range) => range.name === name);
      if (found) return found.quality > 0 ? found : null;
    }
    return null;
  };
  const eventStream = find(EVENT_STREAM);
  const multipart = ranges.find((range) => range.isSubscriptionMultipart && range.quality > 0) ?? null;
  const result = best([
    ["application/json", find("application/json", "application/*", "*/*", "")],
    ["application/graphql-response+json", find("application/graphql-response+json")],
    [EVENT_STREAM, eventStream],
  ] as const);
  const stream = best([
    [EVENT_STREAM, eventStream],
    ["multipart/mixed", multipart],
  ] as const);
  // Clients that accept only another kind of stream still get JSON: the refusal, with its reason.
  const isStreamNamed = ranges.some(({ name, quality }) => name === "multipart/mixed" && quality > 0);
  return { result: result ?? (isStreamNamed ? "application/json" : null), stream, eventStream: eventStream !== null };
}

function best<Type>(candidates: readonly (readonly [type: Type, range: Range | null])[]): Type | null {
  let chosen: { type: Type; range: Range } | null = null;
  for (const [type, range] of candidates) {
    if (!range) continue;
    const isBetter =
      !chosen ||
      range.quality > chosen.range.quality ||
      (range.quality === chosen.range.quality && range.place < chosen.range.place);
    if (isBetter) chosen = { type, range };
  }
  return chosen?.type ?? null;
}

function rangesOf(accept: string): Range[] {
  const ranges: Range[] = [];
  for (const part of partsOf(accept, ",")) {
    const [name = "", ...parameters] = partsOf(part, ";").map((text) => text.replaceAll('"', "").trim().toLowerCase());
    const valueOf = (parameter: string) =>
      parameters.find((text) => text.startsWith(`${parameter}=`))?.slice(parameter.length + 1);
    const quality = Number(valueOf("q") ?? 1);
    const charset = valueOf("charset");
    // A range in another charset, or with an invalid quality, is ignored.
    if (Number.isNaN(quality) || (charset !== undefined && !/^utf-?8$/.test(charset))) continue;
    const isSubscriptionMultipart = name === "multipart/mixed" && valueOf("subscriptionspec") === "1.0";
    ranges.push({ name, quality, place: ranges.length, isSubscriptionMultipart });
  }
  return ranges;
}

/** The parts between separators that are not in quotes. */
function partsOf(text: string, separator: string): string[] {
  if (!text.includes('"')) return text.split(separator);
  const parts: string[] = [];
  let from = 0;
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '"') isQuoted = !isQuoted;
    else if (text[at] === separator && !isQuoted) {
      parts.push(text.slice(from, at));
      from = at + 1;
    }
  }
  return [...parts, text.slice(from)];
}
