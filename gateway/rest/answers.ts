import {
  GraphQLError,
  Kind,
  getNullableType,
  isAbstractType,
  isEnumType,
  isListType,
  isNonNullType,
  isObjectType,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLNamedType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  type SelectionSetNode,
} from "graphql";
import { nullable, pageSchema, scalarSchemas, type JsonSchema } from "./json-schema.ts";
import { toSnake } from "./names.ts";

/** How a value of the graph becomes one of REST, with the schema that holds the latter. */
export interface Answer {
  schema: JsonSchema;
  convert(value: unknown): unknown;
  /** It is one page of a list; `limit` and `offset` of it are the request's. */
  isPage?: boolean;
}

/** The schemas that answers share, by the name of the fragment that selects them. */
export type Components = Map<string, JsonSchema>;

/** The members of a union, as REST calls them: `StdioLaunch` of `Launch` is `stdio`, the field of that name in the input. */
const MEMBER_ENDINGS: Record<string, string> = { Launch: "Launch" };

const same = (value: unknown): unknown => value;

/**
 * What REST answers for a selection: names in snake_case, pages as `items`, `total`, and unions by the field that has the member's name
 * (`{"stdio": {…}}`), or by `type` where the members have no field of their own. Values of the scalar JSON stay as they are.
 * @throws GraphQLError where the schema lacks something that is selected
 */
export function createAnswers(
  schema: GraphQLSchema,
  document: DocumentNode,
  components: Components,
): (type: GraphQLOutputType, selections: SelectionSetNode | undefined) => Answer {
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);

  function ofType(type: GraphQLOutputType, selections: SelectionSetNode | undefined): Answer {
    if (isNonNullType(type)) return ofNullable(type.ofType, selections);
    const answer = ofNullable(getNullableType(type), selections);
    return {
      schema: nullable(answer.schema),
      convert: answer.convert === same ? same : (value) => (value === null ? null : answer.convert(value)),
    };
  }

  function ofNullable(type: GraphQLOutputType, selections: SelectionSetNode | undefined): Answer {
    if (isListType(type)) {
      const { schema: items, convert } = ofType(type.ofType, selections);
      return {
        schema: { type: "array", items },
        // The executor's results have the form of their type.
        convert: convert === same ? same : (value) => (value as unknown[]).map(convert),
      };
    }
    if (selections === undefined) return { schema: leafSchema(type as GraphQLNamedType), convert: same };
    if (isObjectType(type)) return ofObject(type, selections);
    if (isAbstractType(type)) return ofMembers(type.name, schema.getPossibleTypes(type), selections);
    throw new GraphQLError(`Nothing can be selected of ${String(type)}.`);
  }

  /** A selection that is one fragment is a component of its name. */
  function ofObject(type: GraphQLObjectType, selections: SelectionSetNode): Answer {
    const [only, ...others] = selections.selections;
    const answer = page(type, selections) ?? plain(type, selections);
    if (only?.kind !== Kind.FRAGMENT_SPREAD || others.length > 0) return answer;
    const name = only.name.value;
    components.set(name, answer.schema);
    return { schema: { $ref: `#/components/schemas/${name}` }, convert: answer.convert };
  }

  function plain(type: GraphQLObjectType, selections: SelectionSetNode): Answer {
    const properties: Record<string, JsonSchema> = {};
    const fields: [from: string, to: string, convert: Answer["convert"]][] = [];
    for (const [key, nodes] of fieldsOf(type, selections)) {
      if (key === "__typename") continue;
      const [node] = nodes;
      const field = node && type.getFields()[node.name.value];
      if (!field) throw new GraphQLError(`${type.name} has no field ${node?.name.value ?? key}.`, { nodes });
      const { schema: property, convert } = ofType(field.type, merged(nodes));
      const name = toSnake(key);
      properties[name] = field.description ? { description: field.description, ...property } : property;
      fields.push([key, name, convert]);
    }
    return {
      schema: {
        type: "object",
        ...(type.description && { description: type.description }),
        properties,
        required: Object.keys(properties),
        additionalProperties: false,
      },
      convert(value) {
        const from = value as Record<string, unknown>;
        const to: Record<string, unknown> = {};
        for (const [key, name, convert] of fields) to[name] = convert(from[key]);
        return to;
      },
    };
  }

  /** A connection, where its nodes are selected. */
  function page(type: GraphQLObjectType, selections: SelectionSetNode): Answer | null {
    if (!type.name.endsWith("Connection")) return null;
    const selected = fieldsOf(type, selections);
    const edges = selected.get("edges");
    if (!edges || !selected.has("totalCount")) return null;
    const { convert, schema: items } = ofType(type.getFields()["edges"]?.type as GraphQLOutputType, merged(edges));
    const node = ((items["items"] as JsonSchema)["properties"] as Record<string, JsonSchema>)["node"] ?? {};
    return {
      isPage: true,
      schema: pageSchema({ type: "array", items: node }),
      convert(value) {
        const { edges: all, totalCount } = value as { edges: unknown; totalCount: number };
        return { items: (convert(all) as { node: unknown }[]).map(({ node: one }) => one), total: totalCount };
      },
    };
  }

  function ofMembers(name: string, members: readonly GraphQLObjectType[], selections: SelectionSetNode): Answer {
    const ending = MEMBER_ENDINGS[name];
    const answers = new Map(
      members.map((member) => {
        const answer = plain(member, selections);
        const key = ending === undefined ? null : toSnake(member.name.slice(0, -ending.length)).replace(/^_/, "");
        const withType: JsonSchema = {
          ...answer.schema,
          properties: { type: { const: member.name }, ...(answer.schema["properties"] as object) },
          required: ["type", ...(answer.schema["required"] as string[])],
        };
        return [
          member.name,
          key === null
            ? {
                schema: withType,
                convert: (value: unknown) => ({ type: member.name, ...(answer.convert(value) as object) }),
              }
            : {
                schema: { type: "object", properties: { [key]: answer.schema }, required: [key] } as JsonSchema,
                convert: (value: unknown) => ({ [key]: answer.convert(value) }),
              },
        ] as const;
      }),
    );
    return {
      schema: { oneOf: [...answers.values()].map((answer) => answer.schema) },
      convert(value) {
        const { __typename: member } = value as { __typename: string };
        return answers.get(member)?.convert(value);
      },
    };
  }

  /** The selected fields by response key, of this type and of what it is. */
  function fieldsOf(type: GraphQLObjectType, selections: SelectionSetNode, into = new Map<string, FieldNode[]>()) {
    for (const selection of selections.selections) {
      if (selection.kind === Kind.FIELD) {
        const key = (selection.alias ?? selection.name).value;
        into.set(key, [...(into.get(key) ?? []), selection]);
        continue;
      }
      const fragment = selection.kind === Kind.INLINE_FRAGMENT ? selection : fragments.get(selection.name.value);
      const condition = fragment?.typeCondition?.name.value;
      if (fragment && (condition === undefined || applies(condition, type)))
        fieldsOf(type, fragment.selectionSet, into);
    }
    return into;
  }

  function applies(condition: string, type: GraphQLObjectType): boolean {
    if (condition === type.name) return true;
    const named = schema.getType(condition);
    return named !== undefined && isAbstractType(named) && schema.isSubType(named, type);
  }

  return (type, selections) => ofNullable(getNullableType(type), selections);
}

function merged(nodes: readonly FieldNode[]): SelectionSetNode | undefined {
  const [first] = nodes;
  if (!first?.selectionSet) return undefined;
  return nodes.length === 1
    ? first.selectionSet
    : { ...first.selectionSet, selections: nodes.flatMap(({ selectionSet }) => selectionSet?.selections ?? []) };
}

function leafSchema(type: GraphQLNamedType): JsonSchema {
  if (isEnumType(type)) return { type: "string", enum: type.getValues().map(({ name }) => name) };
  return scalarSchemas[type.name] ?? {};
}
