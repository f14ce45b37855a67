import { Kind, parse, print, type ConstDirectiveNode, type DocumentNode, type SelectionSetNode } from "graphql";
import { stringArgument } from "./supergraph.ts";

/** What single subgraphs know of the types of a supergraph. */
export interface SubgraphTypes {
  /** The object types that an abstract type has in a subgraph; undefined for other types, and where the subgraph has no such type. */
  possibleTypes(subgraph: string, typeName: string): ReadonlySet<string> | undefined;
  hasType(subgraph: string, typeName: string): boolean;
  /** Whether a subgraph knows a type by its interface's key alone (`@interfaceObject`). */
  isInterfaceObject(subgraph: string, typeName: string): boolean;
  /** Abstract types that have other object types in one subgraph than in another. */
  readonly partialTypes: ReadonlySet<string>;
  /** A field as a subgraph has it, whether or not it may be asked there; undefined where it has none. */
  field(subgraph: string, typeName: string, fieldName: string): SubgraphField | undefined;
}

export interface SubgraphField {
  /** Its type there, written out. */
  type: string;
  /** The type without lists and exclamation marks. */
  namedType: string;
  /** Whether the subgraph answers it for every object that it has: not external, overridden or with requirements. */
  isOwn: boolean;
  /** What it `@requires`; null when nothing. */
  requires: SelectionSetNode | null;
}

export function readSubgraphTypes({ definitions }: DocumentNode): SubgraphTypes {
  const names = new Map<string, string>();
  const possible = new Map<string, Map<string, Set<string>>>();
  const fields = new Map<string, SubgraphField>();
  const known = new Set<string>();
  const interfaceObjects = new Set<string>();
  const member = (abstractType: string, subgraph: string, objectType?: string) => {
    const bySubgraph = possible.get(abstractType) ?? new Map<string, Set<string>>();
    possible.set(abstractType, bySubgraph);
    const members = bySubgraph.get(subgraph) ?? new Set<string>();
    bySubgraph.set(subgraph, members);
    if (objectType !== undefined) members.add(objectType);
  };

  for (const definition of definitions) {
    if (definition.kind !== Kind.ENUM_TYPE_DEFINITION || definition.name.value !== "join__Graph") continue;
    for (const value of definition.values ?? []) {
      const name = directivesOf(value.directives, "join__graph").map((graph) => stringArgument(graph, "name"))[0];
      if (name !== undefined) names.set(value.name.value, name);
    }
  }
  const subgraphOf = (directive: ConstDirectiveNode): string | undefined => {
    const graph = directive.arguments?.find(({ name }) => name.value === "graph")?.value;
    return graph?.kind === Kind.ENUM ? names.get(graph.value) : undefined;
  };

  for (const definition of definitions) {
    const isObject = definition.kind === Kind.OBJECT_TYPE_DEFINITION;
    if (definition.kind === Kind.UNION_TYPE_DEFINITION) {
      for (const directive of directivesOf(definition.directives, "join__unionMember")) {
        const subgraph = subgraphOf(directive);
        if (subgraph) known.add(`${subgraph} ${definition.name.value}`);
        if (subgraph) member(definition.name.value, subgraph, stringArgument(directive, "member"));
      }
    }
    if (!isObject && definition.kind !== Kind.INTERFACE_TYPE_DEFINITION) continue;
    const typeName = definition.name.value;
    const homes = new Set<string>();
    for (const directive of directivesOf(definition.directives, "join__type")) {
      const subgraph = subgraphOf(directive);
      if (!subgraph) continue;
      homes.add(subgraph);
      known.add(`${subgraph} ${typeName}`);
      if (isObject) continue;
      if (isTrue(directive, "isInterfaceObject")) interfaceObjects.add(`${subgraph} ${typeName}`);
      else member(typeName, subgraph);
    }
    for (const directive of isObject ? directivesOf(definition.directives, "join__implements") : []) {
      const [subgraph, implemented] = [subgraphOf(directive), stringArgument(directive, "interface")];
      if (subgraph && implemented) member(implemented, subgraph, typeName);
    }
    for (const field of definition.fields ?? []) {
      const place = (subgraph: string) => `${subgraph} ${typeName}.${field.name.value}`;
      const placed = directivesOf(field.directives, "join__field");
      if (placed.length === 0) {
        for (const subgraph of homes) fields.set(place(subgraph), subgraphField(print(field.type), true, null));
      }
      for (const directive of placed) {
        const subgraph = subgraphOf(directive);
        if (!subgraph) continue;
        const requires = selectionSetOf(stringArgument(directive, "requires"));
        const isOwn =
          !isTrue(directive, "external") &&
          !isTrue(directive, "usedOverridden") &&
          requires === null &&
          !placed.some((other) => stringArgument(other, "overrideLabel") !== undefined);
        fields.set(
          place(subgraph),
          subgraphField(stringArgument(directive, "type") ?? print(field.type), isOwn, requires),
        );
      }
    }
  }

  return {
    possibleTypes: (subgraph, typeName) => possible.get(typeName)?.get(subgraph),
    hasType: (subgraph, typeName) => known.has(`${subgraph} ${typeName}`),
    isInterfaceObject: (subgraph, typeName) => interfaceObjects.has(`${subgraph} ${typeName}`),
    partialTypes: new Set(
      [...possible].flatMap(([name, bySubgraph]) => (areAlike([...bySubgraph.values()]) ? [] : name)),
    ),
    field: (subgraph, typeName, fieldName) => fields.get(`${subgraph} ${typeName}.${fieldName}`),
  };
}

function directivesOf(directives: readonly ConstDirectiveNode[] = [], name: string): ConstDirectiveNode[] {
  return directives.filter((directive) => directive.name.value === name);
}

function isTrue(directive: ConstDirectiveNode, name: string): boolean {
  const value = directive.arguments?.find((argument) => argument.name.value === name)?.value;
  return value?.kind === Kind.BOOLEAN && value.value;
}

function selectionSetOf(fields: string | undefined): SelectionSetNode | null {
  const [operation] = fields === undefined ? [] : parse(`{ ${fields} }`, { noLocation: true }).definitions;
  return operation?.kind === Kind.OPERATION_DEFINITION ? operation.selectionSet : null;
}

function subgraphField(type: string, isOwn: boolean, requires: SelectionSetNode | null): SubgraphField {
  return { type, namedType: type.replaceAll(/[[\]!\s]/g, ""), isOwn, requires };
}

function areAlike([first, ...others]: readonly ReadonlySet<string>[]): boolean {
  return others.every((other) => other.size === first?.size && [...other].every((name) => first.has(name)));
}
