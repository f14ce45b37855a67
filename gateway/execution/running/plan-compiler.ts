import { parse } from "graphql";
import { requirementsOf, type Requirement } from "./relevant-errors.ts";
import { shapeOfOperation } from "./data-shape.ts";
import { dependencyOrderOf } from "./dependency-order.ts";
import {
  createBatchFetch,
  createEntityFetch,
  createRootFetch,
  createRootMerge,
  type Step,
  type StepOptions,
} from "./fetch-steps.ts";
import type { Execution } from "./execution.ts";
import { inMutationOrder } from "./mutation-order.ts";
import type { FetchNode, PlanNode, QueryPlan } from "../planning/query-plan.ts";
import type { SubgraphClient, SubgraphResponse } from "../clients/subgraph-client.ts";

/** A plan made ready to run many times. */
export interface CompiledPlan {
  /** All fetches of a query or mutation; for a subscription, the fetches for each event. Null when there are none. */
  run: Step | null;
  subscription: CompiledSubscription | null;
  /** The parts of entities that its fetches send, worked out at the first error. */
  requirements(): readonly Requirement[];
}

export interface CompiledSubscription {
  client: SubgraphClient;
  fetch: FetchNode;
  /** Puts an event into an execution's data. */
  takeEvent(event: SubgraphResponse, execution: Execution): void;
}

export function compilePlan(plan: QueryPlan, options: StepOptions): CompiledPlan {
  if (plan.node === null) return { run: null, subscription: null, requirements: () => [] };
  let known: readonly Requirement[] | undefined;
  const requirements = () => (known ??= requirementsOf(plan.node, options.supergraph));
  const nodes = plan.node.kind === "Sequence" ? plan.node.nodes : [plan.node];
  const [first, ...rest] = nodes;
  if (first?.kind !== "Subscription") {
    return {
      run: isMutation(plan.node) ? inSeries(plan.node, options) : compileRun(plan.node, options),
      subscription: null,
      requirements,
    };
  }
  const fetch = first.primary;
  return {
    run: rest.length > 0 ? compileRun({ kind: "Sequence", nodes: rest }, options) : null,
    subscription: {
      client: options.clientOf(fetch.subgraph),
      fetch,
      takeEvent: createRootMerge(fetch, options),
    },
    requirements,
  };
}

function isMutation(node: PlanNode): boolean {
  if (node.kind === "Sequence" || node.kind === "Parallel") return node.nodes.some(isMutation);
  return node.kind === "Fetch" && node.operationKind === "mutation";
}

/** Section 6.2.2 of the specification: each root field of a mutation with all that is below it before the next. */
function inSeries(node: PlanNode, options: StepOptions): Step {
  const rootKeysOf = (operation: string) => shapeOfOperation(parse(operation, { noLocation: true })).keys;
  return compileNode(inMutationOrder(node, rootKeysOf), options);
}

/** Runs each fetch as soon as the data it reads is there. */
function compileRun(plan: PlanNode, options: StepOptions): Step {
  const { nodes, dependents, waitsFor } = dependencyOrderOf(plan);
  const steps = nodes.map((node) => compileNode(node, options));
  const [only] = steps;
  if (only && steps.length === 1) return only;
  return (execution) => {
    const left = waitsFor.slice();
    let running = 0;
    let done: () => void = () => undefined;
    let fail: (error: unknown) => void = () => undefined;
    const finish = (index: number): void => {
      for (const dependent of dependents[index] ?? []) {
        // Every node has its count.
        const count = (left[dependent] as number) - 1;
        left[dependent] = count;
        if (count === 0) start(dependent);
      }
    };
    const start = (index: number): void => {
      const pending = steps[index]?.(execution);
      if (!pending) return finish(index);
      running++;
      // One promise for a step, not two: a step is a fetch, and there are many.
      void pending.then(
        () => {
          try {
            finish(index);
          } catch (error) {
            fail(error);
          }
          if (--running === 0) done();
        },
        (error: unknown) => fail(error),
      );
    };
    for (let index = 0; index < steps.length; index++) if (waitsFor[index] === 0) start(index);
    if (running === 0) return null;
    return new Promise((resolve, reject) => {
      done = resolve;
      fail = reject;
    });
  };
}

function compileNode(node: PlanNode, options: StepOptions): Step {
  switch (node.kind) {
    case "Fetch":
      return createRootFetch(node, options);
    case "BatchFetch":
      return createBatchFetch(node, options);
    case "Flatten":
      return createEntityFetch(node, options);
    case "Sequence":
      return inSequence(node.nodes.map((inner) => compileNode(inner, options)));
    case "Parallel":
      return inParallel(node.nodes.map((inner) => compileNode(inner, options)));
    case "Condition": {
      const ifTrue = node.ifTrue && compileNode(node.ifTrue, options);
      const ifFalse = node.ifFalse && compileNode(node.ifFalse, options);
      return (execution) => {
        const branch = execution.variables[node.variable] === true ? ifTrue : ifFalse;
        return branch ? branch(execution) : null;
      };
    }
    case "Subscription":
      throw new Error("A subscription can only begin a plan.");
  }
}

function inSequence(steps: readonly Step[]): Step {
  return (execution) => {
    const runFrom = (start: number): Promise<void> | null => {
      for (let i = start; i < steps.length; i++) {
        const pending = steps[i]?.(execution);
        if (pending) return i + 1 < steps.length ? pending.then(() => runFrom(i + 1) ?? undefined) : pending;
      }
      return null;
    };
    return runFrom(0);
  };
}

function inParallel(steps: readonly Step[]): Step {
  return (execution) => {
    const pending: Promise<void>[] = [];
    for (const step of steps) {
      const promise = step(execution);
      if (promise) pending.push(promise);
    }
    if (pending.length <= 1) return pending[0] ?? null;
    return Promise.all(pending).then(() => undefined);
  };
}
