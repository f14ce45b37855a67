import { anonymous } from "@toolyard/service-kit";
import { describe, expect, test } from "vitest";
import { composeFixture } from "./fixtures/compose.ts";
import { createStrictExecutor, plannersInTurn } from "./fixtures/strict-executor.ts";

const directives =
  "directive @mark(by: Int, text: String) on FIELD | QUERY | INLINE_FRAGMENT directive @stream(initialCount: Int = 0) on FIELD";
const composed = composeFixture({
  a: {
    typeDefs: `${directives} type Query { ps: [P] } type P @key(fields: "id") { id: ID! f(x: String): String }`,
    resolvers: { Query: { ps: () => [{ id: "1" }] }, P: { f: () => "f" } },
  },
  b: {
    typeDefs: `${directives} type P @key(fields: "id") { id: ID! g: [String] }`,
    resolvers: { P: { __resolveReference: (it: unknown) => it, g: () => ["g"] } },
  },
});
// Apollo's composition leaves @stream out; others' do not.
const supergraph = {
  ...composed,
  supergraphSdl: `${composed.supergraphSdl}\ndirective @stream(initialCount: Int = 0) on FIELD`,
};

describe.each(plannersInTurn)("planned by %s", (_name, cores) => {
  test("the supergraph's own directives reach the subgraphs whose fields have them, with their arguments, @stream too", async () => {
    const asked = new Map<string, string>();
    const variables = new Map<string, string | undefined>();
    const executor = createStrictExecutor(supergraph, cores(supergraph), (name, query, text) => {
      asked.set(name, query.replaceAll(/\s+/g, ""));
      variables.set(name, text);
    });
    try {
      const query = `query ($by: Int, $some: Boolean!) {
        ps @stream(initialCount: 3) { f(x: "@a") @mark(by: $by) g @stream ... on P @mark(text: "in @line") { id @include(if: $some) } } }`;
      const result = await executor.execute({
        query,
        operationName: null,
        variables: { by: 5, some: true },
        context: { caller: anonymous, requestId: "r" },
      });
      expect(result).toEqual({ data: { ps: [{ f: "f", g: ["g"], id: "1" }] } });
      expect(asked.get("a")).toMatch(/ps@stream\(initialCount:3\)\{.*f\(x:"@a"\)@mark\(by:\$by\)/);
      expect(variables.get("a")).toContain(`"by":5`);
      expect(asked.get("b")).toMatch(/g@stream/);
    } finally {
      await executor.close();
    }
  });
});
