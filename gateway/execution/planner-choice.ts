import { Kind, type ConstDirectiveNode, type DocumentNode, type TypeNode } from "graphql";
import type { PlanRequest } from "./query-planner.ts";

/**
 * Whether an operation is one that the native planner (0.0.38) is known to plan wrongly and Apollo's plans right: conditions on
 * implementations of an interface that comes from a subgraph which knows it as an `@interfaceObject`, so by its key alone. The native
 * planner loses some of the fetches that find out what the objects are. The differential tests hold each planner to what is said here.
 */
export function createPlannerChoice(supergraph: DocumentNode): (request: PlanRequest) => boolean {
  const risky = riskyInterfaces(supergraph);
  const implementations = new Set<string>();
  for (const definition of supergraph.definitions) {
    if (definition.kind !== Kind.OBJECT_TYPE_DEFINITION && definition.kind !== Kind.INTERFACE_TYPE_DEFINITION) continue;
    if (definition.interfaces?.some(({ name }) => risky.has(name.value))) implementations.add(definition.name.value);
  }
  if (implementations.size === 0) return () => false;
  const condition = new RegExp(`\\.\\.\\. on (?:${[...implementations].join("|")})\\b`);
  return ({ operation }) => condition.test(operation);
}

/** Interfaces that some subgraph has as an @interfaceObject and gives as the type of a field. */
function riskyInterfaces({ definitions }: DocumentNode): Set<string> {
  const graphsOf = new Map<string, Set<string>>();
  for (const definition of definitions) {
    if (definition.kind !== Kind.INTERFACE_TYPE_DEFINITION) continue;
    const graphs = (definition.directives ?? []).flatMap((directive) => {
      const isObject = directive.arguments?.some(
        ({ name, value }) => name.value === "isInterfaceObject" && value.kind === Kind.BOOLEAN && value.value,
      );
      return directive.name.value === "join__type" && isObject ? (graphOf(directive) ?? []) : [];
    });
    if (graphs.length > 0) graphsOf.set(definition.name.value, new Set(graphs));
  }
  const risky = new Set<string>();
  for (const definition of definitions) {
    if (definition.kind !== Kind.OBJECT_TYPE_DEFINITION && definition.kind !== Kind.INTERFACE_TYPE_DEFINITION) continue;
    const ofType = graphsIn(definition.directives, "join__type");
    for (const field of definition.fields ?? []) {
      const name = namedType(field.type);
      const ofField = graphsIn(field.directives, "join__field");
      // Without graphs of its own, a field is in all of its type's.
      const graphs = ofField.length > 0 ? ofField : ofType;
      if (graphs.some((graph) => graphsOf.get(name)?.has(graph))) risky.add(name);
    }
  }
  return risky;
}

function graphsIn(directives: readonly ConstDirectiveNode[] = [], name: string): string[] {
  return directives.flatMap((directive) => (directive.name.value === name ? (graphOf(directive) ?? []) : []));
}

function graphOf(directive: ConstDirectiveNode): string | undefined {
  const value = directive.arguments?.find(({ name }) => name.value === "graph")?.value;
  return value?.kind === Kind.ENUM ? value.value : undefined;
}

function namedType(type: TypeNode): string {
  return type.kind === Kind.NAMED_TYPE ? type.name.value : namedType(type.type);
}
