import fc from "fast-check";
import { buildSchema, parse, validate } from "graphql";
import { expect, test } from "vitest";
import { admissionOf } from "./admission.fixture.ts";
import { defaultOperationLimits } from "./operation-limits.ts";

const schema = buildSchema(
  "type Query { a: Query b(first: Int): [Query!]! c: String d: Union } type Other { c: String } union Union = Query | Other",
);
const costs = { fields: new Map(), inputFields: new Map(), types: new Map() };

const field = fc.constantFrom("a", "b", "c", "d", "__typename", "unknown");
const selection: fc.Memo<string> = fc.memo((depth) =>
  depth <= 1
    ? field
    : fc.oneof(
        field,
        fc
          .tuple(
            fc.constantFrom("", "x: ", "y: "),
            field,
            fc.array(selection(depth - 1), { minLength: 1, maxLength: 3 }),
          )
          .map(([alias, name, inner]) => `${alias}${name} { ${inner.join(" ")} }`),
        fc
          .array(selection(depth - 1), { minLength: 1, maxLength: 3 })
          .map((inner) => `... on Query { ${inner.join(" ")} }`),
        fc.constantFrom("...F", "...G"),
      ),
);
const text = fc
  .tuple(fc.array(selection(4), { minLength: 1, maxLength: 4 }), selection(3), selection(3))
  .map(([root, f, g]) => `{ ${root.join(" ")} } fragment F on Query { ${f} } fragment G on Query { ${g} }`);

test("what is refused and what is admitted is what the specification says, whatever the limits measure", () => {
  const limits = {
    ...defaultOperationLimits,
    maxDepth: 1_000,
    maxAliases: 10_000,
    maxRootFields: 10_000,
    maxCost: 1e12,
  };
  fc.assert(
    fc.property(text, (query) => {
      const admission = admissionOf({ schema, costs, limits, introspection: true });
      const admitted = admission.admit(query, null);
      expect("hash" in admitted).toBe(validate(schema, parse(query)).length === 0);
      // The second time it comes from the cache.
      expect("hash" in admission.admit(query, null)).toBe("hash" in admitted);
    }),
    { numRuns: 200 },
  );
});

test("tighter limits never admit more", () => {
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 3 }), (query, maxDepth, maxAliases) => {
      const isAdmitted = (more: number) =>
        "hash" in
        admissionOf({
          schema,
          costs,
          limits: { ...defaultOperationLimits, maxDepth: maxDepth + more, maxAliases: maxAliases + more },
          introspection: true,
        }).admit(query, null);
      if (isAdmitted(0)) expect(isAdmitted(1)).toBe(true);
    }),
    { numRuns: 200 },
  );
});
