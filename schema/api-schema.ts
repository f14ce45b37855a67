import { Supergraph, printSchema } from "@apollo/federation-internals";
import {
  Kind,
  buildASTSchema,
  parse,
  print,
  visit,
  type ASTNode,
  type DocumentNode,
  type NamedTypeNode,
} from "graphql";

/**
 * The API schema of a supergraph as SDL, by Apollo's own reading of it; fields tagged with one of `excludeTags`, and types
 * that only they reach, are left out.
 */
export function apiSchemaSdl(supergraphSdl: string, options: { excludeTags: readonly string[] }): string {
  const api = parse(printSchema(Supergraph.build(supergraphSdl).apiSchema()));
  const excluded = taggedFields(parse(supergraphSdl), options.excludeTags);
  const kept = visit(api, {
    FieldDefinition(node, _key, _parent, _path, ancestors) {
      const type = ancestors.findLast(
        (ancestor) => "kind" in ancestor && ancestor.kind === Kind.OBJECT_TYPE_DEFINITION,
      );
      return type && "name" in type && excluded.has(`${type.name?.value}.${node.name.value}`) ? null : undefined;
    },
  });
  const reachable = reachableTypes(kept);
  const pruned: DocumentNode = {
    ...kept,
    definitions: kept.definitions.filter(
      (definition) =>
        !("name" in definition) || !isTypeDefinition(definition) || reachable.has(definition.name?.value ?? ""),
    ),
  };
  buildASTSchema(pruned);
  return `${print(pruned)}\n`;
}

function taggedFields(supergraph: DocumentNode, tags: readonly string[]): Set<string> {
  const found = new Set<string>();
  for (const definition of supergraph.definitions) {
    if (definition.kind !== Kind.OBJECT_TYPE_DEFINITION) continue;
    for (const field of definition.fields ?? []) {
      const names = (field.directives ?? [])
        .filter((directive) => directive.name.value === "tag")
        .map((directive) => directive.arguments?.find((argument) => argument.name.value === "name")?.value);
      if (names.some((value) => value?.kind === Kind.STRING && tags.includes(value.value)))
        found.add(`${definition.name.value}.${field.name.value}`);
    }
  }
  return found;
}

function isTypeDefinition(node: ASTNode): boolean {
  return node.kind.endsWith("TypeDefinition");
}

/** Names of the types that the root types reach by fields, arguments, union members and implementations. */
function reachableTypes(document: DocumentNode): Set<string> {
  const definitions = new Map(
    document.definitions.flatMap((node) =>
      isTypeDefinition(node) && "name" in node && node.name ? [[node.name.value, node]] : [],
    ),
  );
  const implementations = new Map<string, string[]>();
  for (const [name, node] of definitions) {
    for (const { name: face } of "interfaces" in node ? (node.interfaces ?? []) : []) {
      implementations.set(face.value, [...(implementations.get(face.value) ?? []), name]);
    }
  }
  const reached = new Set<string>();
  const waiting = ["Query", "Mutation", "Subscription"].filter((name) => definitions.has(name));
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (reached.has(name)) continue;
    reached.add(name);
    waiting.push(...(implementations.get(name) ?? []));
    const node = definitions.get(name);
    if (node) visit(node, { NamedType: (type: NamedTypeNode) => void waiting.push(type.name.value) });
  }
  return reached;
}
