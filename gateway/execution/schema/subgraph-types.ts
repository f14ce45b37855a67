import { Kind, parse, print, type ConstDirectiveNode, type DocumentNode, type SelectionSetNode } from "graphql";
import { stringArgument, type Supergraph } from "./supergraph.ts";

/** Single subgraphs' views of the types of a supergraph. */
export interface SubgraphTypes {
  readonly subgraphs: readonly string[];
  /** The object types that an abstract type has in a subgraph; undefined for other types, and where the subgraph has no such type. */
  possibleTypes(subgraph: string, typeName: string): ReadonlySet<string> | undefined;
  hasType(subgraph: string, typeName: string): boolean;
  /** Whether a subgraph knows a type by its interface's key alone (`@interfaceObject`). */
  isInterfaceObject(subgraph: string, typeName: string): boolean;
  /** The interfaces that a subgraph knows as objects of an abstract type. */
  interfaceObjects(subgraph: string, abstractType: string): readonly string[];
  /** A subgraph's name for objects of a type, which it may know by their interface only; undefined where it knows none. */
  nameIn(subgraph: string, typeName: string): string | undefined;
  /** The object types of an object or abstract type in the whole supergraph. */
  objectTypes(typeName: string): readonly string[];
  /** The keys by which a subgraph identifies the entities of a type. */
  keys(subgraph: string, typeName: string): readonly EntityKey[];
  /** A field as a subgraph has it, whether or not it may be asked there; undefined where it has none. */
  field(subgraph: string, typeName: string, fieldName: string): SubgraphField | undefined;
}

interface EntityKey {
  selectionSet: SelectionSetNode;
  /** Whether the subgraph gives an entity for it. */
  isResolvable: boolean;
}

export interface SubgraphField {
  /** Its type there, written out. */
  type: string;
  /** The type without lists and exclamation marks. */
  namedType: string;
  isExternal: boolean;
  /** Another subgraph's `@override` took it away; its remaining uses are keys and interfaces. */
  isOverridden: boolean;
  /** Progressive `@override`: here while the label is on, or (in the subgraph that loses the field) off. */
  override: { label: string; isNew: boolean } | null;
  /** Its `@requires`; null when there is none. */
  requires: SelectionSetNode | null;
  /** Which external fields of its objects come with them (`@provides`); null when none. */
  provides: SelectionSetNode | null;
}

export function readSubgraphTypes({ definitions }: DocumentNode): SubgraphTypes {
  const names = readGraphNames(definitions);
  const possible = new Map<string, Set<string>>();
  const members = new Map<string, Set<string>>();
  const objects = new Set<string>();
  const fields = new Map<string, SubgraphField>();
  const keys = new Map<string, EntityKey[]>();
  const known = new Set<string>();
  const interfaceObjects = new Set<string>();
  const interfacesOf = new Map<string, string[]>();
  const objectsOf = new Map<string, Set<string>>();
  const addTo = (map: Map<string, Set<string>>, key: string, value?: string) => {
    const set = map.get(key) ?? new Set<string>();
    map.set(key, set);
    if (value !== undefined) set.add(value);
  };
  const subgraphOf = (directive: ConstDirectiveNode) => names.get(graphOf(directive) ?? "");

  for (const definition of definitions) {
    const isObject = definition.kind === Kind.OBJECT_TYPE_DEFINITION;
    if (definition.kind === Kind.UNION_TYPE_DEFINITION) {
      for (const { name } of definition.types ?? []) addTo(members, definition.name.value, name.value);
      for (const directive of directivesOf(definition.directives, "join__unionMember")) {
        const subgraph = subgraphOf(directive);
        if (!subgraph) continue;
        known.add(`${subgraph} ${definition.name.value}`);
        addTo(possible, `${subgraph} ${definition.name.value}`, stringArgument(directive, "member"));
      }
    }
    if (!isObject && definition.kind !== Kind.INTERFACE_TYPE_DEFINITION) continue;
    const typeName = definition.name.value;
    const implemented = (definition.interfaces ?? []).map(({ name }) => name.value);
    if (isObject) {
      objects.add(typeName);
      interfacesOf.set(typeName, implemented);
      for (const name of implemented) addTo(members, name, typeName);
    }
    const homes = new Set<string>();
    for (const directive of directivesOf(definition.directives, "join__type")) {
      const subgraph = subgraphOf(directive);
      if (!subgraph) continue;
      const place = `${subgraph} ${typeName}`;
      homes.add(subgraph);
      known.add(place);
      const selectionSet = selectionSetOf(stringArgument(directive, "key"));
      const key = selectionSet && { selectionSet, isResolvable: booleanArgument(directive, "resolvable") !== false };
      if (key) keys.set(place, [...(keys.get(place) ?? []), key]);
      if (isObject) continue;
      if (booleanArgument(directive, "isInterfaceObject")) interfaceObjects.add(place);
      else addTo(possible, place);
    }
    for (const directive of directivesOf(definition.directives, "join__implements")) {
      const [subgraph, name] = [subgraphOf(directive), stringArgument(directive, "interface")];
      if (!subgraph || !name) continue;
      if (isObject) addTo(possible, `${subgraph} ${name}`, typeName);
      else if (interfaceObjects.has(`${subgraph} ${typeName}`)) addTo(objectsOf, `${subgraph} ${name}`, typeName);
    }
    for (const field of definition.fields ?? []) {
      const placed = directivesOf(field.directives, "join__field");
      const type = print(field.type);
      if (placed.length === 0)
        for (const home of homes) fields.set(`${home} ${typeName}.${field.name.value}`, subgraphField(type));
      for (const directive of placed) {
        const subgraph = subgraphOf(directive);
        if (subgraph) fields.set(`${subgraph} ${typeName}.${field.name.value}`, subgraphField(type, directive));
      }
    }
  }

  return {
    subgraphs: [...names.values()],
    possibleTypes: (subgraph, typeName) => possible.get(`${subgraph} ${typeName}`),
    hasType: (subgraph, typeName) => known.has(`${subgraph} ${typeName}`),
    isInterfaceObject: (subgraph, typeName) => interfaceObjects.has(`${subgraph} ${typeName}`),
    interfaceObjects: (subgraph, abstractType) => [...(objectsOf.get(`${subgraph} ${abstractType}`) ?? [])],
    nameIn: (subgraph, typeName) =>
      known.has(`${subgraph} ${typeName}`)
        ? typeName
        : interfacesOf.get(typeName)?.find((name) => interfaceObjects.has(`${subgraph} ${name}`)),
    objectTypes: (typeName) => (objects.has(typeName) ? [typeName] : [...(members.get(typeName) ?? [])]),
    keys: (subgraph, typeName) => keys.get(`${subgraph} ${typeName}`) ?? [],
    field: (subgraph, typeName, fieldName) => fields.get(`${subgraph} ${typeName}.${fieldName}`),
  };
}

/** The subgraphs' names, by the supergraph's names for them. */
export function readGraphNames(definitions: DocumentNode["definitions"]): Map<string, string> {
  const names = new Map<string, string>();
  for (const definition of definitions) {
    if (definition.kind !== Kind.ENUM_TYPE_DEFINITION || definition.name.value !== "join__Graph") continue;
    for (const value of definition.values ?? []) {
      const [name] = directivesOf(value.directives, "join__graph").map((graph) => stringArgument(graph, "name"));
      if (name !== undefined) names.set(value.name.value, name);
    }
  }
  return names;
}

export function directivesOf(directives: readonly ConstDirectiveNode[] = [], name: string): ConstDirectiveNode[] {
  return directives.filter((directive) => directive.name.value === name);
}

/** The `graph` of a `join__…` directive. */
export function graphOf(directive: ConstDirectiveNode): string | undefined {
  const graph = directive.arguments?.find(({ name }) => name.value === "graph")?.value;
  return graph?.kind === Kind.ENUM ? graph.value : undefined;
}

export function booleanArgument(directive: ConstDirectiveNode, name: string): boolean | undefined {
  const value = directive.arguments?.find((argument) => argument.name.value === name)?.value;
  return value?.kind === Kind.BOOLEAN ? value.value : undefined;
}

/** The selections of provided fields for one of them: one for each time that it is named, empty for a leaf. */
export function providedBelow(
  { selections }: SelectionSetNode,
  typeName: string,
  fieldName: string,
  supergraph: Pick<Supergraph, "isSubType">,
): SelectionSetNode[] {
  return selections.flatMap((selection): SelectionSetNode[] => {
    if (selection.kind === Kind.FIELD)
      return selection.name.value === fieldName ? [selection.selectionSet ?? nothing] : [];
    if (selection.kind === Kind.FRAGMENT_SPREAD) return [];
    const condition = selection.typeCondition?.name.value ?? typeName;
    const applies = supergraph.isSubType(typeName, condition) || supergraph.isSubType(condition, typeName);
    return applies ? providedBelow(selection.selectionSet, typeName, fieldName, supergraph) : [];
  });
}

const nothing: SelectionSetNode = { kind: Kind.SELECTION_SET, selections: [] };

function selectionSetOf(fields: string | undefined): SelectionSetNode | null {
  const [operation] = fields === undefined ? [] : parse(`{ ${fields} }`, { noLocation: true }).definitions;
  return operation?.kind === Kind.OPERATION_DEFINITION ? operation.selectionSet : null;
}

function subgraphField(mergedType: string, directive?: ConstDirectiveNode): SubgraphField {
  const text = (name: string) => directive && stringArgument(directive, name);
  const type = text("type") ?? mergedType;
  const label = text("overrideLabel");
  return {
    type,
    namedType: type.replaceAll(/[[\]!\s]/g, ""),
    isExternal: directive !== undefined && booleanArgument(directive, "external") === true,
    isOverridden:
      directive !== undefined && label === undefined && booleanArgument(directive, "usedOverridden") === true,
    override: label === undefined ? null : { label, isNew: text("override") !== undefined },
    requires: selectionSetOf(text("requires")),
    provides: selectionSetOf(text("provides")),
  };
}
