import type { Grants } from "./schema/authorization.ts";
import type { Json } from "./running/execution.ts";
import type { Operation } from "./operation.ts";
import type { VariantChoice } from "./prepared-operations.ts";
import type { OperationContext } from "./clients/subgraph-client.ts";
import type { Supergraph } from "./schema/supergraph.ts";

export interface VariantChoiceOptions {
  supergraph: Pick<Supergraph, "overrides">;
  overrideLabelsOf: (context: OperationContext) => readonly string[];
  overridePercentageOf: (context: OperationContext) => number;
}

/** Chooses the plan of an operation for one run: by its variables, its caller, and the supergraph's progressive overrides. */
export function createVariantChoice(options: VariantChoiceOptions) {
  const { supergraph, overrideLabelsOf, overridePercentageOf } = options;
  const { percentages, labels } = supergraph.overrides;

  return function choiceOf(operation: Operation, variables: Json, context: OperationContext): VariantChoice {
    const { conditionVariables, requirements } = operation;
    const trueVariables = conditionVariables.filter((name) => variables[name] === true);
    let choice = trueVariables.length === 0 ? plainChoice : { ...plainChoice, trueVariables };
    if (requirements.length > 0) {
      const grants = grantsOf(context);
      const unmet = requirements.filter((requirement) => !requirement.isMetBy(grants));
      choice = { ...choice, unmetRequirements: unmet.map(({ key }) => key) };
    }
    if (labels.length > 0) {
      const given = overrideLabelsOf(context);
      choice = { ...choice, overrideLabels: labels.filter((label) => given.includes(label)) };
    }
    if (percentages.length > 0) {
      const place = overridePercentageOf(context);
      // All places between two labels' percentages have the same plan.
      choice = { ...choice, overridePercentage: percentages.findLast((percentage) => percentage <= place) ?? 0 };
    }
    return choice;
  };
}

const plainChoice: VariantChoice = {
  trueVariables: [],
  unmetRequirements: [],
  overrideLabels: [],
  overridePercentage: 100,
};

function grantsOf({ caller, scopes, policies }: OperationContext): Grants {
  return {
    isAuthenticated: caller.kind !== "anonymous",
    scopes: new Set(scopes ?? caller.scopes),
    policies: new Set(policies),
  };
}
