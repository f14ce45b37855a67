import {
  buildASTSchema,
  DirectiveLocation,
  isScalarType,
  isSpecifiedScalarType,
  Kind,
  type ConstDirectiveNode,
  type DefinitionNode,
  type DocumentNode,
  type GraphQLSchema,
  type TypeDefinitionNode,
  type TypeNode,
} from "graphql";
import { exactLiteral } from "../../formats/exact-json.ts";
import { stringArgument } from "./supergraph.ts";

export interface ApiSchemaOptions {
  /** The supergraph's SDL, parsed. */
  supergraph: DocumentNode;
  /** Elements tagged with one of these names are left out, as if they were @inaccessible. */
  withoutTags?: readonly string[];
}

/**
 * The schema that clients see: the supergraph without federation's machinery, without elements that are @inaccessible or tagged with a name
 * to leave out, and without the types that only those led to.
 */
export function createApiSchema(options: ApiSchemaOptions): GraphQLSchema {
  const document = apiDocument(options);
  const schema = buildASTSchema(document, { assumeValid: true, assumeValidSDL: true });
  for (const type of Object.values(schema.getTypeMap())) {
    if (isScalarType(type) && !isSpecifiedScalarType(type)) type.parseLiteral = exactLiteral;
  }
  return schema;
}

type Annotated = { readonly directives?: readonly ConstDirectiveNode[] | undefined };

function apiDocument({ supergraph, withoutTags = [] }: ApiSchemaOptions): DocumentNode {
  const machinery = machineryOf(supergraph);
  const isVisible = ({ directives = [] }: Annotated) =>
    !directives.some(
      (directive) =>
        directive.name.value === machinery.inaccessibleName ||
        (directive.name.value === machinery.tagName && withoutTags.includes(stringArgument(directive, "name") ?? "")),
    );

  const hiddenTypes = new Set<string>();
  for (const definition of supergraph.definitions) {
    if (isTypeDefinition(definition) && (machinery.owns(definition.name.value) || !isVisible(definition))) {
      hiddenTypes.add(definition.name.value);
    }
  }
  const clean = cleaner({ isVisible, hiddenTypes, machinery });
  const definitions = supergraph.definitions.flatMap((definition) => clean(definition) ?? []);
  // Types that nobody could reach in the supergraph either (an unused scalar, an interface's implementation) stay as they are.
  const before = reachableTypes(supergraph.definitions);
  const after = reachableTypes(definitions);
  return {
    kind: Kind.DOCUMENT,
    definitions: definitions.filter(
      (definition) =>
        !isTypeDefinition(definition) || !before.has(definition.name.value) || after.has(definition.name.value),
    ),
  };
}

export interface Machinery {
  owns(name: string): boolean;
  /** Whether a directive belongs to a third-party specification (`@composeDirective`): clients may use it where it says so. */
  isComposed(directiveName: string): boolean;
  inaccessibleName: string;
  tagName: string;
}

/** Names that come from specifications linked to the schema (https://specs.apollo.dev/link/v1.0): `spec`, `spec__…`, imports. */
export function machineryOf(supergraph: DocumentNode): Machinery {
  const prefixes = new Set(["join", "link", "core", "federation"]);
  const names = new Set<string>();
  const composed = new Set<string>();
  let inaccessibleName = "inaccessible";
  let tagName = "tag";
  for (const definition of supergraph.definitions) {
    if (definition.kind !== Kind.SCHEMA_DEFINITION && definition.kind !== Kind.SCHEMA_EXTENSION) continue;
    for (const directive of definition.directives ?? []) {
      if (directive.name.value !== "link" && directive.name.value !== "core") continue;
      const url = stringArgument(directive, "url") ?? stringArgument(directive, "feature");
      const specName = url?.split("/").at(-2);
      if (!specName) continue;
      const name = stringArgument(directive, "as") ?? specName;
      prefixes.add(name);
      const isOurs = url?.startsWith("https://specs.apollo.dev/");
      if (!isOurs) composed.add(name);
      if (specName === "inaccessible") inaccessibleName = name;
      if (specName === "tag") tagName = name;
      const imports = directive.arguments?.find((argument) => argument.name.value === "import")?.value;
      for (const item of imports?.kind === Kind.LIST ? imports.values : []) {
        if (item.kind === Kind.STRING) {
          names.add(item.value.replace(/^@/, ""));
          if (!isOurs) composed.add(item.value.replace(/^@/, ""));
        }
        if (item.kind !== Kind.OBJECT) continue;
        const field = (fieldName: string) => {
          const value = item.fields.find(({ name: { value } }) => value === fieldName)?.value;
          return value?.kind === Kind.STRING ? value.value.replace(/^@/, "") : undefined;
        };
        const imported = field("as") ?? field("name");
        if (imported) names.add(imported);
        if (imported && !isOurs) composed.add(imported);
        if (field("name") === "inaccessible" && imported) inaccessibleName = imported;
        if (field("name") === "tag" && imported) tagName = imported;
      }
    }
  }
  const prefixOf = (name: string) => name.slice(0, Math.max(0, name.indexOf("__")));
  return {
    owns: (name) => prefixes.has(name) || names.has(name) || prefixes.has(prefixOf(name)),
    isComposed: (name) => composed.has(name) || composed.has(prefixOf(name)),
    inaccessibleName,
    tagName,
  };
}

interface CleanerOptions {
  isVisible(node: Annotated): boolean;
  hiddenTypes: ReadonlySet<string>;
  machinery: Machinery;
}

/** Gives a definition without hidden parts, or null when all of it is hidden. */
function cleaner({ isVisible, hiddenTypes, machinery }: CleanerOptions) {
  const withoutMachinery = (directives: readonly ConstDirectiveNode[] | undefined) =>
    (directives ?? []).filter((directive) => !machinery.owns(directive.name.value));
  const ofVisibleType = (node: Annotated & { type: TypeNode }) =>
    isVisible(node) && !hiddenTypes.has(namedType(node.type));
  function cleanAll<Node extends Annotated>(nodes: readonly Node[] | undefined, keep: (node: Node) => boolean): Node[] {
    return (nodes ?? []).filter(keep).map((node) => ({ ...node, directives: withoutMachinery(node.directives) }));
  }

  return (definition: DefinitionNode): DefinitionNode | null => {
    switch (definition.kind) {
      case Kind.SCHEMA_DEFINITION:
        return { ...definition, directives: withoutMachinery(definition.directives) };
      case Kind.DIRECTIVE_DEFINITION: {
        const arguments_ = cleanAll(definition.arguments, ofVisibleType);
        if (!machinery.owns(definition.name.value)) return { ...definition, arguments: arguments_ };
        if (!machinery.isComposed(definition.name.value)) return null;
        const locations = definition.locations.filter(({ value }) => EXECUTABLE_LOCATIONS.has(value));
        return locations.length > 0 ? { ...definition, arguments: arguments_, locations } : null;
      }
      case Kind.OBJECT_TYPE_DEFINITION:
      case Kind.INTERFACE_TYPE_DEFINITION: {
        if (hiddenTypes.has(definition.name.value)) return null;
        const fields = cleanAll(definition.fields, ofVisibleType).map((field) => ({
          ...field,
          arguments: cleanAll(field.arguments, ofVisibleType),
        }));
        const interfaces = (definition.interfaces ?? []).filter(({ name }) => !hiddenTypes.has(name.value));
        return { ...definition, directives: withoutMachinery(definition.directives), interfaces, fields };
      }
      case Kind.UNION_TYPE_DEFINITION: {
        if (hiddenTypes.has(definition.name.value)) return null;
        const types = (definition.types ?? []).filter(({ name }) => !hiddenTypes.has(name.value));
        return { ...definition, directives: withoutMachinery(definition.directives), types };
      }
      case Kind.ENUM_TYPE_DEFINITION:
        if (hiddenTypes.has(definition.name.value)) return null;
        return {
          ...definition,
          directives: withoutMachinery(definition.directives),
          values: cleanAll(definition.values, isVisible),
        };
      case Kind.INPUT_OBJECT_TYPE_DEFINITION:
        if (hiddenTypes.has(definition.name.value)) return null;
        return {
          ...definition,
          directives: withoutMachinery(definition.directives),
          fields: cleanAll(definition.fields, ofVisibleType),
        };
      case Kind.SCALAR_TYPE_DEFINITION:
        if (hiddenTypes.has(definition.name.value)) return null;
        return { ...definition, directives: withoutMachinery(definition.directives) };
      default:
        return null;
    }
  };
}

/** Where an operation may have a directive: the locations left when those of the schema are removed. */
const EXECUTABLE_LOCATIONS: ReadonlySet<string> = new Set([
  DirectiveLocation.QUERY,
  DirectiveLocation.MUTATION,
  DirectiveLocation.SUBSCRIPTION,
  DirectiveLocation.FIELD,
  DirectiveLocation.FRAGMENT_DEFINITION,
  DirectiveLocation.FRAGMENT_SPREAD,
  DirectiveLocation.INLINE_FRAGMENT,
  DirectiveLocation.VARIABLE_DEFINITION,
]);

function reachableTypes(definitions: readonly DefinitionNode[]): Set<string> {
  const byName = new Map<string, TypeDefinitionNode>();
  const implementations = new Map<string, string[]>();
  const pending: string[] = [];
  for (const definition of definitions) {
    if (definition.kind === Kind.SCHEMA_DEFINITION) {
      pending.push(...definition.operationTypes.map(({ type }) => type.name.value));
    }
    if (definition.kind === Kind.DIRECTIVE_DEFINITION) {
      pending.push(...(definition.arguments ?? []).map(({ type }) => namedType(type)));
    }
    if (!isTypeDefinition(definition)) continue;
    byName.set(definition.name.value, definition);
    if (!("interfaces" in definition)) continue;
    for (const { name } of definition.interfaces ?? []) {
      implementations.set(name.value, [...(implementations.get(name.value) ?? []), definition.name.value]);
    }
  }
  if (pending.length === 0) pending.push("Query", "Mutation", "Subscription");
  const reached = new Set<string>();
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (reached.has(name)) continue;
    reached.add(name);
    const definition = byName.get(name);
    if (!definition) continue;
    pending.push(...(implementations.get(name) ?? []), ...referencedTypes(definition));
  }
  return reached;
}

function referencedTypes(definition: TypeDefinitionNode): string[] {
  switch (definition.kind) {
    case Kind.OBJECT_TYPE_DEFINITION:
    case Kind.INTERFACE_TYPE_DEFINITION:
      return [
        ...(definition.interfaces ?? []).map(({ name }) => name.value),
        ...(definition.fields ?? []).flatMap((field) => [
          namedType(field.type),
          ...(field.arguments ?? []).map(({ type }) => namedType(type)),
        ]),
      ];
    case Kind.UNION_TYPE_DEFINITION:
      return (definition.types ?? []).map(({ name }) => name.value);
    case Kind.INPUT_OBJECT_TYPE_DEFINITION:
      return (definition.fields ?? []).map(({ type }) => namedType(type));
    default:
      return [];
  }
}

function namedType(type: TypeNode): string {
  return type.kind === Kind.NAMED_TYPE ? type.name.value : namedType(type.type);
}

function isTypeDefinition(definition: DefinitionNode): definition is TypeDefinitionNode {
  return definition.kind.endsWith("TypeDefinition");
}
