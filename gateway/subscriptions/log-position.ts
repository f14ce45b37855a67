import { isObjectType, getNamedType, Kind, valueFromASTUntyped, type ExecutionResult, type FieldNode } from "graphql";
import type { OperationRequest, InspectedOperation } from "../execution/executor.ts";

/** Where a subscription to a log of events begins: one whose field takes `after` and gives `sequence`. */
export interface LogPosition {
  /** The sequence after which it begins; null: from now. */
  after: string | null;
  /** The variable that holds it; null when the operation's text holds it, or nothing does. */
  variable: string | null;
}

/** @returns null when the operation is not a subscription to a log. */
export function logPositionOf(
  { document, schema, kind }: InspectedOperation,
  { variables }: Pick<OperationRequest, "variables">,
): LogPosition | null {
  if (kind !== "subscription") return null;
  const operation = document.definitions.find((node) => node.kind === Kind.OPERATION_DEFINITION);
  const field = operation?.selectionSet.selections[0];
  if (field?.kind !== Kind.FIELD) return null;
  const definition = schema.getSubscriptionType()?.getFields()[field.name.value];
  const type = definition && getNamedType(definition.type);
  if (!isObjectType(type) || !type.getFields()["sequence"] || !takesAfter(definition)) return null;
  const given = afterOf(field);
  if (given?.kind !== Kind.VARIABLE)
    return { after: given ? textOf(valueFromASTUntyped(given)) : null, variable: null };
  const name = given.name.value;
  const declared = operation?.variableDefinitions?.find(({ variable }) => variable.name.value === name);
  const value = variables?.[name] ?? (declared?.defaultValue ? valueFromASTUntyped(declared.defaultValue) : null);
  return { after: textOf(value), variable: name };
}

function takesAfter(definition: { args: readonly { name: string }[] } | undefined): boolean {
  return definition?.args.some(({ name }) => name === "after") ?? false;
}

function afterOf(field: FieldNode) {
  return field.arguments?.find(({ name }) => name.value === "after")?.value;
}

function textOf(value: unknown): string | null {
  return typeof value === "string" || typeof value === "number" ? String(value) : null;
}

/** The `sequence` of the event in a subscription's result, where the client selected it. */
export function sequenceOf({ data }: ExecutionResult): string | null {
  for (const name in data) {
    const event = data[name];
    if (typeof event === "object" && event !== null && "sequence" in event && typeof event.sequence === "string") {
      return event.sequence;
    }
  }
  return null;
}

/** A sequence as a number, to compare with others, when it is a whole number: logs count up. Null for any other. */
export function orderOf(sequence: string | null): number | null {
  return sequence !== null && /^\d{1,15}$/.test(sequence) ? Number(sequence) : null;
}
