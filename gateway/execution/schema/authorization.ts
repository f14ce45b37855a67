import {
  Kind,
  type ConstDirectiveNode,
  type DocumentNode,
  type FieldDefinitionNode,
  type InterfaceTypeDefinitionNode,
  type ObjectTypeDefinitionNode,
  type TypeNode,
} from "graphql";
import { stringArgument } from "./supergraph.ts";

/** The scopes and policies that the caller of an operation has. */
export interface Grants {
  isAuthenticated: boolean;
  scopes: ReadonlySet<string>;
  policies: ReadonlySet<string>;
}

/** One `@authenticated`, `@requiresScopes(…)` or `@policy(…)`. */
export interface Requirement {
  /** The same for the same demand, in every schema. */
  key: string;
  isMetBy(grants: Grants): boolean;
}

/**
 * The supergraph's demands on callers (https://specs.apollo.dev/authenticated/v0.1, …/requiresScopes/v0.1, …/policy/v0.1).
 * A field demands its own directives, its parent type's and those of the type it gives; a field of an interface also any implementation's
 * demands for it, since the answering one is not known before.
 */
export interface Authorization {
  requirementsOf(typeName: string, fieldName: string): readonly Requirement[];
}

type Composite = ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode;

/** @returns null when the supergraph demands nothing */
export function createAuthorization(supergraph: DocumentNode): Authorization | null {
  const names = directiveNames(supergraph);
  if (names.size === 0) return null;
  const known = new Map<string, Requirement>();
  const ofType = new Map<string, readonly Requirement[]>();
  const composites = new Map<string, Composite>();
  const implementations = new Map<string, Composite[]>();

  function read(directives: readonly ConstDirectiveNode[] = []): Requirement[] {
    return directives.flatMap((directive) => {
      const spec = names.get(directive.name.value);
      if (!spec) return [];
      const requirement = createRequirement(spec, directive);
      const same = known.get(requirement.key);
      if (same) return [same];
      known.set(requirement.key, requirement);
      return [requirement];
    });
  }

  for (const definition of supergraph.definitions) {
    if (!("name" in definition) || !("directives" in definition) || !definition.name) continue;
    if (definition.kind === Kind.DIRECTIVE_DEFINITION) continue;
    ofType.set(definition.name.value, read(definition.directives as readonly ConstDirectiveNode[] | undefined));
    if (definition.kind !== Kind.OBJECT_TYPE_DEFINITION && definition.kind !== Kind.INTERFACE_TYPE_DEFINITION) continue;
    composites.set(definition.name.value, definition);
    for (const { name } of definition.interfaces ?? [])
      implementations.set(name.value, [...(implementations.get(name.value) ?? []), definition]);
  }

  const ofField = (field: FieldDefinitionNode | undefined): readonly Requirement[] =>
    field ? [...read(field.directives), ...(ofType.get(namedType(field.type)) ?? [])] : [];
  const fieldOf = (type: Composite, name: string) => type.fields?.find((field) => field.name.value === name);

  const cache = new Map<string, readonly Requirement[]>();
  return {
    requirementsOf(typeName, fieldName) {
      const coordinate = `${typeName}.${fieldName}`;
      const cached = cache.get(coordinate);
      if (cached) return cached;
      const type = composites.get(typeName);
      const all = type
        ? [type, ...(implementations.get(typeName) ?? [])].flatMap((one) => [
            ...(ofType.get(one.name.value) ?? []),
            ...ofField(fieldOf(one, fieldName)),
          ])
        : [];
      const requirements = [...new Set(all)];
      // Operations are valid: only the schema's own coordinates get here.
      cache.set(coordinate, requirements);
      return requirements;
    },
  };
}

type Spec = "authenticated" | "requiresScopes" | "policy";

/** The directives' names in this supergraph, which `@link(as:)` may have changed. */
function directiveNames(supergraph: DocumentNode): Map<string, Spec> {
  const names = new Map<string, Spec>();
  for (const definition of supergraph.definitions) {
    if (definition.kind !== Kind.SCHEMA_DEFINITION && definition.kind !== Kind.SCHEMA_EXTENSION) continue;
    for (const directive of definition.directives ?? []) {
      if (directive.name.value !== "link") continue;
      const spec = stringArgument(directive, "url")?.split("/").at(-2);
      if (spec === "authenticated" || spec === "requiresScopes" || spec === "policy")
        names.set(stringArgument(directive, "as") ?? spec, spec);
    }
  }
  return names;
}

function createRequirement(spec: Spec, directive: ConstDirectiveNode): Requirement {
  if (spec === "authenticated") return { key: spec, isMetBy: ({ isAuthenticated }) => isAuthenticated };
  // A list of lists: any one of the inner ones, all of it.
  const [argument] = directive.arguments ?? [];
  const alternatives = listOf(argument?.value).map((inner) =>
    listOf(inner).flatMap((item) => (item.kind === Kind.STRING ? item.value : [])),
  );
  return {
    key: `${spec} ${JSON.stringify(alternatives)}`,
    isMetBy({ scopes, policies }) {
      const held = spec === "policy" ? policies : scopes;
      return alternatives.some((all) => all.every((name) => held.has(name)));
    },
  };
}

type Value = NonNullable<ConstDirectiveNode["arguments"]>[number]["value"];

/** GraphQL takes a single value for a list of one. */
function listOf(value: Value | undefined): readonly Value[] {
  if (!value) return [];
  return value.kind === Kind.LIST ? value.values : [value];
}

function namedType(type: TypeNode): string {
  return type.kind === Kind.NAMED_TYPE ? type.name.value : namedType(type.type);
}
