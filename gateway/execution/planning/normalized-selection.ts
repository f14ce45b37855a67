import {
  doTypesOverlap,
  getNamedType,
  isCompositeType,
  isObjectType,
  isInterfaceType,
  isListType,
  isNonNullType,
  isUnionType,
  Kind,
  print,
  type ArgumentNode,
  type DirectiveNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  type GraphQLOutputType,
  type GraphQLSchema,
  type SelectionNode,
  type SelectionSetNode,
} from "graphql";
import { ToolyardError } from "@toolyard/service-kit";

export interface NormalizeOptions {
  schema: GraphQLSchema;
  rootType: GraphQLCompositeType;
  selectionSet: SelectionSetNode;
  fragments: ReadonlyMap<string, FragmentDefinitionNode>;
  /** The value of a variable that @skip or @include looks at. */
  isTrue(variable: string): boolean;
  /** The key under which the subgraphs' data has a field. */
  dataKeyOf(field: FieldNode): string;
  /** Whether objects of a type may be of one that no answer may have: then their type is asked for, by which they are left out. */
  mayBeHidden(typeName: string): boolean;
  /** Whether the caller may not have the field; such fields are left out. */
  isDenied?: ((typeName: string, fieldName: string) => boolean) | undefined;
  /** Called for each field left out: its path in the response, with "@" for the items of a list. */
  onDenied?: ((path: readonly string[]) => void) | undefined;
}

/** How many fields a selection may come to when it is written out. */
const MAX_FIELDS = 20_000;

/** One level of a selection: each key once, each type condition once. */
interface Level {
  type: GraphQLCompositeType;
  path: readonly string[];
  fields: Map<string, LevelField>;
  fragments: Map<string, Level>;
}

interface LevelField {
  name: string;
  args: readonly ArgumentNode[];
  /** The graph's own directives, which its subgraphs interpret. */
  directives: DirectiveNode[];
  inner: Level | null;
}

/**
 * The same selection in its plainest form, for the planner: fragments written out, conditions decided, fields merged, type conditions
 * that say nothing or cannot hold left out. Simpler input makes a planner quicker and avoids cases that it was not tested on.
 *
 * @returns null when nothing is selected.
 * @throws ToolyardError BAD_USER_INPUT beyond `MAX_FIELDS`
 */
export function normalizeSelection(options: NormalizeOptions): SelectionSetNode | null {
  const { schema, rootType, selectionSet, fragments, isTrue, dataKeyOf, isDenied } = options;
  let fieldCount = 0;

  function isIncluded(selection: SelectionNode): boolean {
    return (selection.directives ?? []).every((directive) => {
      const name = directive.name.value;
      if (name !== "skip" && name !== "include") return true;
      const condition = directive.arguments?.[0]?.value;
      const value =
        condition?.kind === Kind.VARIABLE
          ? isTrue(condition.name.value)
          : condition?.kind === Kind.BOOLEAN && condition.value;
      return value === (name === "include");
    });
  }

  function collect(level: Level, { selections }: SelectionSetNode, spread: Set<string>): void {
    for (const selection of selections) {
      if (!isIncluded(selection)) continue;
      if (selection.kind === Kind.FIELD) {
        collectField(level, selection);
        continue;
      }
      if (selection.kind === Kind.FRAGMENT_SPREAD) {
        // Spread before at this level, so all of it is there.
        if (spread.has(selection.name.value)) continue;
        spread.add(selection.name.value);
      }
      const fragment = selection.kind === Kind.FRAGMENT_SPREAD ? fragments.get(selection.name.value) : selection;
      if (!fragment) continue;
      const condition = fragment.typeCondition?.name.value;
      const type = condition === undefined ? level.type : schema.getType(condition);
      if (!isCompositeType(type) || !doTypesOverlap(schema, level.type, type)) continue;
      if (isAlways(level.type, type)) {
        collect(level, fragment.selectionSet, spread);
        continue;
      }
      let inner = level.fragments.get(type.name);
      if (!inner) level.fragments.set(type.name, (inner = createLevel(type, level.path)));
      collect(inner, fragment.selectionSet, new Set());
    }
  }

  function collectField(level: Level, field: FieldNode): void {
    const name = field.name.value;
    const responseKey = field.alias?.value ?? name;
    if (isDenied?.(level.type.name, name)) {
      options.onDenied?.([...level.path, responseKey]);
      return;
    }
    const key = name === "__typename" ? name : dataKeyOf(field);
    let entry = level.fields.get(key);
    if (!entry) {
      if (++fieldCount > MAX_FIELDS) {
        throw new ToolyardError("BAD_USER_INPUT", `The operation selects more than ${MAX_FIELDS} fields.`);
      }
      const definition = isUnionType(level.type) ? undefined : level.type.getFields()[name];
      const type = definition && getNamedType(definition.type);
      const path = isDenied && definition ? [...level.path, responseKey, ...listsOf(definition.type)] : level.path;
      const inner = isCompositeType(type) ? createLevel(type, path) : null;
      if (inner && options.mayBeHidden(inner.type.name)) inner.fields.set("__typename", typeNameField());
      level.fields.set(key, (entry = { name, args: field.arguments ?? [], directives: [], inner }));
    }
    addDirectives(schema, entry, field.directives);
    if (entry.inner && field.selectionSet) collect(entry.inner, field.selectionSet, new Set());
  }

  /** Whether every object of type `type` meets the condition by declaration. */
  function isAlways(type: GraphQLCompositeType, condition: GraphQLCompositeType): boolean {
    if (type === condition) return true;
    if (isObjectType(condition) || isUnionType(type)) return false;
    return isInterfaceType(type) && isUnionType(condition) ? false : schema.isSubType(condition, type);
  }

  const root = createLevel(rootType, []);
  collect(root, selectionSet, new Set());
  return toSelectionSet(root);
}

function createLevel(type: GraphQLCompositeType, path: readonly string[]): Level {
  return { type, path, fields: new Map(), fragments: new Map() };
}

const typeNameField = (): LevelField => ({ name: "__typename", args: [], directives: [], inner: null });

function addDirectives(schema: GraphQLSchema, entry: LevelField, directives: readonly DirectiveNode[] = []): void {
  for (const directive of directives) {
    const { value } = directive.name;
    // Conditions are decided. One that the graph does not have asked for incremental delivery, and was turned off.
    if (value === "skip" || value === "include" || !schema.getDirective(value)) continue;
    if (!entry.directives.some((known) => print(known) === print(directive))) entry.directives.push(directive);
  }
}

function listsOf(type: GraphQLOutputType): "@"[] {
  if (isNonNullType(type)) return listsOf(type.ofType);
  return isListType(type) ? ["@", ...listsOf(type.ofType)] : [];
}

function toSelectionSet(level: Level): SelectionSetNode | null {
  const selections: SelectionNode[] = [];
  for (const [key, { name, args, directives, inner }] of level.fields) {
    // Everything below was left out: the object itself is still an answer.
    const selectionSet = inner && (toSelectionSet(inner) ?? onlyTypeName);
    selections.push({
      kind: Kind.FIELD,
      name: { kind: Kind.NAME, value: name },
      arguments: args,
      ...(directives.length > 0 && { directives }),
      ...(key !== name && { alias: { kind: Kind.NAME, value: key } }),
      ...(selectionSet && { selectionSet }),
    });
  }
  for (const [typeName, inner] of level.fragments) {
    const selectionSet = toSelectionSet(inner);
    if (!selectionSet) continue;
    const typeCondition = { kind: Kind.NAMED_TYPE, name: { kind: Kind.NAME, value: typeName } } as const;
    selections.push({ kind: Kind.INLINE_FRAGMENT, typeCondition, selectionSet });
  }
  return selections.length > 0 ? { kind: Kind.SELECTION_SET, selections } : null;
}

const onlyTypeName: SelectionSetNode = {
  kind: Kind.SELECTION_SET,
  selections: [{ kind: Kind.FIELD, name: { kind: Kind.NAME, value: "__typename" } }],
};
