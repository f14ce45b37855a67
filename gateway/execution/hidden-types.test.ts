import { anonymous } from "@toolyard/service-kit";
import { describe, expect, test } from "vitest";
import { composeFixture } from "./fixtures/compose.ts";
import { createStrictExecutor, plannersInTurn } from "./fixtures/strict-executor.ts";

const shown = { __typename: "Shown", id: "1", v: 1 };
const hidden = { __typename: "Hidden", id: "2", v: 2 };
const reference = { __resolveReference: (it: unknown) => it };
const composed = composeFixture({
  a: {
    typeDefs: `
      type Query { ns: [N] n: N us: [U] p: P } interface N { v: Int } union U = Shown | Hidden type P { n: N! }
      type Shown implements N @key(fields: "id") { id: ID! v: Int }
      type Hidden implements N @key(fields: "id") @inaccessible { id: ID! v: Int }
    `,
    resolvers: {
      Query: { ns: () => [shown, hidden], n: () => hidden, us: () => [hidden, shown], p: () => ({ n: hidden }) },
    },
  },
  b: {
    typeDefs: `type Shown @key(fields: "id") { id: ID! w: Int }`,
    resolvers: { Shown: { ...reference, w: () => 3 } },
  },
});

describe.each(plannersInTurn)("planned by %s", (_name, cores) => {
  test.each([
    ["{ ns { v } }", { ns: [{ v: 1 }, null] }],
    ["{ n { x: v } }", { n: null }],
    ["{ us { ... on Shown { v w } } }", { us: [null, { v: 1, w: 3 }] }],
    ["{ us { __typename } ns { ... on Shown { w } } }", { us: [null, { __typename: "Shown" }], ns: [{ w: 3 }, null] }],
    ["{ p { n { v } } }", { p: null }],
  ])("objects of types that are @inaccessible are in no answer: %s", async (query, data) => {
    const executor = createStrictExecutor(composed, cores(composed));
    try {
      const context = { caller: anonymous, requestId: "r" };
      const result = await executor.execute({ query, operationName: null, variables: {}, context });
      expect(result.data).toEqual(data);
      expect(result.errors?.[0]?.message).toContain("a type that is not known here");
    } finally {
      await executor.close();
    }
  });
});
