import {
  GraphQLError,
  isAbstractType,
  Kind,
  print,
  TypeInfo,
  visit,
  visitWithTypeInfo,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
} from "graphql";
import { operationOf } from "./documents.ts";
import type { Authorization, Requirement } from "./schema/authorization.ts";
import { normalizeSelection } from "./planning/normalized-selection.ts";
import type { Supergraph } from "./schema/supergraph.ts";

/** One valid operation of a client, taken apart once and kept with its plan. */
export interface Operation {
  kind: "query" | "mutation" | "subscription";
  name: string | null;
  definition: OperationDefinitionNode;
  fragments: ReadonlyMap<string, FragmentDefinitionNode>;
  /** The variables that @skip and @include look at. */
  conditionVariables: readonly string[];
  /** What its fields demand of the caller. */
  requirements: readonly Requirement[];
  /** The part that the subgraphs answer; null when there is none. */
  forSubgraphs: SelectionSetNode | null;
  /** The part that the schema itself answers (`__schema`, `__type`); null when there is none. */
  introspection: DocumentNode | null;
  /** The response key that a key of the subgraphs' data stands for, where the two differ. */
  responseKeys: ReadonlyMap<string, string>;
  dataKeyOf(field: FieldNode): string;
}

export interface PrepareOptions {
  document: DocumentNode;
  operationName: string | null;
  schema: GraphQLSchema;
  supergraph: Pick<Supergraph, "isFieldName" | "isRequired" | "isRequiredWithArguments">;
  authorization: Authorization | null;
}

/** @returns an error when the document has no such operation, or several and none is named. */
export function prepareOperation(options: PrepareOptions): Operation | GraphQLError {
  const { document, operationName, schema, supergraph, authorization } = options;
  const definition = operationOf(document, operationName);
  if (definition instanceof GraphQLError) return definition;
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const node of document.definitions) {
    if (node.kind === Kind.FRAGMENT_DEFINITION) fragments.set(node.name.value, node);
  }
  const used = usedFragments(definition, fragments);
  const conditionVariables = new Set<string>();
  for (const node of [definition, ...used]) {
    visit(node, {
      Directive({ name, arguments: args }) {
        if (name.value !== "skip" && name.value !== "include") return;
        const condition = args?.[0]?.value;
        if (condition?.kind === Kind.VARIABLE) conditionVariables.add(condition.name.value);
      },
    });
  }
  const keys = createDataKeys([definition, ...used], supergraph);
  const forSubgraphs = rootSelections(definition.selectionSet, fragments, (name) => !name.startsWith("__"));
  const forSchema = rootSelections(
    definition.selectionSet,
    fragments,
    (name) => name === "__schema" || name === "__type",
  );
  return {
    kind: definition.operation,
    name: definition.name?.value ?? null,
    definition,
    fragments,
    conditionVariables: [...conditionVariables].sort(),
    requirements: authorization ? requirementsOf([definition, ...used], schema, authorization) : [],
    forSubgraphs,
    introspection: forSchema
      ? { kind: Kind.DOCUMENT, definitions: [{ ...definition, selectionSet: forSchema }, ...used] }
      : null,
    responseKeys: keys.responseKeys,
    dataKeyOf: keys.dataKeyOf,
  };
}

function requirementsOf(
  nodes: readonly (OperationDefinitionNode | FragmentDefinitionNode)[],
  schema: GraphQLSchema,
  authorization: Authorization,
): readonly Requirement[] {
  const found = new Set<Requirement>();
  const types = new TypeInfo(schema);
  // A field selected of an interface is also checked as a field of the object's actual type.
  const add = (typeName: string, fieldName: string) => {
    for (const requirement of authorization.requirementsOf(typeName, fieldName)) found.add(requirement);
  };
  const visitor = visitWithTypeInfo(types, {
    Field({ name }) {
      const parent = types.getParentType();
      if (!parent) return;
      add(parent.name, name.value);
      if (isAbstractType(parent)) for (const type of schema.getPossibleTypes(parent)) add(type.name, name.value);
    },
  });
  for (const node of nodes) visit(node, visitor);
  return [...found].sort((a, b) => (a.key < b.key ? -1 : 1));
}

function usedFragments(
  root: OperationDefinitionNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
): FragmentDefinitionNode[] {
  const found = new Set<FragmentDefinitionNode>();
  const search = (node: OperationDefinitionNode | FragmentDefinitionNode) => {
    visit(node, {
      FragmentSpread({ name }) {
        const fragment = fragments.get(name.value);
        if (!fragment || found.has(fragment)) return;
        found.add(fragment);
        search(fragment);
      },
    });
  };
  search(root);
  return [...found];
}

/** The selections on the root type whose field is wanted, spreads written out; null when there is none. */
function rootSelections(
  selectionSet: SelectionSetNode,
  fragments: ReadonlyMap<string, FragmentDefinitionNode>,
  isWanted: (fieldName: string) => boolean,
): SelectionSetNode | null {
  const selections = selectionSet.selections.flatMap((selection): SelectionNode[] => {
    if (selection.kind === Kind.FIELD) return isWanted(selection.name.value) ? [selection] : [];
    const fragment = selection.kind === Kind.FRAGMENT_SPREAD ? fragments.get(selection.name.value) : selection;
    const inner = fragment && rootSelections(fragment.selectionSet, fragments, isWanted);
    if (!fragment || !inner) return [];
    const { typeCondition } = fragment;
    return [
      {
        kind: Kind.INLINE_FRAGMENT,
        ...(typeCondition && { typeCondition }),
        ...(selection.directives && { directives: selection.directives }),
        selectionSet: inner,
      },
    ];
  });
  return selections.length > 0 ? { kind: Kind.SELECTION_SET, selections } : null;
}

interface DataKeys {
  responseKeys: ReadonlyMap<string, string>;
  dataKeyOf(field: FieldNode): string;
}

/**
 * Aliases that the planner cannot mix up. In the subgraphs' data, fields that keys and @requires need lie beside the client's, so an
 * alias that is also a field's name (`price: name`), or that means different things in different places, gets a key of its own. So
 * does a field that some @requires or key needs under other arguments, or that the client selects under others elsewhere. So does a
 * property that every object inherits (`constructor`, `__proto__`): data is read and written by key only, and must not reach that.
 */
function createDataKeys(
  nodes: readonly (OperationDefinitionNode | FragmentDefinitionNode)[],
  supergraph: PrepareOptions["supergraph"],
): DataKeys {
  const responseKeys = new Map<string, string>();
  const signatures = new Map<string, string>();
  const plainArguments = new Map<string, string>();
  const keyOfField = new Map<FieldNode, string>();
  for (const node of nodes) {
    visit(node, {
      Field(field) {
        const alias = field.alias?.value;
        const name = field.name.value;
        const isPlain = alias === undefined || alias === name;
        const args = (field.arguments ?? []).map(print).sort().join();
        const isRequired = supergraph.isRequiredWithArguments(name) || (args !== "" && supergraph.isRequired(name));
        const isMixedUp = (plainArguments.get(name) ?? args) !== args;
        if (isPlain && !isRequired && !isMixedUp && !isInherited(name)) {
          plainArguments.set(name, args);
          return;
        }
        const signature = `${name}(${args})`;
        const responseKey = alias ?? name;
        let key = responseKey;
        for (let n = 0; ; n++) {
          if (n > 0) key = `${responseKey}_${n}_`;
          if (isInherited(key) || supergraph.isFieldName(key)) continue;
          const other = signatures.get(key);
          if (other === undefined || other === signature) break;
        }
        signatures.set(key, signature);
        keyOfField.set(field, key);
        if (key !== responseKey) responseKeys.set(key, responseKey);
      },
    });
  }
  return { responseKeys, dataKeyOf: (field) => keyOfField.get(field) ?? field.name.value };
}

function isInherited(key: string): boolean {
  return key in Object.prototype;
}

export interface PlanTextOptions {
  schema: GraphQLSchema;
  supergraph: Pick<Supergraph, "objectTypesOf">;
  isTrue(variable: string): boolean;
  isDenied: ((typeName: string, fieldName: string) => boolean) | undefined;
}

export interface PlanText {
  /** Null when nothing is to be fetched. */
  text: string | null;
  /** Paths of the fields that the caller may not have, each once; "@" stands for the items of a list. */
  denied: readonly (readonly string[])[];
}

/**
 * The operation for the planner, for one choice of the variables that @skip and @include look at.
 *
 * @throws ToolyardError BAD_USER_INPUT when it selects too many fields
 */
export function planTextOf(operation: Operation, options: PlanTextOptions): PlanText {
  const { schema, supergraph, isTrue, isDenied } = options;
  const { definition, forSubgraphs, fragments, dataKeyOf } = operation;
  const rootType = schema.getRootType(definition.operation);
  if (!forSubgraphs || !rootType) return { text: null, denied: [] };
  const denied = new Map<string, readonly string[]>();
  const selectionSet = normalizeSelection({
    schema,
    rootType,
    selectionSet: forSubgraphs,
    fragments,
    isTrue,
    dataKeyOf,
    mayBeHidden: (typeName) => [...supergraph.objectTypesOf(typeName)].some((name) => !schema.getType(name)),
    isDenied,
    onDenied: (path) => denied.set(path.join("."), path),
  });
  const text = selectionSet && print({ ...definition, directives: [], selectionSet });
  return { text, denied: [...denied.values()] };
}
