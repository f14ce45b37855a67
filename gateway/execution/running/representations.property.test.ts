import fc from "fast-check";
import { expect, test } from "vitest";
import { createRepresentationMaker } from "./representations.ts";
import type { RequiresSelection } from "../planning/query-plan.ts";
import type { Supergraph } from "../schema/supergraph.ts";

const supergraph: Pick<Supergraph, "isSubType" | "isKeyedByType"> = {
  isKeyedByType: (name) => name === "Book",
  isSubType: (name, of) => name === of || (of === "Node" && name !== "Other"),
};
/** Of a supergraph the makers ask only for its types. */
const types = supergraph as Supergraph;

const names = ["id", "upc", "sku", "constructor", "__typename"];
const selection = fc.record({
  typeCondition: fc.constantFrom("Product", "Node", "Other", null),
  fields: fc.uniqueArray(fc.constantFrom(...names), { minLength: 1 }),
  alias: fc.constantFrom(null, "key", 'a"b'),
});
const leaf = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.integer(),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
);
const entity = fc.record(
  {
    __typename: fc.constantFrom("Product", "Other", "Book"),
    id: leaf,
    upc: leaf,
    sku: fc.array(leaf, { maxLength: 2 }),
  },
  { requiredKeys: ["__typename"] },
);

test("leaves of one type are written as the general way writes them, also those met before", () => {
  fc.assert(
    fc.property(selection, fc.array(entity, { maxLength: 8 }), ({ typeCondition, fields, alias }, entities) => {
      const selections: RequiresSelection[] = fields.map((name, index) => ({
        kind: "Field",
        name,
        alias: index === 0 && name !== "__typename" ? alias : null,
        selections: null,
      }));
      const fragment: RequiresSelection = {
        kind: "InlineFragment",
        typeCondition,
        skipIf: null,
        includeIf: null,
        selections,
      };
      // One that never applies, so that this is none of the simple selections.
      const never: RequiresSelection = { ...fragment, skipIf: "yes" };
      const simple = createRepresentationMaker({ requires: [fragment], inputRewrites: [], supergraph: types });
      const general = createRepresentationMaker({ requires: [fragment, never], inputRewrites: [], supergraph: types });
      const made = { typeName: "", byKey: new Map<string, string>() };
      for (const one of [...entities, ...entities]) {
        const expected = general(one, { yes: true }, { typeName: "", byKey: new Map() });
        const text = simple(one, { yes: true }, made);
        if (expected === null) expect(text).toBeNull();
        else expect(JSON.parse(text ?? "")).toEqual(JSON.parse(expected));
      }
    }),
    { numRuns: 500 },
  );
});
