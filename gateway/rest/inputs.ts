import {
  getNamedType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  type GraphQLInputObjectType,
  type GraphQLInputType,
} from "graphql";
import { z } from "zod";
import { toSnake } from "./names.ts";

/** One thing that REST takes. */
export interface Input {
  /** In REST, in snake_case. */
  name: string;
  /** Parses it to the graph's value. */
  schema: z.ZodType;
  /** How a form's field, which is a text, gives it. */
  form: "text" | "list" | "json";
  /** Of an object, by the graph's names. Null: names below it, if any, are the client's own, as in JSON. */
  fields: (() => Fields) | null;
}

/** By the graph's names: variables, or fields of an input object. */
export type Fields = ReadonlyMap<string, Input>;

/** What the documentation says of a schema. One with an id is a component of that name. */
export type InputNotes = z.core.$ZodRegistry<{ id?: string; description?: string; default?: unknown }>;

const MAX_INT = 2 ** 31 - 1;

/** Names in snake_case become those of the fields; fields that the type does not have are refused. */
export function createInputs(notes: InputNotes) {
  const objects = new Map<string, z.ZodType>();
  const fields = new Map<string, Fields>();

  function ofType(type: GraphQLInputType): z.ZodType {
    if (isNonNullType(type)) return ofNullable(type.ofType);
    return isJson(type) ? z.unknown().optional() : ofNullable(type).nullish();
  }

  function ofNullable(type: GraphQLInputType): z.ZodType {
    if (isNonNullType(type)) return ofNullable(type.ofType);
    if (isListType(type)) return z.array(ofType(type.ofType));
    if (isEnumType(type)) return z.enum(type.getValues().map(({ name }) => name));
    if (isInputObjectType(type)) {
      const known = objects.get(type.name);
      if (known) return known;
      const made = toFields(fieldsOf(type)).register(notes, { id: type.name, ...descriptionOf(type) });
      objects.set(type.name, made);
      return made;
    }
    switch (type.name) {
      case "Int":
        return z
          .int()
          .min(-MAX_INT - 1)
          .max(MAX_INT);
      case "Float":
        return z.number();
      case "Boolean":
        return z.boolean();
      case "DateTime":
        return z.iso.datetime({ offset: true });
      case "JSON":
        return z.unknown().refine((value) => value !== undefined, "is missing");
      default:
        return z.string();
    }
  }

  function fieldsOf(type: GraphQLInputObjectType): Fields {
    const known = fields.get(type.name);
    if (known) return known;
    const made = new Map(
      Object.values(type.getFields()).map((field) => [
        field.name,
        inputOf(field.name, field.type, field.description, field.defaultValue),
      ]),
    );
    fields.set(type.name, made);
    return made;
  }

  /** @param fallback The graph's default, for the documentation. */
  function inputOf(
    name: string,
    type: GraphQLInputType,
    description: string | null | undefined,
    fallback?: unknown,
  ): Input {
    // Each place has notes of its own, also where a type is the same.
    const schema = z.pipe(fallback === undefined ? ofType(type) : ofType(type).optional(), z.unknown());
    const nullable = getNullableType(type);
    const named = getNamedType(type);
    return {
      name: toSnake(name),
      form: isListType(nullable) ? "list" : isJson(nullable) ? "json" : "text",
      fields: isInputObjectType(named) ? () => fieldsOf(named) : null,
      schema: schema.register(notes, {
        ...descriptionOf({ description }),
        ...(fallback !== undefined && { default: fallback }),
      }),
    };
  }

  return { fieldsOf, inputOf };
}

/** Parses an object in REST's names to one in the graph's; what is left out stays so. @param inputs By the graph's names */
export function toFields(inputs: Fields): z.ZodType<Record<string, unknown>> {
  const shape = Object.fromEntries([...inputs.values()].map(({ name, schema }) => [name, schema]));
  return z
    .strictObject(shape)
    .transform((given: Record<string, unknown>) =>
      Object.fromEntries(
        [...inputs].flatMap(([to, { name }]) => (given[name] === undefined ? [] : [[to, given[name]]])),
      ),
    );
}

/** A place in the graph's input as REST's client has it: the graph's names in snake_case, names of the client's own as they are. */
export function toRestPath(path: string, inputs: Fields): string {
  let fields: Fields | null = inputs;
  const toRest = (name: string) => {
    if (fields === null || /^\d+$/.test(name)) return name;
    const input = fields.get(name);
    if (input) fields = input.fields?.() ?? null;
    return input?.name ?? toSnake(name);
  };
  return path
    .replace(/^input\.?/, "")
    .split(".")
    .map(toRest)
    .join(".");
}

function isJson(type: GraphQLInputType): boolean {
  return "name" in type && type.name === "JSON";
}

function descriptionOf({ description }: { description?: string | null | undefined }) {
  return description ? { description } : {};
}
