import type { Problem } from "@toolyard/service-kit";
import { isObject } from "@toolyard/service-kit/json.ts";
import { messageOf } from "@toolyard/service-kit/errors/errors.ts";
import { formats } from "./formats.ts";
import { createLinearPattern } from "./linear-pattern.ts";

const DIALECT = "https://json-schema.org/draft/2020-12/schema";

/** Where a keyword's value holds schemas: one, one or a list of them, by name. */
const SUBSCHEMAS: Record<string, "one" | "list" | "named"> = {
  additionalProperties: "one",
  contains: "one",
  contentSchema: "one",
  else: "one",
  if: "one",
  items: "one",
  not: "one",
  propertyNames: "one",
  then: "one",
  unevaluatedItems: "one",
  unevaluatedProperties: "one",
  allOf: "list",
  anyOf: "list",
  oneOf: "list",
  prefixItems: "list",
  $defs: "named",
  definitions: "named",
  dependentSchemas: "named",
  patternProperties: "named",
  properties: "named",
};

/** Those of them that are about the value itself, not about something in it. */
const IN_PLACE = new Set(["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"]);

const OTHER_KEYWORDS = new Set(
  (
    "$schema $id $anchor $ref $comment type const enum multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength " +
    "minLength pattern maxItems minItems uniqueItems maxContains minContains maxProperties minProperties required " +
    "dependentRequired title description default deprecated readOnly writeOnly examples format contentEncoding contentMediaType"
  ).split(" "),
);

const MAX_SUBSCHEMAS = 1_000;
const MAX_ENUM = 500;
/** Schemas that one value may have to be checked against, by references and combinations. */
const MAX_CHECKS = 10_000;

interface Place {
  schema: Record<string, unknown>;
  /** Keywords, names and indices from the root. */
  path: string[];
  /** Places of schemas about the same value, in `places`. */
  inPlace: string[];
  refs: string[];
}

/**
 * What keeps a schema from being used: it says what is not understood, so that it would not mean what its author thinks, or asks for
 * more work than a configuration takes. The schema is JSON of bounded size and depth; whether each keyword's value is of the right kind
 * is checked by the meta-schema afterwards.
 */
export function problemsOfSchema(root: Record<string, unknown>, at: string): Problem[] {
  const problems: Problem[] = [];
  const places = new Map<string, Place>();
  const anchors = new Map<string, string>();
  const report = (path: readonly string[], message: string) =>
    problems.push({ path: [at, ...path].join("."), message });

  function visit(schema: unknown, path: string[]): void {
    // Booleans are schemas; the meta-schema refuses what is none.
    if (!isObject(schema)) return;
    const place: Place = { schema, path, inPlace: [], refs: [] };
    places.set(keyOf(path), place);
    if (places.size > MAX_SUBSCHEMAS) return;
    for (const [keyword, value] of Object.entries(schema)) {
      const kind = SUBSCHEMAS[keyword];
      if (kind !== undefined && Object.hasOwn(SUBSCHEMAS, keyword)) {
        for (const [child, rest] of childrenOf(kind, value)) {
          const childPath = [...path, keyword, ...rest];
          if (IN_PLACE.has(keyword)) place.inPlace.push(keyOf(childPath));
          visit(child, childPath);
        }
        if (keyword === "patternProperties" && isObject(value))
          for (const pattern of Object.keys(value)) checkPattern(pattern, [...path, keyword, pattern]);
      } else if (OTHER_KEYWORDS.has(keyword)) checkKeyword(place, keyword, value);
      else if (!keyword.startsWith("x-")) {
        report(
          [...path, keyword],
          `is not a keyword that is supported here (JSON Schema 2020-12): leave it out, or name it "x-${keyword}"`,
        );
      }
    }
  }

  function checkPattern(pattern: string, path: readonly string[]): void {
    try {
      createLinearPattern(pattern);
    } catch (error) {
      report(path, `is ${messageOf(error)}`);
    }
  }

  function checkKeyword(place: Place, keyword: string, value: unknown): void {
    const path = [...place.path, keyword];
    const isRoot = place.path.length === 0;
    if (keyword === "$schema" && (!isRoot || typeof value !== "string" || value.replace(/#$/, "") !== DIALECT))
      report(path, `must be ${DIALECT}, at the root only`);
    if (keyword === "$id" && (!isRoot || typeof value !== "string" || value.includes("#")))
      report(path, "must be an address without #, at the root only");
    if (keyword === "pattern" && typeof value === "string") checkPattern(value, path);
    if (keyword === "format" && (typeof value !== "string" || !Object.hasOwn(formats, value)))
      report(path, `is not a supported format: one of ${Object.keys(formats).join(", ")}`);
    if (keyword === "enum" && Array.isArray(value) && value.length > MAX_ENUM)
      report(path, `has too many values: at most ${MAX_ENUM}`);
    if (keyword === "$anchor" && typeof value === "string") {
      if (anchors.has(value)) report(path, "is the name of another schema, too");
      anchors.set(value, keyOf(place.path));
    }
    if (keyword === "$ref" && typeof value === "string") place.refs.push(value);
  }

  visit(root, []);
  if (places.size > MAX_SUBSCHEMAS) report([], `has too many schemas in it: at most ${MAX_SUBSCHEMAS}`);
  for (const place of places.values()) {
    for (const ref of place.refs) {
      const target = targetOf(ref, typeof root["$id"] === "string" ? root["$id"] : null, anchors);
      // Elsewhere, as within `default` or `x-…`, nothing was looked at.
      if (target === null || !places.has(target))
        report(
          [...place.path, "$ref"],
          "must lead to a schema in this schema, as #/$defs/name does: can't resolve reference",
        );
      else place.inPlace.push(target);
    }
  }
  if (problems.length === 0) {
    const checks = createCheckCounter(places);
    for (const [key, place] of places) {
      const count = checks(key);
      if (count === Number.POSITIVE_INFINITY)
        report(place.path, "leads back to itself for the same value, so it has no end");
      else if (count > MAX_CHECKS) report(place.path, `takes too many checks of one value: at most ${MAX_CHECKS}`);
      if (problems.length > 0) break;
    }
  }
  return problems;
}

/** How many schemas a value of each place is checked against; infinite where that has no end. */
function createCheckCounter(places: ReadonlyMap<string, Place>): (key: string) => number {
  const counts = new Map<string, number>();
  const count = (key: string): number => {
    const known = counts.get(key);
    if (known !== undefined) return known;
    // Until it is known: who comes back here does so for ever.
    counts.set(key, Number.POSITIVE_INFINITY);
    const total = (places.get(key)?.inPlace ?? []).reduce((sum, other) => sum + count(other), 1);
    counts.set(key, total);
    return total;
  };
  return count;
}

function childrenOf(kind: "one" | "list" | "named", value: unknown): [child: unknown, path: string[]][] {
  if (kind === "one") return [[value, []]];
  if (kind === "list")
    return Array.isArray(value) ? value.map((child: unknown, index) => [child, [String(index)]]) : [];
  return isObject(value) ? Object.entries(value).map(([name, child]) => [child, [name]]) : [];
}

/** The key of the place that a reference leads to; null when it leads out of the schema. */
function targetOf(ref: string, id: string | null, anchors: ReadonlyMap<string, string>): string | null {
  const hash = ref.indexOf("#");
  const address = hash === -1 ? ref : ref.slice(0, hash);
  if (address !== "" && address !== id) return null;
  let fragment: string;
  try {
    fragment = hash === -1 ? "" : decodeURIComponent(ref.slice(hash + 1));
  } catch {
    return null;
  }
  if (fragment === "") return keyOf([]);
  if (!fragment.startsWith("/")) return anchors.get(fragment) ?? null;
  // RFC 6901.
  return keyOf(
    fragment
      .slice(1)
      .split("/")
      .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~")),
  );
}

function keyOf(path: readonly string[]): string {
  return JSON.stringify(path);
}
