/** What GraphQL over HTTP answers with (https://graphql.github.io/graphql-over-http/draft/#sec-Media-Types). */
export type ResponseType = "application/json" | "application/graphql-response+json";

const MAX_KNOWN = 200;

/** Chooses the media type for an `Accept` header; null when it accepts neither. Clients send few distinct headers: each is read once. */
export function createTypeChooser(): (accept: string | undefined) => ResponseType | null {
  const known = new Map<string, ResponseType | null>();
  return (accept) => {
    if (accept === undefined) return "application/json";
    const before = known.get(accept);
    if (before !== undefined) return before;
    const chosen = choose(accept);
    if (known.size < MAX_KNOWN) known.set(accept, chosen);
    return chosen;
  };
}

function choose(accept: string): ResponseType | null {
  let best: { type: ResponseType; quality: number } | null = null;
  for (const part of accept.split(",")) {
    const [name = "", ...parameters] = part.split(";").map((text) => text.trim().toLowerCase());
    const type = typeOf(name);
    const given = parameters.find((parameter) => parameter.startsWith("q="));
    const quality = given === undefined ? 1 : Number(given.slice(2));
    const charset = parameters.find((parameter) => parameter.startsWith("charset="));
    if (!type || !(quality > 0) || (charset && !/^charset="?utf-?8"?$/.test(charset))) continue;
    if (!best || quality > best.quality) best = { type, quality };
  }
  return best?.type ?? null;
}

function typeOf(name: string): ResponseType | null {
  if (name === "application/graphql-response+json") return name;
  return name === "application/json" || name === "*/*" || name === "application/*" || name === ""
    ? "application/json"
    : null;
}

/** Whether a request's body is JSON in UTF-8, which no form and no page without CORS' leave can send. */
export function isJson(contentType: string | undefined): boolean {
  if (contentType === "application/json") return true;
  const [name = "", ...parameters] = (contentType ?? "").split(";").map((text) => text.trim().toLowerCase());
  if (!/^application\/(?:graphql\+)?json$/.test(name)) return false;
  return parameters.every((parameter) => !parameter.startsWith("charset=") || /^charset="?utf-?8"?$/.test(parameter));
}
