import {
  doTypesOverlap,
  isAbstractType,
  isCompositeType,
  isEnumType,
  isListType,
  isNonNullType,
  isObjectType,
  isInterfaceType,
  isScalarType,
  Kind,
  type FieldNode,
  type GraphQLCompositeType,
  type GraphQLInterfaceType,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  type SelectionNode,
  type GraphQLError,
} from "graphql";
import { graphqlError } from "@toolyard/service-kit/errors/graphql-error.ts";
import { exactDigitsOf } from "../../formats/exact-json.ts";
import type { Operation } from "../operation.ts";

type Json = Record<string, unknown>;

/**
 * Makes the client's response from the subgraphs' answers: exactly the selected fields, in the order of the selection, with nulls
 * propagated as in section 6.4.4 of the GraphQL specification.
 */
export interface Projection {
  /** @param explained whether an error that the client gets already accounts for a null at this path. */
  (data: Json, explained: (path: ResponsePath) => boolean): { data: Json | null; errors: GraphQLError[] };
}

export type ResponsePath = readonly (string | number)[];

export interface ProjectionOptions {
  schema: GraphQLSchema;
  operation: Pick<Operation, "kind" | "definition" | "fragments" | "dataKeyOf">;
  /** The value of a variable that @skip or @include looks at. A projection holds for one choice of these. */
  isTrue(variable: string): boolean;
  /** Fields that the caller may not have are null, whatever the data has. */
  isDenied: ((typeName: string, fieldName: string) => boolean) | undefined;
}

/** The kind of value at one place of the response. */
type Output =
  | {
      kind: "leaf";
      nonNull: boolean;
      accepts: (value: unknown) => boolean;
      /** The answer for a value that is not accepted; undefined when it is an error. */
      coerce: ((value: unknown) => unknown) | undefined;
      typeName: string;
      what: string;
    }
  | { kind: "list"; nonNull: boolean; item: Output; what: string }
  | { kind: "object"; nonNull: boolean; selection: Selection; what: string };

/** The fields selected of an object, by the object's type; worked out when the first object of a type is met. */
interface Selection {
  /** Null where the type is to be read from `__typename`. */
  staticFields: Field[] | null;
  fieldsOf: Map<string, Field[] | null>;
  collect(typeName: string | undefined): Field[] | null;
}

interface Field {
  responseKey: string;
  dataKey: string;
  /** The answer to `__typename`; empty for another field that the client calls `__proto__`, which is not set as others are; else null. */
  typeName: string | null;
  output: Output;
}

interface Path {
  parent: Path | null;
  key: string | number;
}

/** The null that does not stop here: the parent is null as well. */
const bubble = Symbol("bubble");

interface Run {
  violated: boolean;
  /** Null in the first, fast run, which builds no paths; a response with a violation is made a second time with them. */
  violations: { path: Path | null; message: string }[] | null;
}

export function createProjection(options: ProjectionOptions): Projection {
  const { schema, operation } = options;
  const rootType = schema.getRootType(operation.definition.operation);
  if (!rootType) throw new Error(`The schema has no ${operation.kind} type.`);
  const compiler = createCompiler(options);
  const rootFields = compiler.fields(rootType, operation.definition.selectionSet.selections);

  return (data, explained) => {
    const run: Run = { violated: false, violations: null };
    const projected = projectFields(data, rootFields, null, run);
    if (!run.violated) return { data: projected === bubble ? null : projected, errors: [] };
    const slowRun: Run = { violated: true, violations: [] };
    projectFields(data, rootFields, { parent: null, key: "" }, slowRun);
    const errors = (slowRun.violations ?? []).flatMap(({ path, message }) => {
      const responsePath = toResponsePath(path);
      if (explained(responsePath)) return [];
      return [graphqlError("INTERNAL_SERVER_ERROR", message, { path: responsePath })];
    });
    return { data: projected === bubble ? null : projected, errors };
  };
}

function projectFields(source: Json, fields: readonly Field[], path: Path | null, run: Run): Json | typeof bubble {
  const result: Json = {};
  for (let i = 0; i < fields.length; i++) {
    // The loop stays within the array.
    const field = fields[i] as Field;
    if (field.typeName !== null) {
      if (field.responseKey !== PROTO) {
        result[field.responseKey] = field.typeName;
        continue;
      }
      const value =
        field.typeName || complete(source[field.dataKey], field.output, path && { parent: path, key: PROTO }, run);
      if (value === bubble) return bubble;
      Object.defineProperty(result, PROTO, { value, enumerable: true, configurable: true, writable: true });
      continue;
    }
    const { output } = field;
    const value = source[field.dataKey];
    if (output.kind === "leaf" && value !== null && value !== undefined && output.accepts(value)) {
      result[field.responseKey] = value;
      continue;
    }
    const completed = complete(value, output, path && { parent: path, key: field.responseKey }, run);
    if (completed === bubble) return bubble;
    result[field.responseKey] = completed;
  }
  return result;
}

function complete(value: unknown, output: Output, path: Path | null, run: Run): unknown {
  if (value === null || value === undefined) return nothing(output, path, run, null);
  switch (output.kind) {
    case "leaf":
      if (output.accepts(value)) return value;
      return output.coerce?.(value) ?? nothing(output, path, run, `The value is not a valid ${output.typeName}.`);
    case "list": {
      if (!Array.isArray(value)) return nothing(output, path, run, `A list was expected for ${output.what}.`);
      const items: unknown[] = [];
      for (let i = 0; i < value.length; i++) {
        const item = complete(value[i], output.item, path && { parent: path, key: i }, run);
        if (item === bubble) return output.nonNull ? bubble : null;
        items.push(item);
      }
      return items;
    }
    case "object": {
      if (typeof value !== "object" || Array.isArray(value)) {
        return nothing(output, path, run, `An object was expected for ${output.what}.`);
      }
      // An object that is not an array: its fields are looked up by key only.
      const source = value as Json;
      const fields = output.selection.staticFields ?? fieldsByType(output.selection, source);
      if (fields === null)
        return nothing(output, path, run, `The object for ${output.what} is of a type that is not known here.`);
      const result = projectFields(source, fields, path, run);
      if (result !== bubble) return result;
      return output.nonNull ? bubble : null;
    }
  }
}

function fieldsByType(selection: Selection, source: Json): Field[] | null {
  const typeName = typeof source["__typename"] === "string" ? source["__typename"] : "";
  const known = selection.fieldsOf.get(typeName);
  if (known !== undefined) return known;
  const fields = selection.collect(typeName === "" ? undefined : typeName);
  // Only names from the schema may take memory: a subgraph could send a new type name each time.
  if (fields !== null) selection.fieldsOf.set(typeName, fields);
  return fields;
}

function nothing(output: Output, path: Path | null, run: Run, problem: string | null): null | typeof bubble {
  if (problem !== null || output.nonNull) {
    run.violated = true;
    run.violations?.push({ path, message: problem ?? `Cannot return null for non-nullable field ${output.what}.` });
  }
  return output.nonNull ? bubble : null;
}

function toResponsePath(path: Path | null): (string | number)[] {
  const keys: (string | number)[] = [];
  // The outermost link stands for the response itself.
  for (let link = path; link?.parent; link = link.parent) keys.push(link.key);
  return keys.reverse();
}

function createCompiler({ schema, operation, isTrue, isDenied }: ProjectionOptions) {
  function isIncluded(selection: SelectionNode): boolean {
    for (const directive of selection.directives ?? []) {
      const name = directive.name.value;
      if (name !== "skip" && name !== "include") continue;
      const condition = directive.arguments?.[0]?.value;
      const value =
        condition?.kind === Kind.VARIABLE
          ? isTrue(condition.name.value)
          : condition?.kind === Kind.BOOLEAN && condition.value;
      if (value === (name === "skip")) return false;
    }
    return true;
  }

  function applies(condition: string | undefined, type: GraphQLObjectType | GraphQLInterfaceType): boolean {
    if (condition === undefined || condition === type.name) return true;
    const conditionType = schema.getType(condition);
    return isAbstractType(conditionType) && schema.isSubType(conditionType, type);
  }

  function asksForType(type: GraphQLInterfaceType, selections: readonly SelectionNode[]): boolean {
    return selections.some((selection) => {
      if (!isIncluded(selection)) return false;
      if (selection.kind === Kind.FIELD) return selection.name.value === "__typename";
      const fragment =
        selection.kind === Kind.FRAGMENT_SPREAD ? operation.fragments.get(selection.name.value) : selection;
      if (!fragment) return false;
      const condition = fragment.typeCondition?.name.value;
      const { selections: inner } = fragment.selectionSet;
      return applies(condition, type) ? asksForType(type, inner) : selectsAny(typeOf(condition, type), inner);
    });
  }

  /** Whether anything is left of a selection: if not, no subgraph was asked for the object's type. */
  function selectsAny(type: GraphQLCompositeType, selections: readonly SelectionNode[]): boolean {
    return selections.some((selection) => {
      if (!isIncluded(selection)) return false;
      if (selection.kind === Kind.FIELD) return true;
      const fragment =
        selection.kind === Kind.FRAGMENT_SPREAD ? operation.fragments.get(selection.name.value) : selection;
      if (!fragment) return false;
      const inner = typeOf(fragment.typeCondition?.name.value, type);
      return doTypesOverlap(schema, type, inner) && selectsAny(inner, fragment.selectionSet.selections);
    });
  }

  function typeOf(condition: string | undefined, type: GraphQLCompositeType): GraphQLCompositeType {
    const conditionType = condition === undefined ? undefined : schema.getType(condition);
    return isCompositeType(conditionType) ? conditionType : type;
  }

  function collectInto(
    groups: Map<string, FieldNode[]>,
    type: GraphQLObjectType | GraphQLInterfaceType,
    selections: readonly SelectionNode[],
  ): void {
    for (const selection of selections) {
      if (!isIncluded(selection)) continue;
      if (selection.kind === Kind.FIELD) {
        const key = selection.alias?.value ?? selection.name.value;
        const group = groups.get(key);
        if (group) group.push(selection);
        else groups.set(key, [selection]);
        continue;
      }
      const fragment =
        selection.kind === Kind.FRAGMENT_SPREAD ? operation.fragments.get(selection.name.value) : selection;
      if (!fragment || !applies(fragment.typeCondition?.name.value, type)) continue;
      collectInto(groups, type, fragment.selectionSet.selections);
    }
  }

  function fields(type: GraphQLObjectType | GraphQLInterfaceType, selections: readonly SelectionNode[]): Field[] {
    const groups = new Map<string, FieldNode[]>();
    collectInto(groups, type, selections);
    const known = type.getFields();
    const result: Field[] = [];
    for (const [responseKey, [first, ...others]] of groups) {
      if (!first) continue;
      const name = first.name.value;
      const inner = [first, ...others].flatMap((node) => node.selectionSet?.selections ?? []);
      if (name === "__typename") {
        result.push({ responseKey, dataKey: "__typename", typeName: type.name, output: typeNameOutput });
        continue;
      }
      // `__schema` and `__type` are answered elsewhere and merged in under their response key.
      const field = known[name];
      if (!field) {
        if (!name.startsWith("__")) continue;
        result.push({
          responseKey,
          dataKey: responseKey,
          typeName: noTypeName(responseKey),
          output: introspectionOutput,
        });
        continue;
      }
      const what = `${type.name}.${name}`;
      result.push({
        responseKey,
        dataKey: isDenied?.(type.name, name) ? NEVER_IN_DATA : operation.dataKeyOf(first),
        typeName: noTypeName(responseKey),
        output: outputOf(field.type, inner, what),
      });
    }
    return result;
  }

  function outputOf(type: GraphQLOutputType, selections: readonly SelectionNode[], what: string): Output {
    const nonNull = isNonNullType(type);
    const nullable = isNonNullType(type) ? type.ofType : type;
    if (isListType(nullable)) {
      return { kind: "list", nonNull, item: outputOf(nullable.ofType, selections, what), what };
    }
    if (isScalarType(nullable))
      return {
        kind: "leaf",
        nonNull,
        accepts: scalarCheck(nullable.name),
        coerce: Object.hasOwn(coercions, nullable.name) ? coercions[nullable.name] : undefined,
        typeName: nullable.name,
        what,
      };
    if (isEnumType(nullable)) {
      const values = new Set<unknown>(nullable.getValues().map(({ name }) => name));
      return {
        kind: "leaf",
        nonNull,
        accepts: (value) => values.has(value),
        coerce: undefined,
        typeName: nullable.name,
        what,
      };
    }
    if (isObjectType(nullable)) {
      const staticFields = fields(nullable, selections);
      return {
        kind: "object",
        nonNull,
        selection: { staticFields, fieldsOf: new Map(), collect: () => staticFields },
        what,
      };
    }
    const collect = (typeName: string | undefined): Field[] | null => {
      // Without __typename nothing of the selection depends on the type; an interface's own fields are enough.
      const runtimeType = typeName === undefined ? nullable : schema.getType(typeName);
      const isPossible = isObjectType(runtimeType) && schema.isSubType(nullable, runtimeType);
      if (isPossible) return fields(runtimeType, selections);
      // An @interfaceObject subgraph gives the interface's own name: enough where nobody asks for the object's type.
      if (!isInterfaceType(runtimeType) || runtimeType !== nullable) return null;
      if (typeName !== undefined && asksForType(runtimeType, selections)) return null;
      return fields(runtimeType, selections);
    };
    return { kind: "object", nonNull, selection: { staticFields: null, fieldsOf: new Map(), collect }, what };
  }

  return { fields };
}

/** GraphQL has no empty names. */
const NEVER_IN_DATA = "";

/** Assigned to, it changes what an object inherits. */
const PROTO = "__proto__";

const noTypeName = (responseKey: string) => (responseKey === PROTO ? "" : null);

const typeNameOutput: Output = {
  kind: "leaf",
  nonNull: true,
  accepts: (value) => typeof value === "string",
  coerce: undefined,
  typeName: "String",
  what: "__typename",
};
const introspectionOutput: Output = {
  kind: "leaf",
  nonNull: false,
  accepts: () => true,
  coerce: undefined,
  typeName: "introspection",
  what: "introspection",
};

const scalarChecks: Readonly<Record<string, (value: unknown) => boolean>> = {
  String: (value) => typeof value === "string",
  ID: (value) => typeof value === "string",
  Boolean: (value) => typeof value === "boolean",
  // 32 bits, as the specification has it.
  Int: (value) => typeof value === "number" && (value | 0) === value,
  Float: (value) => typeof value === "number",
};

/** An ID is answered as a string, whatever form the subgraph has it in. */
function wholeNumberAsText(value: unknown): string | undefined {
  return Number.isInteger(value) ? String(value) : (exactDigitsOf(value) ?? undefined);
}

/** As the nearest Float. */
function exactAsNumber(value: unknown): number | undefined {
  const digits = exactDigitsOf(value);
  return digits === null ? undefined : Number(digits);
}

const coercions: Readonly<Record<string, (value: unknown) => unknown>> = {
  ID: wholeNumberAsText,
  Float: exactAsNumber,
};

const anything = () => true;

function scalarCheck(name: string): (value: unknown) => boolean {
  return Object.hasOwn(scalarChecks, name) ? (scalarChecks[name] ?? anything) : anything;
}
