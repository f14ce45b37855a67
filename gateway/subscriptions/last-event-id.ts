import { Kind, print, type ASTNode, type FieldNode, type OperationDefinitionNode } from "graphql";
import type { Executor, OperationRequest } from "../execution/executor.ts";

type Inspected = ReturnType<Executor["inspect"]>;

/** A variable name that clients do not use. */
const VARIABLE_NAME = "lastEventId__";

/**
 * The same subscription, going on after an event: the `Last-Event-ID` with which a browser's EventSource connects again becomes the
 * value of the subscription's argument `after`. Other operations are returned unchanged.
 *
 * @param inspected The admitted operation
 */
export function resumeAfter(
  inspected: Inspected,
  request: Omit<OperationRequest, "signal">,
  lastEventId: string,
): Omit<OperationRequest, "signal"> {
  if ("errors" in inspected || inspected.kind !== "subscription") return request;
  const { document, schema } = inspected;
  const operation = document.definitions.find((node) => node.kind === Kind.OPERATION_DEFINITION);
  const field = operation?.selectionSet.selections[0];
  // A root field inside a fragment has its argument somewhere else: such a client resumes by itself.
  if (!operation || field?.kind !== Kind.FIELD) return request;
  const after = schema
    .getSubscriptionType()
    ?.getFields()
    [field.name.value]?.args.find(({ name }) => name === "after");
  if (!after) return request;
  const given = field.arguments?.find(({ name }) => name.value === "after")?.value;
  if (given?.kind === Kind.VARIABLE) {
    return { ...request, variables: { ...request.variables, [given.name.value]: lastEventId } };
  }
  const resumed = {
    ...document,
    definitions: [withAfter(operation, field, String(after.type)), ...document.definitions.slice(1)],
  };
  return {
    ...request,
    // One text for all positions, so it is planned once.
    query: print(resumed),
    clientText: request.clientText ?? request.query,
    operationName: operation.name?.value ?? null,
    variables: { ...request.variables, [VARIABLE_NAME]: lastEventId },
  };
}

function withAfter(
  operation: OperationDefinitionNode,
  field: FieldNode,
  type: string,
): ASTNode & OperationDefinitionNode {
  const variable = { kind: Kind.VARIABLE, name: { kind: Kind.NAME, value: VARIABLE_NAME } } as const;
  const typeName = type.replace(/!$/, "");
  return {
    ...operation,
    variableDefinitions: [
      ...(operation.variableDefinitions ?? []),
      {
        kind: Kind.VARIABLE_DEFINITION,
        variable,
        type:
          typeName === type
            ? { kind: Kind.NAMED_TYPE, name: { kind: Kind.NAME, value: typeName } }
            : { kind: Kind.NON_NULL_TYPE, type: { kind: Kind.NAMED_TYPE, name: { kind: Kind.NAME, value: typeName } } },
      },
    ],
    selectionSet: {
      ...operation.selectionSet,
      selections: [
        {
          ...field,
          arguments: [
            ...(field.arguments ?? []).filter(({ name }) => name.value !== "after"),
            { kind: Kind.ARGUMENT, name: { kind: Kind.NAME, value: "after" }, value: variable },
          ],
        },
      ],
    },
  };
}
