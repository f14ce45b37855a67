import {
  getOperationAST,
  isObjectType,
  Kind,
  parse,
  print,
  visit,
  type DocumentNode,
  type GraphQLSchema,
  type SelectionNode,
  type SelectionSetNode,
} from "graphql";
import type { PathSegment, PlanNode, RequiresSelection, RewriteSegment } from "./query-plan.ts";
import type { PlannerCore, PlanRequest } from "./query-planner.ts";
import { createResolution, fieldOf, type Held, type Option, type Wanted } from "./resolution.ts";
import {
  createSelections,
  fragmentOf,
  planNodesOf,
  type Draft,
  type DraftOptions,
  type Selections,
} from "./stepwise-requests.ts";
import type { SubgraphTypes } from "../schema/subgraph-types.ts";
import type { Supergraph } from "../schema/supergraph.ts";

export interface StepwisePlannerOptions {
  supergraph: Supergraph;
  types: SubgraphTypes;
  /** The whole graph's, without types and fields that no answer may have. */
  schema: GraphQLSchema;
}

/** Objects of one type at one place of the data, and the requests that bring them. */
interface Place {
  path: PathSegment[];
  typeName: string;
  /** The level of the requests that bring the objects, and the fields needed to tell their type. */
  level: number;
  origins: Origin[];
  /** Fields fetched for keys and requirements, by their identity. */
  obtained: Map<string, { key: string; level: number }>;
  /** Requests made for fields with requirements, by the requirement. */
  requiring: Map<string, Origin>;
}

/** A request that has the objects of a place, where more can be asked of them. */
interface Origin extends Held {
  draft: Draft;
  selections: Selections;
  rewritePath: RewriteSegment[];
  /** A prefix of keys for fields asked of objects of one of several types: a selection may have each key for one field only. */
  prefix: string;
  /** Whether only fields that no client sees may be asked here: objects are not told apart by their types. */
  isForKeysOnly: boolean;
}

/**
 * Makes plans that are right rather than good: field by field, type by type, from a subgraph at hand first, else an entity by
 * its nearest key. Fields for keys and `@requires` are fetched for each need under a key of their own, and never for the client as well;
 * fields asked of several types have a key for each. So nothing can be mixed up, and every request is valid.
 */
export function createStepwisePlanner(options: StepwisePlannerOptions): PlannerCore {
  return {
    plan(request) {
      const document = parse(request.operation, { noLocation: true });
      const operation = getOperationAST(document, request.operationName);
      if (!operation) throw new Error("There is no such operation.");
      const prefix = unusedPrefix(document);
      const drafts = createDrafts(options, request, prefix);
      const { variableDefinitions = [] } = operation;
      const nodes = drafts
        .of(operation.operation, operation.selectionSet)
        .flatMap((turn) => inLayers(turn, { variableDefinitions, prefix }));
      return { node: nodes.length > 1 ? { kind: "Sequence", nodes } : (nodes[0] ?? null) };
    },
  };
}

function inLayers(drafts: readonly Draft[], options: DraftOptions): PlanNode[] {
  return [...Map.groupBy(drafts, ({ level }) => level)]
    .sort(([a], [b]) => a - b)
    .map(([, layer]) => planNodesOf(layer, options))
    .flatMap((nodes): PlanNode[] => (nodes.length > 1 ? [{ kind: "Parallel", nodes }] : nodes));
}

/** A prefix that no key and no variable of an operation has. */
function unusedPrefix(document: DocumentNode): string {
  const names = new Set<string>();
  visit(document, { Name: ({ value }) => void names.add(value) });
  let prefix = "_p";
  while ([...names].some((name) => name.startsWith(prefix))) prefix += "_";
  return prefix;
}

function createDrafts({ supergraph, types, schema }: StepwisePlannerOptions, request: PlanRequest, prefix: string) {
  const queryType = schema.getQueryType()?.name ?? "Query";
  const resolution = createResolution({
    supergraph,
    types,
    queryType,
    isVisible: (objectType) => isObjectType(schema.getType(objectType)),
    request,
  });
  let drafts: Draft[] = [];
  let count = 0;
  const isPrivate = (key: string) => key.startsWith(prefix);

  function createDraft(draft: Omit<Draft, "selections" | "outputRewrites">): Draft {
    const created = { ...draft, selections: createSelections(), outputRewrites: [] };
    drafts.push(created);
    return created;
  }

  function createPlace(path: PathSegment[], typeName: string, level: number, origins: Origin[]): Place {
    return { path, typeName, level, origins, obtained: new Map(), requiring: new Map() };
  }

  function originOf(draft: Draft, selections: Selections, more: Partial<Origin> = {}): Origin {
    const { subgraph } = draft;
    return { draft, subgraph, selections, provided: [], rewritePath: [], prefix: "", isForKeysOnly: false, ...more };
  }

  /** @returns from which level on the field is there, with all that is below it */
  function resolve(place: Place, wanted: Wanted, within?: ReadonlySet<string>): number {
    const { typeName } = place;
    const held = place.origins.filter(({ isForKeysOnly }) => !isForKeysOnly || isPrivate(wanted.key));
    const options = resolution.optionsFor(held, typeName, wanted.name, within);
    if (!wanted.selectionSet) {
      const [option] = options;
      return option ? addField(place, open(place, option, wanted, within), wanted, null) : place.level;
    }
    const splitBy = (option: Option, selectionSet: SelectionSetNode) => {
      const { namedType, ...inner } = resolution.below(held, typeName, wanted.name, option.subgraph);
      return resolution.split(inner, namedType, selectionSet);
    };
    const whole = options.find((option) => !splitBy(option, wanted.selectionSet as SelectionSetNode).rest);
    let level = place.level;
    let rest: SelectionSetNode | null = wanted.selectionSet;
    for (const option of whole ? [whole] : options) {
      if (!rest) break;
      const part = splitBy(option, rest);
      // Several subgraphs have a part each of a value that is no entity.
      if (!part.now) continue;
      level = Math.max(level, addField(place, open(place, option, wanted, within), wanted, part.now));
      rest = part.rest;
    }
    return level;
  }

  /** Where a subgraph can be asked for a field of a place's objects. */
  function open(place: Place, option: Option, { key }: Wanted, within?: ReadonlySet<string>): Origin {
    const { subgraph, requires } = option;
    if (requires) {
      const need = `${subgraph} ${print(requires)}`;
      const known = place.requiring.get(need);
      if (known) return known;
      const keys = resolution.keyWith(place.origins, place.typeName, option, within);
      if (!keys) throw new Error(`The subgraph "${subgraph}" has no key for ${place.typeName}.`);
      const origin = enter(place, subgraph, keys, within);
      place.requiring.set(need, origin);
      return origin;
    }
    const own = place.origins.find(
      (origin) => origin.subgraph === subgraph && (!origin.isForKeysOnly || isPrivate(key)),
    );
    if (own) return own;
    const held = place.origins;
    const entries = [...resolution.entries(held, place.typeName)];
    const position = entries.findIndex(([name]) => name === subgraph);
    const nearer = new Set(entries.slice(0, position).map(([name]) => name));
    const isRoot = place.typeName === queryType;
    const keys =
      entries[position]?.[1] ??
      (isRoot ? null : resolution.keyWith(held, place.typeName, { subgraph, requires: null }));
    if (keys === undefined) throw new Error(`The subgraph "${subgraph}" has no key for ${place.typeName}.`);
    const origin = enter(place, subgraph, keys, nearer);
    place.origins.push(origin);
    return origin;
  }

  /** A request for a place's objects as entities, or (without keys) for root fields there. */
  function enter(place: Place, subgraph: string, keys: SelectionSetNode | null, within?: ReadonlySet<string>): Origin {
    const { path, typeName } = place;
    const level = path.length === 0 ? 0 : place.level + 1;
    if (!keys) {
      const draft = createDraft({ subgraph, kind: "query", level, path, entity: null });
      return originOf(draft, draft.selections);
    }
    const name = types.nameIn(subgraph, typeName) ?? typeName;
    const obtained = obtain(place, keys, subgraph, within);
    const isRenamed = name !== typeName || types.isInterfaceObject(subgraph, name);
    const draft = createDraft({
      subgraph,
      kind: "query",
      level: Math.max(level, obtained.level + 1),
      path,
      entity: {
        typeName: name,
        requires: [
          {
            kind: "InlineFragment",
            typeCondition: typeName,
            skipIf: null,
            includeIf: null,
            selections: obtained.selections,
          },
        ],
        inputRewrites: isRenamed ? [{ kind: "SetValue", path: [{ kind: "Key", key: "__typename" }], value: name }] : [],
      },
    });
    draft.selections.fields.set("__typename", typeNameSelection);
    return originOf(draft, fragmentOf(draft.selections, name));
  }

  /** Fetches the fields of a representation. */
  function obtain(place: Place, selectionSet: SelectionSetNode, subgraph: string, within?: ReadonlySet<string>) {
    const selections: RequiresSelection[] = [typeNameRequired];
    let level = place.level;
    for (const wanted of resolution.wantedOf(selectionSet, place.typeName)) {
      const what = print(fieldOf(wanted));
      let known = place.obtained.get(what);
      if (!known) {
        const key = `${prefix}${count++}_${wanted.name}`;
        known = { key, level: resolve(place, { ...wanted, key }, within) };
        place.obtained.set(what, known);
      }
      level = Math.max(level, known.level);
      const field = types.field(subgraph, types.nameIn(subgraph, place.typeName) ?? place.typeName, wanted.name);
      selections.push({
        kind: "Field",
        name: known.key,
        alias: wanted.name,
        selections: wanted.selectionSet && requiredSelections(wanted.selectionSet, subgraph, field?.namedType ?? ""),
      });
    }
    return { selections, level };
  }

  function requiredSelections(
    { selections }: SelectionSetNode,
    subgraph: string,
    typeName: string,
  ): RequiresSelection[] {
    const isAbstract = types.possibleTypes(subgraph, typeName) !== undefined;
    return [
      ...(isAbstract ? [typeNameRequired] : []),
      ...selections.flatMap((selection): RequiresSelection[] => {
        if (selection.kind === Kind.FRAGMENT_SPREAD) return [];
        if (selection.kind === Kind.INLINE_FRAGMENT) {
          const typeCondition = selection.typeCondition?.name.value ?? null;
          const inner = requiredSelections(selection.selectionSet, subgraph, typeCondition ?? typeName);
          return [{ kind: "InlineFragment", typeCondition, skipIf: null, includeIf: null, selections: inner }];
        }
        const name = selection.name.value;
        if (name === "__typename") return [typeNameRequired];
        const below = types.field(subgraph, typeName, name)?.namedType ?? "";
        const inner = selection.selectionSet && requiredSelections(selection.selectionSet, subgraph, below);
        return [{ kind: "Field", name, alias: null, selections: inner ?? null }];
      }),
    ];
  }

  function addField(place: Place, origin: Origin, wanted: Wanted, part: SelectionSetNode | null): number {
    const { key, name, args, directives } = wanted;
    const { draft, selections, rewritePath } = origin;
    const alias = isPrivate(key) ? key : `${origin.prefix}${key}`;
    let field = selections.fields.get(alias);
    if (!field) {
      field = { name, args, directives, inner: part && createSelections() };
      selections.fields.set(alias, field);
      if (alias !== key)
        draft.outputRewrites.push({ kind: "RenameKey", path: [...rewritePath, { kind: "Key", key: alias }], to: key });
    }
    if (!part || !field.inner) return draft.level;
    const { namedType, ...held } = resolution.below([origin], place.typeName, name, origin.subgraph);
    return fill(
      {
        ...origin,
        ...held,
        selections: field.inner,
        rewritePath: [...rewritePath, { kind: "Key", key }],
        prefix: "",
        isForKeysOnly: false,
      },
      [...place.path, { kind: "Field", key }],
      namedType,
      part,
    );
  }

  /** Asks for the wanted fields of the objects that a field has in a subgraph. */
  function fill(origin: Origin, path: PathSegment[], namedType: string, selectionSet: SelectionSetNode): number {
    const { subgraph, selections, draft, rewritePath } = origin;
    selections.fields.set("__typename", typeNameSelection);
    if (types.isInterfaceObject(subgraph, namedType)) return fillUntyped(origin, path, namedType, selectionSet);
    if (!types.possibleTypes(subgraph, namedType))
      return resolveAll(createPlace(path, namedType, draft.level, [origin]), selectionSet);
    const { common, rest } = resolution.splitCommon(origin, namedType, selectionSet);
    const place = createPlace(path, namedType, draft.level, [origin]);
    let level = draft.level;
    for (const wanted of common) level = Math.max(level, resolve(place, wanted));
    const objectTypes = resolution
      .objectTypesIn(subgraph, namedType)
      .filter((objectType) => resolution.wantedOf(rest, objectType).length > 0);
    for (const untyped of types.interfaceObjects(subgraph, namedType)) {
      const segment: PathSegment & RewriteSegment = { kind: "Types", names: [untyped] };
      const own = {
        ...origin,
        selections: fragmentOf(selections, untyped),
        rewritePath: [...rewritePath, segment],
        prefix: `${prefix}t${count++}_`,
      };
      level = Math.max(level, fillUntyped(own, [...path, segment], untyped, rest));
    }
    for (const objectType of objectTypes) {
      const segment: PathSegment & RewriteSegment = { kind: "Types", names: [objectType] };
      const typed = {
        ...origin,
        selections: fragmentOf(selections, objectType),
        rewritePath: [...rewritePath, segment],
        prefix: objectTypes.length > 1 ? `${prefix}t${count++}_` : "",
      };
      level = Math.max(level, resolveAll(createPlace([...path, segment], objectType, draft.level, [typed]), rest));
    }
    return level;
  }

  /** The same of objects that a subgraph knows by their interface only. */
  function fillUntyped(origin: Origin, path: PathSegment[], namedType: string, selectionSet: SelectionSetNode): number {
    const { draft } = origin;
    const { untyped, typed } = resolution.splitUntyped(origin, namedType, selectionSet);
    const place = createPlace(path, namedType, draft.level, [origin]);
    let level = draft.level;
    for (const wanted of untyped) level = Math.max(level, resolve(place, wanted));
    const source = typed && resolution.typeSource([origin], namedType);
    if (!typed || source === undefined || source === null) return level;
    const keys = resolution.keyWith([origin], namedType, { subgraph: source, requires: null });
    if (!keys) return level;
    const telling = enter(place, source, keys);
    const { selections } = telling;
    selections.fields.set("__typename", typeNameSelection);
    level = Math.max(level, telling.draft.level);
    const asked = { ...origin, isForKeysOnly: true };
    for (const objectType of resolution.objectTypesIn(source, namedType)) {
      const segment: PathSegment & RewriteSegment = { kind: "Types", names: [objectType] };
      const typedOrigin = originOf(telling.draft, fragmentOf(selections, objectType), {
        rewritePath: [segment],
        prefix: `${prefix}t${count++}_`,
      });
      const typedPlace = createPlace([...path, segment], objectType, telling.draft.level, [typedOrigin, asked]);
      level = Math.max(level, resolveAll(typedPlace, typed));
    }
    return level;
  }

  function resolveAll(place: Place, selectionSet: SelectionSetNode): number {
    let level = place.level;
    for (const wanted of resolution.wantedOf(selectionSet, place.typeName))
      level = Math.max(level, resolve(place, wanted));
    return level;
  }

  function take(): Draft[] {
    const taken = drafts;
    drafts = [];
    return taken;
  }

  /** A field that may be asked for once, from a subgraph that has all of it. */
  function startOnce(kind: "mutation" | "subscription", typeName: string, wanted: Wanted): Draft[] {
    const { name, selectionSet } = wanted;
    const homes = types.subgraphs.filter((subgraph) => types.hasType(subgraph, typeName));
    const place = createPlace([], typeName, 0, []);
    const held = homes.map((subgraph): Held => ({ subgraph, provided: [] }));
    const options = resolution.optionsFor(held, typeName, name).filter(({ requires }) => !requires);
    const option = options.find(({ subgraph }) => {
      const { namedType, ...inner } = resolution.below(held, typeName, name, subgraph);
      return !selectionSet || !resolution.split(inner, namedType, selectionSet).rest;
    });
    if (!option) throw new Error(`No subgraph answers ${typeName}.${name} as it is asked for.`);
    const draft = createDraft({ subgraph: option.subgraph, kind, level: 0, path: [], entity: null });
    addField(place, originOf(draft, draft.selections), wanted, selectionSet);
    return take();
  }

  return {
    /** The requests of an operation, in groups one after the other. */
    of(kind: Draft["kind"], selectionSet: SelectionSetNode): Draft[][] {
      const typeName = schema.getRootType(kind as never)?.name ?? queryType;
      const all = resolution.wantedOf(selectionSet, typeName);
      if (kind !== "query") return all.map((wanted) => startOnce(kind, typeName, wanted));
      const root = { subgraph: "", provided: [] };
      const [lacking] = resolution.split(root, queryType, selectionSet).rest?.selections ?? [];
      if (lacking) throw new Error(`No subgraph answers ${describe(lacking)} as it is asked for.`);
      resolveAll(createPlace([], queryType, 0, []), selectionSet);
      return [take()];
    },
  };
}

function describe(selection: SelectionNode): string {
  const [line = ""] = print(selection).split("\n").slice(1, 2);
  return line.trim().replace(/\s*\{$/, "");
}

const typeNameSelection = { name: "__typename", args: [], directives: [], inner: null };
const typeNameRequired: RequiresSelection = { kind: "Field", name: "__typename", alias: null, selections: null };
