import type { InterfaceReading, ListName } from "@toolyard/bridge/interface.ts";
import { isObject } from "@toolyard/service-kit/json.ts";
import { keptText } from "../usage/usage-record.ts";
import { canonical, ITEM_KEYS, LIST_NAMES, normal } from "./interface-snapshot.ts";

type ItemKind = "TOOL" | "PROMPT" | "RESOURCE" | "RESOURCE_TEMPLATE" | "INSTRUCTIONS";

/** An item of which two interfaces are not alike. */
interface ItemDifference {
  kind: ItemKind;
  /** A tool's or prompt's name, a resource's URI or template. */
  name: string;
  /** JSON Pointers (RFC 6901) to what changed in it. */
  paths: string[];
  /** Of a tool: its calls in the 30 days before. */
  calls30d: number | null;
}

export interface InterfaceDifference {
  added: ItemDifference[];
  removed: ItemDifference[];
  changed: ItemDifference[];
  /** Whether that is all: long lists are cut. */
  isWhole: boolean;
}

/** Of each of added, removed and changed items. */
export const MAX_ITEMS = 200;
const MAX_PATHS = 20;
const KINDS: Readonly<Record<ListName, ItemKind>> = {
  tools: "TOOL",
  prompts: "PROMPT",
  resources: "RESOURCE",
  resourceTemplates: "RESOURCE_TEMPLATE",
};

/**
 * How the interface `after` is not the one `before`, in lists that both know; null: they are alike.
 * @param callsOf How often each tool was called
 */
export function differenceOf(
  before: InterfaceReading,
  after: InterfaceReading,
  callsOf: ReadonlyMap<string, number>,
): InterfaceDifference | null {
  const found: InterfaceDifference = { added: [], removed: [], changed: [], isWhole: true };
  const note = (which: "added" | "removed" | "changed", kind: ItemKind, given: string, paths: string[] = []): void => {
    if (found[which].length === MAX_ITEMS) {
      found.isWhole = false;
      return;
    }
    const name = keptText(given);
    found[which].push({ kind, name, paths, calls30d: kind === "TOOL" ? (callsOf.get(name) ?? 0) : null });
  };
  if (before.instructions !== after.instructions) note("changed", "INSTRUCTIONS", "instructions");
  for (const list of LIST_NAMES) {
    const [was, is] = [before[list], after[list]];
    if (was === null || is === null) continue;
    const kind = KINDS[list];
    const old = byName(was, ITEM_KEYS[list]);
    const now = byName(is, ITEM_KEYS[list]);
    for (const [name, items] of now) {
      const earlier = old.get(name);
      if (earlier === undefined) note("added", kind, name);
      else if (textOf(items) !== textOf(earlier)) note("changed", kind, name, pathsOf(earlier, items));
    }
    for (const name of old.keys()) if (!now.has(name)) note("removed", kind, name);
  }
  const isNothing = found.added.length + found.removed.length + found.changed.length === 0;
  return isNothing ? null : found;
}

/** Some servers have several items of a name. */
function byName(items: readonly Record<string, unknown>[], key: string): Map<string, Record<string, unknown>[]> {
  return Map.groupBy(items, ({ [key]: name }) => (typeof name === "string" ? name : ""));
}

function textOf(items: readonly unknown[]): string {
  return JSON.stringify(items.map(canonical).toSorted());
}

function pathsOf([before]: readonly unknown[], [after]: readonly unknown[]): string[] {
  return [...changedPaths(normal(before), normal(after), "").take(MAX_PATHS)].map(keptText);
}

function* changedPaths(before: unknown, after: unknown, path: string): Generator<string, void, undefined> {
  if (Array.isArray(before) && Array.isArray(after)) {
    for (let at = 0; at < Math.max(before.length, after.length); at += 1)
      yield* changedPaths(before[at], after[at], `${path}/${at}`);
  } else if (isObject(before) && isObject(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)]))
      yield* changedPaths(
        Object.hasOwn(before, key) ? before[key] : undefined,
        Object.hasOwn(after, key) ? after[key] : undefined,
        `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`,
      );
  } else if (before !== after) yield path;
}
