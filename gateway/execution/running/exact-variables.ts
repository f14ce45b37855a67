import {
  getNullableType,
  isInputObjectType,
  isLeafType,
  isListType,
  isSpecifiedScalarType,
  typeFromAST,
  type GraphQLInputType,
  type GraphQLSchema,
  type VariableDefinitionNode,
} from "graphql";
import { isObject } from "@toolyard/service-kit/json.ts";
import { exactDigitsOf } from "../../formats/exact-json.ts";

type Json = Record<string, unknown>;

/**
 * Variables for the specification's own scalars, which know nothing of integers that kept their digits (see exact-json.ts): an ID gets
 * them as text, all others as a number. Custom scalars keep theirs.
 */
export function withPlainNumbers(
  schema: GraphQLSchema,
  definitions: readonly VariableDefinitionNode[],
  variables: Json,
): Json {
  const result = { ...variables };
  for (const { variable, type } of definitions) {
    const name = variable.name.value;
    // Validation has refused all but input types.
    const inputType = typeFromAST(schema, type as never) as GraphQLInputType | undefined;
    if (inputType && Object.hasOwn(variables, name)) result[name] = plainValue(inputType, variables[name]);
  }
  return result;
}

function plainValue(type: GraphQLInputType, value: unknown): unknown {
  const nullable = getNullableType(type);
  if (isListType(nullable)) {
    const item: GraphQLInputType = nullable.ofType;
    return Array.isArray(value) ? value.map((one) => plainValue(item, one)) : plainValue(item, value);
  }
  const digits = exactDigitsOf(value);
  if (isLeafType(nullable)) {
    const isCustom = !isSpecifiedScalarType(nullable) && "parseValue" in nullable && !("getValues" in nullable);
    if (digits === null || isCustom) return value;
    return nullable.name === "ID" ? digits : Number(digits);
  }
  if (digits !== null) return Number(digits);
  if (!isInputObjectType(nullable) || !isObject(value)) return value;
  const fields = nullable.getFields();
  return Object.fromEntries(
    Object.entries(value).map(([key, item]: [string, unknown]) => {
      const field = Object.hasOwn(fields, key) ? fields[key] : undefined;
      return [key, field ? plainValue(field.type, item) : item];
    }),
  );
}
