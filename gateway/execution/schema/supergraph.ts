import { ToolyardError } from "@toolyard/service-kit/errors/errors.ts";
import { GraphQLError, Kind, parse, type ConstDirectiveNode, type DocumentNode } from "graphql";
import { checkSupergraphFeatures } from "./supergraph-features.ts";

/** The executor's knowledge of a supergraph besides its API schema. */
export interface Supergraph {
  document: DocumentNode;
  /** By the subgraph's name; the URL is empty where composition was given none. */
  subgraphUrls: ReadonlyMap<string, string>;
  /** Whether an object of type `typeName` is one of `condition`: the type itself, its interface, a union it is in. */
  isSubType(typeName: string, condition: string): boolean;
  /** The object types that an interface or union has; none for another type. */
  objectTypesOf(abstractType: string): ReadonlySet<string>;
  /** Whether the type alone may be an entity's key: then nothing else need be known of it. */
  isKeyedByType(typeName: string): boolean;
  /** Whether some type has a field of this name. */
  isFieldName(name: string): boolean;
  /** Whether some `@requires` or key names such a field. */
  isRequired(name: string): boolean;
  /** Whether some `@requires` names such a field with arguments. */
  isRequiredWithArguments(name: string): boolean;
  /** Progressive `@override(label:)`: the n of each `percent(n)`, rising, and the other labels. */
  overrides: { percentages: readonly number[]; labels: readonly string[] };
}

/**
 * Reads a supergraph (Federation 2, join spec v0.3 and later). Inaccessible types count: representations may be of them.
 *
 * @throws ToolyardError BAD_USER_INPUT when it is not such a supergraph, or needs a feature that is missing here
 */
export function parseSupergraph(supergraphSdl: string): Supergraph {
  const document = parseSdl(supergraphSdl);
  checkSupergraphFeatures(document);
  const subgraphUrls = new Map<string, string>();
  const fieldNames = new Set<string>();
  const keyedByType = new Set<string>();
  const required = new Set<string>();
  const requiredWithArguments = new Set<string>();
  const overrideLabels = new Set<string>();
  const abstractTypesOf = new Map<string, Set<string>>();
  const objectTypesOf = new Map<string, Set<string>>();

  const addTo = (sets: Map<string, Set<string>>, key: string, name: string) => {
    sets.set(key, (sets.get(key) ?? new Set()).add(name));
  };
  const belongsTo = (typeName: string, abstractType: string, isObject: boolean) => {
    addTo(abstractTypesOf, typeName, abstractType);
    if (isObject) addTo(objectTypesOf, abstractType, typeName);
  };

  for (const definition of document.definitions) {
    if (definition.kind === Kind.ENUM_TYPE_DEFINITION && definition.name.value === "join__Graph") {
      for (const value of definition.values ?? []) {
        const graph = value.directives?.find((directive) => directive.name.value === "join__graph");
        const name = graph && stringArgument(graph, "name");
        if (name) subgraphUrls.set(name, stringArgument(graph, "url") ?? "");
      }
    } else if (definition.kind === Kind.OBJECT_TYPE_DEFINITION || definition.kind === Kind.INTERFACE_TYPE_DEFINITION) {
      for (const directive of definition.directives ?? []) {
        const key = stringArgument(directive, "key") ?? "";
        for (const [name] of key.matchAll(/\w+/g)) required.add(name);
        if (key.trim() === "__typename") keyedByType.add(definition.name.value);
      }
      for (const field of definition.fields ?? []) {
        fieldNames.add(field.name.value);
        for (const directive of field.directives ?? []) {
          const requires = directive.name.value === "join__field" ? stringArgument(directive, "requires") : undefined;
          const label = directive.name.value === "join__field" ? stringArgument(directive, "overrideLabel") : undefined;
          if (label !== undefined) overrideLabels.add(label);
          if (requires === undefined) continue;
          for (const [name] of requires.matchAll(/\w+/g)) required.add(name);
          for (const [, name] of requires.matchAll(/(\w+)\s*\(/g)) if (name) requiredWithArguments.add(name);
        }
      }
      const isObject = definition.kind === Kind.OBJECT_TYPE_DEFINITION;
      for (const { name } of definition.interfaces ?? []) belongsTo(definition.name.value, name.value, isObject);
    } else if (definition.kind === Kind.UNION_TYPE_DEFINITION) {
      for (const member of definition.types ?? []) belongsTo(member.name.value, definition.name.value, true);
    }
  }

  return {
    document,
    subgraphUrls,
    isSubType: (typeName, condition) =>
      typeName === condition || (abstractTypesOf.get(typeName)?.has(condition) ?? false),
    objectTypesOf: (abstractType) => objectTypesOf.get(abstractType) ?? new Set(),
    isKeyedByType: (typeName) => keyedByType.has(typeName),
    isFieldName: (name) => fieldNames.has(name),
    isRequired: (name) => required.has(name),
    isRequiredWithArguments: (name) => requiredWithArguments.has(name),
    overrides: overridesOf([...overrideLabels]),
  };
}

function overridesOf(labels: readonly string[]): Supergraph["overrides"] {
  const percentageOf = (label: string) => /^percent\((.+)\)$/.exec(label)?.[1];
  return {
    percentages: labels
      .flatMap((label) => percentageOf(label) ?? [])
      .map(Number)
      .sort((a, b) => a - b),
    labels: labels.filter((label) => percentageOf(label) === undefined).sort(),
  };
}

/** The string given for an argument of an applied directive; undefined when it is left out. */
export function stringArgument(directive: ConstDirectiveNode, name: string): string | undefined {
  const value = directive.arguments?.find((argument) => argument.name.value === name)?.value;
  return value?.kind === Kind.STRING ? value.value : undefined;
}

function parseSdl(sdl: string): DocumentNode {
  try {
    return parse(sdl, { noLocation: true });
  } catch (cause) {
    if (!(cause instanceof GraphQLError)) throw cause;
    const [place] = cause.locations ?? [];
    const where = place ? ` (line ${place.line}, column ${place.column})` : "";
    throw new ToolyardError("BAD_USER_INPUT", `The supergraph is not GraphQL: ${cause.message}${where}`, { cause });
  }
}
