import { expect, test } from "vitest";
import { dependencyOrderOf } from "./dependency-order.ts";
import type { FetchNode, PathSegment, PlanNode } from "../planning/query-plan.ts";

const fetchOf = (subgraph: string, operation: string): FetchNode => ({
  kind: "Fetch",
  subgraph,
  operation,
  operationKind: "query",
  variables: [],
  requires: null,
  inputRewrites: [],
  outputRewrites: [],
});

function entities(subgraph: string, path: string, required: string[], selection: string): PlanNode {
  const segments = path.split(".").map((key): PathSegment => (key === "@" ? { kind: "List" } : { kind: "Field", key }));
  const operation = `query ($representations: [_Any!]!) { _entities(representations: $representations) { ${selection} } }`;
  const requires = required.map((name) => ({ kind: "Field" as const, name, alias: null, selections: null }));
  return { kind: "Flatten", path: segments, node: { ...fetchOf(subgraph, operation), requires } };
}

test("a fetch waits for what it reads and not for the rest of the layer before", () => {
  const order = dependencyOrderOf({
    kind: "Sequence",
    nodes: [
      fetchOf("products", "{ products { __typename upc price } }"),
      {
        kind: "Parallel",
        nodes: [
          entities(
            "reviews",
            "products.@",
            ["upc"],
            "... on Product { reviews { __typename author { __typename id } } }",
          ),
          entities("stock", "products.@", ["upc"], "... on Product { weight }"),
        ],
      },
      {
        kind: "Parallel",
        nodes: [
          entities("users", "products.@.reviews.@.author", ["id"], "... on User { name }"),
          entities("shipping", "products.@", ["upc", "price", "weight"], "... on Product { estimate }"),
        ],
      },
    ],
  });
  expect(order.waitsFor).toEqual([0, 1, 1, 2, 2]);
  expect(order.dependents).toEqual([[1, 2, 3, 4], [3], [4], [], []]);
});

test("a fetch waits for one that finds out the type of its objects", () => {
  const order = dependencyOrderOf({
    kind: "Sequence",
    nodes: [
      fetchOf("care", "{ vets { patients { __typename id } } }"),
      entities("animals", "vets.@.patients.@", ["id"], "__typename"),
      entities("cats", "vets.@.patients.@", ["id"], "... on Cat { lives }"),
    ],
  });
  expect(order.waitsFor).toEqual([0, 1, 2]);
});

test("a fetch waits for one that renames what it reads", () => {
  const first = entities("prices", "parcels.@", ["id"], "... on Parcel { price_eur: price }");
  if (first.kind !== "Flatten") throw new Error("It is a Flatten.");
  first.node.outputRewrites.push({ kind: "RenameKey", path: [{ kind: "Key", key: "price_eur" }], to: "price" });
  const order = dependencyOrderOf({
    kind: "Sequence",
    nodes: [
      fetchOf("parcels", "{ parcels { __typename id } }"),
      first,
      entities("postage", "parcels.@", ["id", "price"], "... on Parcel { euros }"),
    ],
  });
  expect(order.waitsFor).toEqual([0, 1, 2]);
});
