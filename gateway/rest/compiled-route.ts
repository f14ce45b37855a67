import {
  GraphQLError,
  Kind,
  TypeInfo,
  getNamedType,
  getNullableType,
  getOperationAST,
  isInputObjectType,
  isInputType,
  isListType,
  isObjectType,
  parse,
  typeFromAST,
  validate,
  visit,
  visitWithTypeInfo,
  type DocumentNode,
  type GraphQLInputType,
  type GraphQLNamedType,
  type GraphQLOutputType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
  type VariableDefinitionNode,
} from "graphql";
import { z } from "zod";
import { createAnswers, type Answer, type Components } from "./answers.ts";
import { withFragments } from "./fragments.ts";
import { createInputs, toFields, type Fields, type Input, type InputNotes } from "./inputs.ts";
import { toCamel } from "./names.ts";
import { pageSchema } from "./json-schema.ts";
import type { RestRoute } from "./rest-route.ts";

/** A route as a schema has it. */
export interface CompiledRoute {
  route: RestRoute;
  /** The operation with the fragments that it uses. */
  query: string;
  /** The variables that come from the path and from the query, and those that come in the body, with the fields of `$input`. */
  inputs: { path: Fields; query: Fields; body: Fields };
  /** Those of the body that are fields of `$input`. */
  fields: ReadonlySet<string>;
  /** Where the operation takes the version that `If-Match` names: as a variable, or as a field of `$input`. Null: it takes none. */
  expectedVersion: "variable" | "field" | null;
  /** Parse what comes from each place. Null: the route takes no body. */
  schemas: Record<"path" | "query", Parser> & { body: Parser | null };
  /** The way to the answer in the operation's data. */
  answerAt: readonly string[];
  answer: Answer;
}

type Parser = z.ZodType<Record<string, unknown>>;

const EXPECTED_VERSION = "expectedVersion";
const MAX_LIMIT = 100;
const DEFAULT_LIMIT = 20;
const MAX_OFFSET = 2 ** 31 - 1;

/** What pages of all lists take, instead of Relay's `first`. */
const paging = {
  first: {
    name: "limit",
    schema: z.int().min(1).max(MAX_LIMIT).default(DEFAULT_LIMIT),
    description: "How many items a page has at most.",
  },
  offset: {
    name: "offset",
    schema: z.int().min(0).max(MAX_OFFSET).default(0),
    description: "How many items come before the page.",
  },
};

/** Makes routes ready for a schema. @param components Gets the schemas that answers share @param notes Get what inputs mean */
export function createRouteCompiler(
  schema: GraphQLSchema,
  components: Components,
  notes: InputNotes,
): (route: RestRoute) => CompiledRoute {
  const { fieldsOf, inputOf } = createInputs(notes);

  /** @throws GraphQLError where the schema lacks something that the operation names */
  function compile(route: RestRoute): CompiledRoute {
    const query = withFragments(route.operation);
    const document = parse(query, { noLocation: true });
    const [error] = validate(schema, document);
    if (error) throw new GraphQLError(`${route.method} ${route.path}: ${error.message}`, { originalError: error });
    const operation = getOperationAST(document);
    if (!operation) throw new Error(`${route.method} ${route.path} has no operation.`);
    const inPath = new Set([...route.path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => toCamel(name)));
    const takesBody = route.method === "POST" || route.method === "PUT";
    const argumentsOf = describedVariables(schema, document);
    const path = new Map<string, Input>();
    const search = new Map<string, Input>();
    const body = new Map<string, Input>();
    const fields = new Set<string>();
    let expectedVersion: CompiledRoute["expectedVersion"] = null;
    for (const definition of operation.variableDefinitions ?? []) {
      const name = definition.variable.name.value;
      const type = inputTypeOf(schema, definition);
      const named = getNullableType(type);
      const input = isPaging(name) ? pagingInput(name, notes) : inputOf(name, type, argumentsOf.get(name));
      if (inPath.has(name)) path.set(name, input);
      else if (name === EXPECTED_VERSION) expectedVersion = "variable";
      else if (!takesBody) search.set(name, fromText(input, getNamedType(type).name));
      else if (name === "input" && isInputObjectType(named)) {
        for (const [field, one] of fieldsOf(named)) {
          fields.add(field);
          body.set(field, one);
        }
      } else body.set(name, input);
    }
    const { type, selections, at } = findAnswer(route, operation);
    const answer = createAnswers(schema, document, components)(type, selections);
    const isList = isListType(getNullableType(type));
    // REST cuts pages where the graph does not.
    if (isList)
      for (const name of Object.keys(paging).filter(isPaging))
        search.set(name, fromText(pagingInput(name, notes), "Int"));
    return {
      route,
      query,
      inputs: { path, query: search, body },
      fields,
      expectedVersion: fields.has(EXPECTED_VERSION) ? "field" : expectedVersion,
      schemas: { path: toFields(path), query: toFields(search), body: body.size > 0 ? toFields(body) : null },
      answerAt: at,
      answer: isList ? { ...answer, schema: pageSchema(answer.schema), isPage: true } : answer,
    };
  }

  /** The selection that is answered, the operation's only field unless the route says otherwise. */
  function findAnswer({ at }: RestRoute, operation: OperationDefinitionNode) {
    const keys = at ?? [keysOf(operation.selectionSet)[0] ?? ""];
    let type: GraphQLOutputType | undefined = schema.getRootType(operation.operation) ?? undefined;
    let selections: SelectionSetNode | undefined = operation.selectionSet;
    for (const key of keys) {
      const parent: GraphQLNamedType | undefined = type && getNamedType(type);
      const field: SelectionNode | undefined = selections?.selections.find(
        (one) => one.kind === Kind.FIELD && keyOf(one) === key,
      );
      if (field?.kind !== Kind.FIELD || !isObjectType(parent)) throw new Error(`Nothing is selected as ${key}.`);
      type = parent.getFields()[field.name.value]?.type;
      selections = field.selectionSet;
    }
    if (!type) throw new Error(`There is no type of ${keys.join(".")}.`);
    return { type, selections, at: keys };
  }

  return compile;
}

type Field = Extract<SelectionSetNode["selections"][number], { kind: Kind.FIELD }>;

const keyOf = ({ alias, name }: Field): string => (alias ?? name).value;

const keysOf = ({ selections }: SelectionSetNode): string[] =>
  selections.flatMap((one) => (one.kind === Kind.FIELD ? [keyOf(one)] : []));

function inputTypeOf(schema: GraphQLSchema, { type }: VariableDefinitionNode): GraphQLInputType {
  const found = typeFromAST(schema, type);
  if (!isInputType(found)) throw new Error("A variable has a type that is no input.");
  return found;
}

/** What variables mean: the descriptions of the arguments that they are given as. */
function describedVariables(schema: GraphQLSchema, document: DocumentNode): Map<string, string> {
  const found = new Map<string, string>();
  const types = new TypeInfo(schema);
  visit(
    document,
    visitWithTypeInfo(types, {
      Argument({ value }) {
        const description = types.getArgument()?.description;
        if (value.kind === Kind.VARIABLE && description) found.set(value.name.value, description);
      },
    }),
  );
  return found;
}

function isPaging(name: string): name is keyof typeof paging {
  return Object.hasOwn(paging, name);
}

/** Each schema that is documented is an object of its own. */
function pagingInput(variable: keyof typeof paging, notes: InputNotes): Input {
  const { name, schema, description } = paging[variable];
  return { name, form: "text", fields: null, schema: schema.clone().register(notes, { description }) };
}

/** The same from the text of a query's parameter. */
function fromText(input: Input, typeName: string): Input {
  const parse = typeName === "Int" ? toNumber : typeName === "Boolean" ? toBoolean : null;
  return parse ? { ...input, schema: z.preprocess(parse, input.schema) } : input;
}

const toNumber = (text: unknown): unknown =>
  typeof text === "string" && /^-?\d{1,10}$/.test(text) ? Number(text) : text;

const toBoolean = (text: unknown): unknown => (text === "true" ? true : text === "false" ? false : text);
