/**
 * The plan of one operation, as the executor reads it. Apollo's plan format, with the paths and rewrites of every planner brought
 * into one shape.
 */
export interface QueryPlan {
  /** Null when nothing has to be fetched. */
  node: PlanNode | null;
}

export type PlanNode =
  | FetchNode
  | BatchFetchNode
  | FlattenNode
  | { kind: "Sequence"; nodes: PlanNode[] }
  | { kind: "Parallel"; nodes: PlanNode[] }
  | { kind: "Condition"; variable: string; ifTrue: PlanNode | null; ifFalse: PlanNode | null }
  | { kind: "Subscription"; primary: FetchNode };

/** One request to one subgraph: of root fields, or of the entities at the path of the Flatten around it. */
export interface FetchNode {
  kind: "Fetch";
  subgraph: string;
  operation: string;
  operationKind: "query" | "mutation" | "subscription";
  /** Names of the client's variables that the operation takes. */
  variables: string[];
  /** The selection of a representation; null for root fields, which a Flatten may be around as well. */
  requires: RequiresSelection[] | null;
  inputRewrites: Rewrite[];
  outputRewrites: Rewrite[];
}

/** Entities of several paths in one request, under an alias each. */
export interface BatchFetchNode {
  kind: "BatchFetch";
  subgraph: string;
  operation: string;
  variables: string[];
  batches: EntityBatch[];
}

export interface EntityBatch {
  alias: string;
  representationsVariable: string;
  paths: PathSegment[][];
  requires: RequiresSelection[];
  inputRewrites: Rewrite[];
  outputRewrites: Rewrite[];
}

export interface FlattenNode {
  kind: "Flatten";
  path: PathSegment[];
  node: FetchNode;
}

/** A step from the response's root to entities: into a field, through a list's items, past objects of other types. */
export type PathSegment =
  | { kind: "Field"; key: string }
  | { kind: "List" }
  | { kind: "Types"; /** Object and abstract types. */ names: string[] };

export type RequiresSelection =
  | { kind: "Field"; name: string; alias: string | null; selections: RequiresSelection[] | null }
  | {
      kind: "InlineFragment";
      /** Null matches every type. */
      typeCondition: string | null;
      skipIf: string | null;
      includeIf: string | null;
      selections: RequiresSelection[];
    };

export type RewriteSegment = { kind: "Key"; key: string } | { kind: "Types"; names: string[] };

/** A change of the request (`inputRewrites`, on a representation) or of the answer (`outputRewrites`). */
export type Rewrite =
  | { kind: "SetValue"; path: RewriteSegment[]; value: string }
  | { kind: "RenameKey"; path: RewriteSegment[]; to: string };
