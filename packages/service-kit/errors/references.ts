import leven from "leven";
import type { Caller } from "../identity/caller.ts";
import { notFound } from "./errors.ts";
import type { GraphClient } from "../graph/graph-client.ts";

/** No slug, username or deployment name is longer. */
const MAX_NAME_LENGTH = 128;
const MAX_SUGGESTIONS = 3;
const MIN_PREFIX_LENGTH = 3;
/** The number of names, the newest, that stores search for close ones. */
export const MAX_CANDIDATES = 500;

/** Whether a text has the form of an id (RFC 9562). Such a text is taken for an id: ids win over slugs and names. */
export function isId(text: string): boolean {
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);
}

/** Whether a thing could have this name, so that a search makes sense. */
export function mayBeName(text: string): boolean {
  return text !== "" && text.length <= MAX_NAME_LENGTH && !isId(text);
}

/** The few names closest to `reference` that its writer may have meant, the closest first. Names are asked for only where there can be any. */
export async function closeTo(reference: string, names: () => Promise<readonly string[]>): Promise<string[]> {
  return mayBeName(reference) ? closeAmong(reference, await names()) : [];
}

/** As `closeTo`. */
export function closeAmong(reference: string, names: readonly string[]): string[] {
  if (!mayBeName(reference)) return [];
  const wanted = reference.toLowerCase();
  const maxDistance = Math.max(1, Math.floor(wanted.length / 3));
  return [...new Set(names.slice(0, MAX_CANDIDATES))]
    .map((name) => ({ name, distance: distanceOf(wanted, name.toLowerCase(), maxDistance) }))
    .filter(({ distance }) => distance <= maxDistance)
    .toSorted((a, b) => a.distance - b.distance)
    .slice(0, MAX_SUGGESTIONS)
    .map(({ name }) => name);
}

/** In edits. The beginning of a name, and two letters in the wrong order, count as one. */
function distanceOf(wanted: string, name: string, maxDistance: number): number {
  if (wanted.length >= MIN_PREFIX_LENGTH && name.startsWith(wanted)) return 1;
  const distance = leven(wanted, name, { maxDistance: Math.max(3, maxDistance + 1) });
  return distance === 2 && lettersOf(wanted) === lettersOf(name) ? 1 : distance;
}

function lettersOf(text: string): string {
  return Array.from(text).toSorted().join("");
}

/** The caller whose request this serves. */
interface Requester {
  caller: Caller;
  requestId: string;
}

/** Ids of tools that callers name by id or slug. */
export interface ToolLookup {
  /**
   * An id is taken as it is, whether or not there is such a tool; a slug is looked up in the graph as the caller.
   * @throws ToolyardError NOT_FOUND, with the slugs that are close; UNAUTHENTICATED, FORBIDDEN
   */
  idOf(requester: Requester, reference: string): Promise<string>;
  /** As `idOf`; undefined when no tool is named. */
  idOrNone(requester: Requester, reference: string | null | undefined): Promise<string | undefined>;
}

const QUERY = `query ToolByReference($id: ID!) { tool(id: $id) { id } }`;

export function createToolLookup({ graph }: { graph: GraphClient }): ToolLookup {
  async function idOf({ caller, requestId }: Requester, reference: string): Promise<string> {
    if (isId(reference)) return reference;
    caller.require("tool:read");
    const variables = { id: reference };
    const answer = await graph.query<{ tool: { id: string } | null }>({
      query: QUERY,
      variables,
      as: caller,
      requestId,
    });
    if (!answer.tool) throw notFound("tool", reference);
    return answer.tool.id;
  }
  return {
    idOf,
    idOrNone: async (requester, reference) => (reference == null ? undefined : idOf(requester, reference)),
  };
}
