import { isObject } from "@toolyard/service-kit/json.ts";
/**
 * The parts of a value that its JSON Schema (2020-12) allows to be shown: `writeOnly` values are secrets. A value is shown only where
 * no schema with `writeOnly` can apply to it, by any keyword. Where that cannot be decided, the value is hidden.
 */
export interface WriteOnly {
  /** The value, with null in place of each part that must not be shown. */
  shown(value: unknown): unknown;
  /** Whether the value of `${config.key}` may be or hold a part that must not be shown. */
  hides(key: string): boolean;
}

/** Keywords that apply no schema. */
const HARMLESS = new Set(
  (
    "$schema $id $anchor $dynamicAnchor $comment $defs $vocabulary definitions title description default deprecated " +
    "readOnly writeOnly examples type enum const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum maxLength " +
    "minLength pattern maxItems minItems uniqueItems maxContains minContains maxProperties minProperties required " +
    "dependentRequired format contentEncoding contentMediaType"
  ).split(" "),
);
/** Keywords whose schemas apply to the value itself. A schema of a part of a text counts as one of the whole text. */
const IN_PLACE = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "contentSchema"];
/** Keywords whose schemas apply to the value's members. */
const TO_PARTS = [
  "properties",
  "patternProperties",
  "additionalProperties",
  "unevaluatedProperties",
  "propertyNames",
  "prefixItems",
  "items",
  "unevaluatedItems",
  "contains",
];
const KNOWN = new Set([...HARMLESS, ...IN_PLACE, ...TO_PARTS, "$ref", "$dynamicRef"]);

type Schema = Record<string, unknown>;
/** All schemas that may apply to one place; null: one of them hides it, or is not understood. */
type Applying = ReadonlySet<Schema> | null;

export function createWriteOnly(root: unknown): WriteOnly {
  const anchors = new Map<string, unknown[]>();
  let nestedIds = false;
  visit(root, (schema) => {
    if (schema !== root && typeof schema["$id"] === "string") nestedIds = true;
    for (const name of [schema["$anchor"], schema["$dynamicAnchor"]])
      if (typeof name === "string") anchors.set(name, [...(anchors.get(name) ?? []), schema]);
  });
  /** For each schema, all schemas that apply where it applies. */
  const closures = new Map<unknown, Applying>();

  function referred(reference: unknown): unknown[] {
    // With an `$id` within, references mean other places below it: rare, and left alone.
    if (typeof reference !== "string" || nestedIds) return [];
    const base = isObject(root) && typeof root["$id"] === "string" ? root["$id"].replace(/#$/, "") : "";
    const fragment = decoded(base !== "" && reference.startsWith(base) ? reference.slice(base.length) : reference);
    if (fragment === null || (fragment !== "" && !fragment.startsWith("#"))) return [];
    if (fragment === "" || fragment === "#") return [root];
    return fragment.startsWith("#/") ? at(root, fragment.slice(2).split("/")) : (anchors.get(fragment.slice(1)) ?? []);
  }

  function closureOf(start: unknown): Applying {
    const known = closures.get(start);
    if (known !== undefined) return known;
    const applying = new Set<Schema>();
    const open: unknown[] = [start];
    let hidden = false;
    for (let schema = open.pop(); schema !== undefined && !hidden; schema = open.pop()) {
      if (typeof schema === "boolean") continue;
      if (!isObject(schema)) hidden = true;
      else if (!applying.has(schema)) {
        applying.add(schema);
        hidden = isOwn(schema, "writeOnly") && schema["writeOnly"] !== false;
        if (!Object.keys(schema).every((keyword) => KNOWN.has(keyword))) hidden = true;
        for (const keyword of IN_PLACE) if (isOwn(schema, keyword)) open.push(...schemasIn(schema[keyword], keyword));
        for (const keyword of ["$ref", "$dynamicRef"]) {
          if (!isOwn(schema, keyword)) continue;
          const targets = referred(schema[keyword]);
          if (targets.length === 0) hidden = true;
          open.push(...targets);
        }
      }
    }
    const closure = hidden ? null : applying;
    closures.set(start, closure);
    return closure;
  }

  function together(schemas: readonly unknown[]): Applying {
    const all = new Set<Schema>();
    for (const schema of new Set(schemas)) {
      const closure = closureOf(schema);
      if (closure === null) return null;
      for (const one of closure) all.add(one);
    }
    return all;
  }

  function ofProperty(applying: ReadonlySet<Schema>, key: string): Applying {
    const found: unknown[] = [];
    for (const schema of applying) {
      const { properties } = schema;
      if (isObject(properties) && isOwn(properties, key)) found.push(properties[key]);
      else for (const keyword of ["additionalProperties", "unevaluatedProperties"]) pushOwn(found, schema, keyword);
      // Patterns are the user's own and are not run here: each may match.
      if (isOwn(schema, "patternProperties"))
        found.push(...schemasIn(schema["patternProperties"], "patternProperties"));
      pushOwn(found, schema, "propertyNames");
    }
    return together(found);
  }

  function ofItem(applying: ReadonlySet<Schema>, index: number): Applying {
    const found: unknown[] = [];
    for (const schema of applying) {
      const { prefixItems } = schema;
      if (Array.isArray(prefixItems) && index < prefixItems.length) found.push(prefixItems[index]);
      else for (const keyword of ["items", "unevaluatedItems"]) pushOwn(found, schema, keyword);
      pushOwn(found, schema, "contains");
    }
    return together(found);
  }

  function shown(applying: Applying, value: unknown): unknown {
    if (applying === null) return null;
    if (Array.isArray(value)) return value.map((item, index) => shown(ofItem(applying, index), item));
    if (!isObject(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, shown(ofProperty(applying, key), item)]),
    );
  }

  /** Whether anything at or below the place may be hidden. */
  function mayHide(applying: Applying): boolean {
    const seen = new Set<Schema>();
    const open = [applying];
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      if (place === null) return true;
      for (const schema of place) {
        if (seen.has(schema)) continue;
        seen.add(schema);
        for (const keyword of TO_PARTS)
          if (isOwn(schema, keyword)) open.push(...schemasIn(schema[keyword], keyword).map(closureOf));
      }
    }
    return false;
  }

  const top = (): Applying => (root == null ? new Set() : closureOf(root));
  return {
    shown: (value) => shown(top(), value),
    hides(key) {
      const applying = top();
      if (applying === null) return true;
      // The key itself, or a way along its dots.
      if (mayHide(ofProperty(applying, key))) return true;
      let place: Applying = applying;
      for (const part of key.split(".")) place = place && ofProperty(place, part);
      return mayHide(place);
    },
  };
}

/** The schemas that a keyword holds: one, a list, or those of a map. */
function schemasIn(value: unknown, keyword: string): unknown[] {
  if (Array.isArray(value)) return value;
  const isMap = ["properties", "patternProperties", "dependentSchemas"].includes(keyword);
  return isMap && isObject(value) ? Object.values(value) : [value];
}

function pushOwn(found: unknown[], schema: Schema, keyword: string): void {
  if (isOwn(schema, keyword)) found.push(schema[keyword]);
}

function at(root: unknown, pointer: readonly string[]): unknown[] {
  let place = root;
  for (const part of pointer.map((text) => text.replaceAll("~1", "/").replaceAll("~0", "~"))) {
    if (typeof place !== "object" || place === null || !Object.hasOwn(place, part)) return [];
    place = (place as Record<string, unknown>)[part];
  }
  return [place];
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null; // no URI: it refers to nothing
  }
}

function visit(value: unknown, see: (schema: Schema) => void): void {
  if (Array.isArray(value)) for (const item of value) visit(item, see);
  else if (isObject(value)) {
    see(value);
    for (const item of Object.values(value)) visit(item, see);
  }
}

function isOwn(schema: Schema, keyword: string): boolean {
  return Object.hasOwn(schema, keyword);
}
