import { Kind, parse, print, visit, type ASTNode, type ConstDirectiveNode, type DocumentNode } from "graphql";
import { machineryOf } from "./api-schema.ts";
import { stringArgument } from "./supergraph.ts";

const LINK = 'schema @link(url: "https://specs.apollo.dev/inaccessible/v0.2", for: SECURITY) { query: Query }';
const DEFINITION =
  "directive @inaccessible on FIELD_DEFINITION | OBJECT | INTERFACE | UNION | ARGUMENT_DEFINITION | SCALAR | ENUM | ENUM_VALUE | INPUT_OBJECT | INPUT_FIELD_DEFINITION";

/** Elements with this tag are for callers of kind `service` only. */
export const INTERNAL_TAG = "internal";

/**
 * A supergraph whose elements with a tag are @inaccessible, as Apollo's contracts make one: for consumers that know @inaccessible only.
 * @returns null when nothing has the tag
 */
export function withInaccessibleTags(supergraph: DocumentNode, tag: string): string | null {
  const { tagName, inaccessibleName } = machineryOf(supergraph);
  const has = ({ directives = [] }: { directives?: readonly ConstDirectiveNode[] }, name: string) =>
    directives.some(
      (directive) => directive.name.value === name && (name !== tagName || stringArgument(directive, "name") === tag),
    );
  const inaccessible = { kind: Kind.DIRECTIVE, name: { kind: Kind.NAME, value: inaccessibleName } } as const;
  let isAny = false;
  const marked = visit(supergraph, {
    enter(node: ASTNode) {
      // Nodes with directives are all constant here: this is no operation.
      const annotated = node as ASTNode & { directives?: readonly ConstDirectiveNode[] };
      if (node.kind === Kind.SCHEMA_DEFINITION || !has(annotated, tagName)) return;
      isAny = true;
      if (has(annotated, inaccessibleName)) return;
      return { ...node, directives: [...(annotated.directives ?? []), inaccessible] };
    },
  });
  if (!isAny) return null;
  const isLinked = marked.definitions.some(
    (definition) => definition.kind === Kind.DIRECTIVE_DEFINITION && definition.name.value === inaccessibleName,
  );
  return print(isLinked ? marked : linked(marked));
}

function linked(supergraph: DocumentNode): DocumentNode {
  const [schema, definition] = parse(`${LINK} ${DEFINITION}`).definitions;
  const links = schema?.kind === Kind.SCHEMA_DEFINITION ? (schema.directives ?? []) : [];
  return {
    ...supergraph,
    definitions: [
      ...supergraph.definitions.map((each) =>
        each.kind === Kind.SCHEMA_DEFINITION ? { ...each, directives: [...(each.directives ?? []), ...links] } : each,
      ),
      ...(definition ? [definition] : []),
    ],
  };
}
