import { createHash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import type { InterfaceReading, ListName } from "@toolyard/bridge/interface.ts";
import { isObject } from "@toolyard/service-kit/json.ts";
import type { SecretMask } from "@toolyard/service-kit/secret-mask.ts";
import canonicalize from "canonicalize";

type Item = Record<string, unknown>;

/** What a server offers, known secrets hidden. */
export interface InterfaceSnapshot {
  content: InterfaceReading;
  /** SHA-256, hexadecimal: equal for interfaces that differ in the order of items and of members alone. */
  hash: string;
  /** The same of the tools; null where they are not known. */
  toolsHash: string | null;
}

/** The member that tells the items of each list apart. */
export const ITEM_KEYS: Readonly<Record<ListName, "name" | "uri" | "uriTemplate">> = {
  tools: "name",
  prompts: "name",
  resources: "uri",
  resourceTemplates: "uriTemplate",
};
export const LIST_NAMES = Object.keys(ITEM_KEYS) as ListName[]; // as written above

/** Of an item's objects and lists in one another. */
const MAX_DEPTH = 64;
/** JSON Schema's keywords whose lists are sets (2020-12, 6.1.1 and 6.5.3): some servers print them in another order each time. */
const SETS: ReadonlySet<string> = new Set(["required", "type"]);

/** Yields to the event loop between items. */
export async function toSnapshot(reading: InterfaceReading, mask: SecretMask): Promise<InterfaceSnapshot> {
  const { instructions } = reading;
  const problems = [...reading.problems];
  const lists: Partial<Record<ListName, Item[] | null>> = {};
  for (const name of LIST_NAMES) {
    const items = reading[name];
    const isTooDeep = items?.some((item) => isDeeper(item, MAX_DEPTH)) ?? false;
    if (isTooDeep) problems.push(`The ${name} are described by values that are nested too deeply.`);
    lists[name] = items === null || isTooDeep ? null : await masked(items, mask);
  }
  const { tools = null, prompts = null, resources = null, resourceTemplates = null } = lists;
  const hidden = instructions === null ? null : mask.text(instructions);
  const discovered = reading.discovered && !isDeeper(reading.discovered, MAX_DEPTH) && mask.json(reading.discovered);
  return hashed({
    instructions: hidden,
    tools,
    prompts,
    resources,
    resourceTemplates,
    problems,
    ...(discovered && { discovered }),
  });
}

/** The newer one, with lists that it does not know as they were before. */
export async function completed(
  { content: before }: InterfaceSnapshot,
  { content }: InterfaceSnapshot,
): Promise<InterfaceSnapshot> {
  const lists = LIST_NAMES.map((name) => [name, content[name] ?? before[name]] as const);
  return hashed({ ...content, ...Object.fromEntries(lists) });
}

/** Equal where a caller of revision 2026-07-28 would be told the same; null where that is not known. */
export function offerHash({ content, hash }: Pick<InterfaceSnapshot, "content" | "hash">): string | null {
  return content.discovered === undefined ? null : sha256(`${hash} ${canonical(content.discovered)}`);
}

/** A value in the one form that all its equals have. */
export function normal(value: unknown): unknown {
  // What JSON cannot print, though it can be read: 1e999.
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (Array.isArray(value)) return value.map(normal);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => {
      const isSet = SETS.has(key) && Array.isArray(member) && member.every((each) => typeof each === "string");
      return [key, isSet ? member.toSorted() : normal(member)];
    }),
  );
}

export function canonical(value: unknown): string {
  return canonicalize(normal(value)) ?? "";
}

async function masked(items: readonly Item[], mask: SecretMask): Promise<Item[]> {
  const found: Item[] = [];
  for (const item of items) {
    found.push(mask.json(item));
    await turn();
  }
  return found;
}

async function hashed(content: InterfaceReading): Promise<InterfaceSnapshot> {
  const hashes: (string | null)[] = [];
  for (const name of LIST_NAMES) {
    const texts: string[] = [];
    for (const item of content[name] ?? []) {
      texts.push(canonical(item));
      await turn();
    }
    hashes.push(content[name] === null ? null : sha256(JSON.stringify(texts.toSorted())));
  }
  const [toolsHash = null] = hashes;
  return { content, hash: sha256(JSON.stringify([content.instructions, ...hashes])), toolsHash };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (levels === 0) return true;
  return Object.values(value).some((member) => isDeeper(member, levels - 1));
}
