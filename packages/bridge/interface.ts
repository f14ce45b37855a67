import { isObject } from "@toolyard/service-kit/json.ts";
import { code } from "./protocol/json-rpc.ts";

/** Where a bridge answers GET with an InterfaceReading of its server. */
export const INTERFACE_PATH = "/interface";

type Item = Record<string, unknown>;

/** The offer of a server to a client that declares no capabilities. */
export interface InterfaceReading {
  instructions: string | null;
  /** As its lists say, all pages; null: not known. */
  tools: Item[] | null;
  prompts: Item[] | null;
  resources: Item[] | null;
  resourceTemplates: Item[] | null;
  /** Why lists are not known, in sentences without words of the server. */
  problems: string[];
  /** The result of `server/discover` for callers of revision 2026-07-28. Without it, nothing is known of how they are served. */
  discovered?: Record<string, unknown> | undefined;
}

export type ListName = Exclude<keyof InterfaceReading, "instructions" | "problems" | "discovered">;

interface ListKind {
  name: ListName;
  method: string;
  /** Servers without it are not asked: some end at an unknown method. */
  capability: string;
  /** Of all pages. */
  maxBytes: number;
}

const KIB = 1_024;
const LISTS: readonly ListKind[] = [
  { name: "tools", method: "tools/list", capability: "tools", maxBytes: 1_024 * KIB },
  { name: "prompts", method: "prompts/list", capability: "prompts", maxBytes: 256 * KIB },
  { name: "resources", method: "resources/list", capability: "resources", maxBytes: 256 * KIB },
  { name: "resourceTemplates", method: "resources/templates/list", capability: "resources", maxBytes: 256 * KIB },
];
const MAX_PAGES = 100;
const MAX_INSTRUCTIONS = 64 * KIB;

/** A server's answer to one request. */
export interface ListAnswer {
  result?: unknown;
  error?: { code: number } | undefined;
  /** Of its text. */
  bytes: number;
}

/** Reads all lists, one request after the other: some servers do one thing at a time. `ask` throws when no answer comes. */
export async function readInterface(options: {
  capabilities: Record<string, unknown>;
  instructions: unknown;
  ask: (method: string, params: { cursor?: string }) => Promise<ListAnswer>;
}): Promise<InterfaceReading> {
  const { capabilities, instructions, ask } = options;
  const problems: string[] = [];
  const read = async (kind: ListKind): Promise<Item[] | null> => {
    if (!capabilities[kind.capability]) return [];
    const found = await readList(kind, ask);
    if (typeof found !== "string") return found;
    problems.push(`${kind.method} ${found}.`);
    return null;
  };
  const lists: Partial<Record<ListName, Item[] | null>> = {};
  for (const kind of LISTS) lists[kind.name] = await read(kind);
  const { tools = null, prompts = null, resources = null, resourceTemplates = null } = lists;
  const text = typeof instructions === "string" ? instructions.slice(0, MAX_INSTRUCTIONS) : null;
  return { instructions: text, tools, prompts, resources, resourceTemplates, problems };
}

/** The items, or why they are not known: the rest of a sentence. */
async function readList(
  { name, method, maxBytes }: ListKind,
  ask: (method: string, params: { cursor?: string }) => Promise<ListAnswer>,
): Promise<Item[] | string> {
  const items: Item[] = [];
  let bytes = 0;
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    let answer: ListAnswer;
    try {
      answer = await ask(method, cursor === undefined ? {} : { cursor });
    } catch {
      return "was not answered";
    }
    const { result, error } = answer;
    // Of those that offer resources, many know no templates.
    if (error?.code === code.methodNotFound) return [];
    const found = isObject(result) ? result[name] : undefined;
    if (!isObject(result) || !Array.isArray(found))
      return error === undefined ? "was answered with no list" : "was answered with an error";
    bytes += answer.bytes;
    if (bytes > maxBytes) return `is longer than ${maxBytes / KIB} KiB`;
    for (const item of found as unknown[]) if (isObject(item)) items.push(item);
    if (typeof result.nextCursor !== "string") return items;
    cursor = result.nextCursor;
  }
  return `has more than ${MAX_PAGES} pages`;
}
