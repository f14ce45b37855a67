import {
  coerceInputValue,
  GraphQLError,
  isNonNullType,
  typeFromAST,
  valueFromAST,
  type GraphQLInputType,
  type GraphQLSchema,
  type VariableDefinitionNode,
} from "graphql";
import type { Json } from "./execution.ts";

const MAX_ERRORS = 20;
/** Characters of a message, and of a text in it. */
const MAX_MESSAGE = 1_000;
const MAX_TEXT = 100;
const MAX_ENTRIES = 5;
const MAX_LEVELS = 2;

/** There are so many errors that the others are not looked for. */
class Enough extends Error {}

/**
 * The variables as their types take them (GraphQL, section 6.1.2), as graphql-js's getVariableValues gives them. That one shows the whole
 * value in each error: an object of a megabyte with fields that its type does not have made fifty of them.
 */
export function variableValues(
  schema: GraphQLSchema,
  definitions: readonly VariableDefinitionNode[],
  inputs: Json,
): { coerced: Json } | { errors: readonly GraphQLError[] } {
  const coerced: Json = {};
  const errors: GraphQLError[] = [];
  const report = (definition: VariableDefinitionNode, message: string, originalError?: GraphQLError) => {
    errors.push(new GraphQLError(cut(message, MAX_MESSAGE), { nodes: definition, originalError }));
    if (errors.length >= MAX_ERRORS) throw new Enough();
  };
  try {
    for (const definition of definitions) {
      const name = definition.variable.name.value;
      // Validation has refused all but input types.
      const type = typeFromAST(schema, definition.type as never) as GraphQLInputType;
      const value = Object.hasOwn(inputs, name) ? inputs[name] : undefined;
      if (!Object.hasOwn(inputs, name)) {
        if (definition.defaultValue) coerced[name] = valueFromAST(definition.defaultValue, type);
        else if (isNonNullType(type))
          report(definition, `Variable "$${name}" of required type "${String(type)}" was not provided.`);
      } else if (value === null && isNonNullType(type)) {
        report(definition, `Variable "$${name}" of non-null type "${String(type)}" must not be null.`);
      } else {
        coerced[name] = coerceInputValue(value, type, (path, invalid, error) => {
          const at = path.length === 0 ? "" : ` at "${name}${path.map(printed).join("")}"`;
          report(definition, `Variable "$${name}" got invalid value ${shown(invalid)}${at}; ${error.message}`, error);
        });
      }
    }
  } catch (error) {
    if (!(error instanceof Enough)) errors.push(error as GraphQLError); // a RangeError: its callers tell it from others
  }
  return errors.length > 0 ? { errors } : { coerced };
}

function printed(key: string | number): string {
  return typeof key === "number" ? `[${key}]` : `.${key}`;
}

/** Enough of a value to recognize it, in time that does not grow with it. */
function shown(value: unknown, levels = MAX_LEVELS): string {
  if (typeof value === "string") return JSON.stringify(cut(value, MAX_TEXT));
  if (Array.isArray(value)) {
    if (levels === 0) return "[Array]";
    const items = value.slice(0, MAX_ENTRIES).map((item) => shown(item, levels - 1));
    return `[${[...items, ...(value.length > MAX_ENTRIES ? ["…"] : [])].join(", ")}]`;
  }
  if (typeof value !== "object" || value === null) return String(value);
  if (levels === 0) return "[Object]";
  const entries: string[] = [];
  for (const key in value) {
    if (!Object.hasOwn(value, key)) continue;
    if (entries.length === MAX_ENTRIES) {
      entries.push("…");
      break;
    }
    entries.push(`${cut(key, MAX_TEXT)}: ${shown((value as Json)[key], levels - 1)}`); // one of its own keys
  }
  return entries.length === 0 ? "{}" : `{ ${entries.join(", ")} }`;
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length).toWellFormed()}…`;
}
